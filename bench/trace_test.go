package bench

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/latency"
	"weir/internal/golden"
)

func TestTraceConfigSaysAllThatIsWrong(t *testing.T) {
	if err := (TraceConfig{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	if err := (TraceConfig{}).Quick().Validate(); err != nil {
		t.Errorf("quick: %v", err)
	}
	err := TraceConfig{Only: []string{"read", "read", "ticks"}, Rate: 999, Duration: time.Hour, Reps: 101, Threads: 65, Conns: 1_000_000}.Validate()
	for _, want := range []string{
		"--only is read: want some of " + strings.Join(tracerNames(), ", ") + ", each once", "--only is ticks",
		"--rate is 999: want 1000 to 10000000", "--duration is 1h0m0s", "--reps is 101", "--threads is 65: want 1 to 64", "--conns is 1000000",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}

func TestBusyTimeIsReadFromStat(t *testing.T) {
	const stat = "cpu  10 20 30 400 5 6 77 8 1000 2000\ncpu0 1 2 3 4 5 6 7 8 0 0\n"
	if busy, err := busySeconds(stat); math.Abs(busy-1.51) > 1e-9 || err != nil {
		t.Errorf("%v s, %v", busy, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8 9\n", "cpu 1 2 3 4 5 6 x 8\n"} {
		if _, err := busySeconds(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// tracedTurns are the four of a repetition: an event costs 1 us of the load, and with the tracer so much more;
// what it took in runs of its programs, and how many are made as fast as it goes.
func tracedTurns(tracer string, rep int, perSecond, moreNanos float64, runs, own uint64, fast float64) (turns []TraceTurn) {
	for _, closed := range []bool{true, false} {
		n := perSecond
		for _, traced := range []bool{false, true} {
			if closed {
				n = 400_000
			}
			turn := TraceTurn{Tracer: tracer, Rep: rep, Traced: traced, Closed: closed, Seconds: 2}
			nanos := 1000.0
			if traced {
				nanos += moreNanos
				turn.ReaderCPU = 0.001
				if closed {
					n *= fast
				}
			}
			turn.Events = uint64(2 * n)
			turn.LoadCPU = float64(turn.Events) * nanos / 1e9
			turn.HostCPU = turn.LoadCPU + turn.ReaderCPU + 0.1
			if traced {
				turn.Seen, turn.Runs, turn.OwnNanos, turn.SampleEvery = turn.Events, runs*turn.Events, own*turn.Events, 4
			}
			turns = append(turns, turn)
		}
	}
	return turns
}

func TestTraceTableAndBars(t *testing.T) {
	var turns []TraceTurn
	for rep, more := range []float64{900, 400, 300} { // the median is that of the middle
		turns = append(turns, tracedTurns(latency.Accept, rep, 20_000, 10*more, 7, 2000, 0.8)...)
		turns = append(turns, tracedTurns(latency.Read, rep, 200_000, more, 2, 150, 0.9)...)
		turns = append(turns, tracedTurns(latency.Runq, rep, 200_000, more, 2, 151, 0.85)...)
		turns = append(turns, tracedTurns(latency.XDP, rep, 200_000, more/20, 0, 0, 0.7)...)
	}
	others := tracedTurns(latency.Softirq, 0, 200_000, 300, 4, 400, 1)
	for i := range others { // as many datagrams of others
		others[i].Seen, others[i].Runs, others[i].OwnNanos = 2*others[i].Seen, 2*others[i].Runs, 2*others[i].OwnNanos
	}
	turns = append(turns, others...)
	walks := tracedTurns(latency.RTT, 0, 50_000, 0, 0, 0, 0.99)
	for i := range walks {
		if walks[i].Traced { // two walks of 16,000 sockets
			walks[i].Seen, walks[i].Runs, walks[i].OwnNanos, walks[i].ReaderCPU = 32_000, 32_000, 32_000*100, 0.0048
		}
	}
	r := TraceResult{Host: HostCard{Cores: 2}, Rate: 200_000, Reps: 3, Rows: traceRows(append(turns, walks...), 200_000, 2)}
	r.Bars = traceBars(r.Rows, r.Rate)
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/tracetable.txt", out.String())
	by := map[string]TraceRow{}
	for _, row := range r.Rows {
		by[row.Tracer] = row
	}
	for _, tt := range []struct {
		what      string
		got, want float64
	}{
		{"read: its programs' ns", by[latency.Read].OwnNanos, 150},
		{"read: all of it, with a report of 1 ms", by[latency.Read].AllNanos, 402.5},
		{"read: of one CPU", by[latency.Read].OwnOfCPU, 0.03},
		{"read: of two", by[latency.Read].OwnOfHost, 0.015},
		{"read: ratio", by[latency.Read].Throughput, 0.9},
		{"accept: of two, scaled", by[latency.Accept].OwnOfHost, 0.2},
		{"softirq: of all that it saw", by[latency.Softirq].OwnNanos, 400},
		{"softirq: runs of all that it saw", by[latency.Softirq].Runs, 4},
		{"softirq: all of it, of the load's own", by[latency.Softirq].AllNanos, 302.5},
		{"rtt: a socket", by[latency.RTT].OwnNanos, 150},
		{"rtt: the walk of one", by[latency.RTT].AllNanos, 150},
		{"xdp: what the load took more", by[latency.XDP].OwnNanos, 22.5},
	} {
		if math.Abs(tt.got-tt.want) > 1e-6 {
			t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
		}
	}
	if by[latency.Read].Scaled || !by[latency.Accept].Scaled || !by[latency.RTT].Scaled {
		t.Error("what is scaled is what the host does not make so many of")
	}
	for i, met := range []bool{false, true, true, false, false, true} { // 3 % of a CPU are 150 ns, which read takes and runq goes beyond
		if r.Bars[i].Met != met {
			t.Errorf("%v", r.Bars[i])
		}
	}
}

func TestEachTracerHasALoad(t *testing.T) {
	for _, about := range latency.Tracers() {
		if loadOf(about.Name).kind == "" {
			t.Errorf("%s has none: weir bench trace cannot measure it", about.Name)
		}
	}
}

func TestWhatIsRareHasNoBar(t *testing.T) {
	row := TraceRow{Tracer: latency.GC, Event: "collection of garbage", PerSecond: 1000, OwnNanos: 2000, OwnOfCPU: 0.2, AllNanos: 80_000}
	bars := traceBars([]TraceRow{row}, 200_000)
	const want = "nothing makes so many: at 1000/s, as fast as one process could, they are 0.10 %: 2000 ns each, and all that one takes more 80000 ns"
	if len(bars) != 1 || bars[0].Skipped != want {
		t.Errorf("%+v, want %q", bars, want)
	}
}

func TestTraceRowsNeedBothTurns(t *testing.T) {
	turns := tracedTurns(latency.Read, 0, 1000, 100, 2, 300, 1)
	if rows := traceRows(turns[:3], 1000, 2); len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
}

func TestTraceWithoutRightsSaysWhatToDo(t *testing.T) {
	if _, err := RunTrace(t.Context(), TraceConfig{Reps: 101}, nil); err == nil || !strings.Contains(err.Error(), "--reps") {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		t.Skip("root has the rights: TestBPFTraceMeasuresTracers measures as root")
	}
	want := latency.ErrNotPermitted
	if runtime.GOOS != "linux" {
		want = errors.ErrUnsupported
	}
	if _, err := RunTrace(t.Context(), TraceConfig{}, nil); !errors.Is(err, want) {
		t.Error(err)
	}
}

func TestBPFTraceMeasuresTracers(t *testing.T) {
	bpftest.Require(t, "6.3", "the tracepoint sk_data_ready")
	var progress bytes.Buffer
	cfg := TraceConfig{Only: []string{latency.XDP, latency.Read}, Rate: 2000, Duration: 200 * time.Millisecond, Reps: 2}
	r, err := RunTrace(t.Context(), cfg, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if len(r.Turns) != (4+5)*cfg.Reps || len(r.Rows) != 2 || len(r.Bars) != 2 || strings.Count(progress.String(), "\n") != len(r.Turns) {
		t.Fatalf("%d turns, %d rows, %d bars\n%s", len(r.Turns), len(r.Rows), len(r.Bars), &progress)
	}
	if read := r.Rows[0]; read.Tracer != latency.Read || read.Seen < 0.9 || read.Runs < 1.8 || read.OwnNanos <= 0 || read.NanosPerRun <= 0 || read.Throughput <= 0 {
		t.Errorf("%+v", read)
	}
	if xdp := r.Rows[1]; xdp.Tracer != latency.XDP || xdp.Seen < 0.9 || xdp.PerSecond <= 0 {
		t.Errorf("%+v", xdp)
	}
	for _, turn := range r.Turns {
		if most := 1.2*float64(cfg.Rate)*turn.Seconds + 100; !turn.Closed && float64(turn.Events) > most {
			t.Errorf("%+v: more than its rate", turn)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := RunTrace(ctx, cfg, &progress); err == nil {
		t.Error("it measures after its end")
	}
}
