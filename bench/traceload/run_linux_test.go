package traceload

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
)

// played runs a load, and has it take turns.
func played(t *testing.T, cfg Config, turns ...Turn) (reports []Report) {
	t.Helper()
	var in strings.Builder
	for _, line := range append([]any{cfg}, anys(turns)...) {
		if err := json.NewEncoder(&in).Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := Run(strings.NewReader(in.String()), &out); err != nil {
		t.Fatalf("%s: %v", cfg.Kind, err)
	}
	for d := json.NewDecoder(strings.NewReader(out.String())); ; {
		var r Report
		err := d.Decode(&r)
		if err == io.EOF { //nolint:errorlint // as Decode returns it
			return reports
		}
		if err != nil || r.Error != "" {
			t.Fatalf("%s: %v %s", cfg.Kind, err, r.Error)
		}
		reports = append(reports, r)
	}
}

func anys[T any](of []T) (all []any) {
	for _, v := range of {
		all = append(all, v)
	}
	return all
}

// makesWhatIsDue has a kind of load make events at a rate, and as fast as it goes.
func makesWhatIsDue(t *testing.T, cfg Config) {
	t.Helper()
	const perSecond = 100
	took := 300 * time.Millisecond
	r := played(t, cfg, Turn{PerSecond: perSecond, Duration: took}, Turn{Duration: took})
	if len(r) != 3 || r[0] != (Report{}) {
		t.Fatalf("%+v", r)
	}
	paced, closed := r[1], r[2]
	if most := perSecond*paced.Seconds + 64; paced.Events == 0 || float64(paced.Events) > most {
		t.Errorf("%+v: want up to %.0f events", paced, most)
	}
	for _, one := range r[1:] {
		if one.Seconds < took.Seconds() || one.CPUSeconds <= 0 {
			t.Errorf("%+v", one)
		}
	}
	if closed.Events == 0 || closed.Events <= paced.Events && cfg.Kind != Collections { // a busy host has few of those
		t.Errorf("as fast as it goes %d, at a rate %d", closed.Events, paced.Events)
	}
}

func TestLoadsMakeWhatIsDue(t *testing.T) {
	for _, kind := range Kinds() {
		if kind == Frames {
			continue // as root
		}
		threads := 2
		if kind == Collections {
			threads = 1
		}
		t.Run(kind, func(t *testing.T) { makesWhatIsDue(t, Config{Kind: kind, Threads: threads, Conns: 5}) })
	}
}

func TestNetnsFramesMakeWhatIsDue(t *testing.T) {
	bpftest.Require(t, "5.18", "XDP live frames")
	makesWhatIsDue(t, Config{Kind: Frames, Threads: 1, Prefix: "weir-traceload-"})
}

func TestWhatIsWrongIsAnswered(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		fails    bool
	}{
		{"{}\n", `kind is : want one of`, true},
		{"what\n", `read what events to make`, true},
		{`{"kind":"polls","threads":1}` + "\n" + `{"per_second":-1}` + "\n", `a turn of 0s at -1 events/s`, false},
	} {
		var out strings.Builder
		if err := Run(strings.NewReader(tt.in), &out); (err != nil) != tt.fails {
			t.Errorf("%q: %v", tt.in, err)
		}
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%q: %q, want %q", tt.in, &out, tt.want)
		}
	}
}
