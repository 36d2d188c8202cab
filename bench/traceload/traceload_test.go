package traceload

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	for _, kind := range Kinds() {
		if err := (Config{Kind: kind, Threads: 1, Conns: 1, Prefix: "x"}).Validate(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, tt := range []struct {
		cfg  Config
		want []string
	}{
		{Config{Kind: "none", Threads: 65}, []string{"kind is none: want one of accepts, messages", "threads is 65: want 1 to 64"}},
		{Config{Kind: Messages, Threads: 1}, []string{"conns is 0: want 1 to 10000"}},
		{Config{Kind: Collections, Threads: 2}, []string{"threads is 2: want 1 for collections"}},
		{Config{Kind: Frames, Threads: 1}, []string{"prefix is : want that of the namespaces' names"}},
	} {
		err := tt.cfg.Validate()
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", tt.cfg, err, want)
			}
		}
	}
}

func TestTurnsAreBounded(t *testing.T) {
	if err := (Turn{Duration: time.Second}).Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Turn{{}, {Duration: time.Hour}, {PerSecond: -1, Duration: 1}, {PerSecond: 1e9, Duration: 1}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestPaceKeepsItsRateAndForgetsWhatIsLongOverdue(t *testing.T) {
	now := time.Unix(0, 0)
	p := pace{perSecond: 10_000, last: now}
	sum := 0
	for range 1000 {
		now = now.Add(time.Millisecond)
		sum += p.due(now, 64)
	}
	if sum < 9_999 || sum > 10_000 {
		t.Errorf("%d were due in a second", sum)
	}
	now = now.Add(time.Hour)
	late := 0
	for n := p.due(now, 64); n > 0; n = p.due(now, 64) {
		late += n
	}
	if late != 1000 {
		t.Errorf("%d of an hour are made up for: want those of a tenth of a second", late)
	}
	p = pace{last: now}
	if n := p.due(now, 64); n != 64 {
		t.Errorf("as fast as it goes %d are due at once", n)
	}
}

func TestLoadIsNotStartedByHand(t *testing.T) {
	var out bytes.Buffer
	if Run(strings.NewReader(""), &out) == nil {
		t.Error("it is")
	}
}
