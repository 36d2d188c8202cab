package latency

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// fake is a tracer that has counted what a test says.
type fake struct {
	snap   Snapshot
	cost   Cost
	stalls []StallOf
	closed bool
	fail   error // of what is read
}

func (f *fake) SnapshotInto(s *Snapshot) error {
	*s = *f.snap.Clone()
	return f.fail
}
func (f *fake) Cost() (Cost, error) { return f.cost, f.fail }
func (f *fake) Stalls(tell func(StallOf)) error {
	for _, s := range f.stalls {
		tell(s)
	}
	f.stalls = nil
	return nil
}
func (f *fake) Close() error { f.closed = true; return nil }

// export keeps fakes, and has the log of it.
type export struct {
	*Export
	opened map[string][]*fake // by tracer, in order
	as     map[string][]Config
	fail   error // of the next to be opened
	pids   []int
	log    bytes.Buffer
	now    time.Time
}

func newExport(t *testing.T, tracers ...string) *export {
	t.Helper()
	x := &export{opened: map[string][]*fake{}, as: map[string][]Config{}, pids: []int{42}, now: time.Now()}
	cfg := ExportConfig{Tracers: tracers, PIDs: func() ([]int, error) { return x.pids, nil }, Threshold: time.Second}
	var err error
	if x.Export, err = NewExport(cfg, slog.New(slog.NewTextHandler(&x.log, nil))); err != nil {
		t.Fatal(err)
	}
	x.open = func(name string, cfg Config) (source, error) {
		if x.fail != nil {
			return nil, x.fail
		}
		f := &fake{snap: Snapshot{Tracer: name}}
		about, _ := find(name)
		for _, h := range about.Histograms {
			f.snap.Histograms = append(f.snap.Histograms, Histogram{Name: h})
		}
		for _, c := range about.Counters {
			f.snap.Counters = append(f.snap.Counters, Counter{Name: c})
		}
		x.opened[name], x.as[name] = append(x.opened[name], f), append(x.as[name], cfg)
		return f, nil
	}
	return x
}

// lookAgain is a look at the end of the interval.
func (x *export) lookAgain() {
	x.now = x.now.Add(x.cfg.Look)
	x.look(x.now)
}

// last is the one that a tracer's name was opened as last.
func (x *export) last(name string) *fake { return x.opened[name][len(x.opened[name])-1] }

// series are those of a family by their labels' values, joined by commas in order of names.
func series(t *testing.T, c prometheus.Collector, family string) map[string]*dto.Metric {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.Metric{}
	for _, f := range families {
		if f.GetName() != family {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			all[strings.Join(values, ",")] = m
		}
	}
	return all
}

// state is the one that holds, by the gauge.
func (x *export) state(t *testing.T, tracer string) string {
	t.Helper()
	holds := ""
	for labels, m := range series(t, x, "weir_trace_state") {
		if state, ok := strings.CutSuffix(labels, ","+tracer); ok && m.GetGauge().GetValue() == 1 {
			holds += state
		}
	}
	return holds
}

func TestExportServesTheKernelsBuckets(t *testing.T) {
	x := newExport(t, Accept)
	x.look(x.now)
	h := &x.last(Accept).snap.Histograms[0]
	for _, d := range []time.Duration{0, 100 * time.Nanosecond, time.Millisecond, 2 * time.Millisecond, 2 * time.Millisecond, time.Minute, time.Hour} {
		h.Observe(d)
	}
	got := series(t, x, "weir_trace_duration_seconds")["accept,queued"].GetHistogram()
	if got.GetSampleCount() != 7 || math.Abs(got.GetSampleSum()-(time.Hour+time.Minute+5*time.Millisecond).Seconds()) > 1e-3 {
		t.Errorf("%d, %v s together", got.GetSampleCount(), got.GetSampleSum())
	}
	if got.GetSchema() != 0 || got.GetZeroCount() != 1 || got.GetZeroThreshold() != Bound(0) {
		t.Errorf("schema %d, %d up to %v", got.GetSchema(), got.GetZeroCount(), got.GetZeroThreshold())
	}
	native := map[int]int64{}
	index, n, deltas := 0, int64(0), got.GetPositiveDelta()
	for _, span := range got.GetPositiveSpan() {
		index += int(span.GetOffset())
		for range span.GetLength() {
			n, deltas = n+deltas[0], deltas[1:]
			if n != 0 {
				native[index] = n
			}
			index++
		}
	}
	// 2^-24 s < 100 ns <= 2^-23 s; 2^-10 s < 1 ms <= 2^-9 s, with 2 ms in the next; 32 s < 60 s <= 64 s; all beyond 128 s is of the last.
	if want := map[int]int64{-23: 1, -9: 1, -8: 2, 6: 1, 8: 1}; !maps.Equal(native, want) {
		t.Errorf("native buckets are %v, want %v", native, want)
	}
	classic := map[float64]uint64{}
	for _, b := range got.GetBucket() {
		classic[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	if len(classic) != 24 || classic[Bound(10)] != 2 || classic[1.0/1024] != 2 || classic[1.0/512] != 3 || classic[1.0/256] != 5 || classic[8] != 5 {
		t.Errorf("classic buckets are %v", classic)
	}
}

func TestExportDoesNotGoBackWhenATracerIsOpenedAgain(t *testing.T) {
	x := newExport(t, Stall)
	x.look(x.now)
	count := func() (busy, stalls, runs float64) {
		s := series(t, x, "weir_trace_stalls_total")["callback"]
		r := series(t, x, "weir_trace_runs_total")["stall"]
		h := series(t, x, "weir_trace_duration_seconds")["stall,busy"].GetHistogram()
		return float64(h.GetSampleCount()), s.GetCounter().GetValue(), r.GetCounter().GetValue()
	}
	for round := range 3 {
		f := x.last(Stall)
		f.snap.Histograms[0].Observe(time.Millisecond)
		f.snap.Counters[slices.Index(stallCounters(), "by_callback")].Count = 10
		f.cost.Runs = 100
		want := float64(round + 1)
		if busy, stalls, runs := count(); busy != want || stalls != 10*want || runs != 100*want {
			t.Errorf("opened %d times: %v, %v, %v", round+1, busy, stalls, runs)
		}
		x.pids = []int{100 + round} // another process is there
		x.lookAgain()
		if busy, stalls, runs := count(); busy != want || stalls != 10*want || runs != 100*want {
			t.Errorf("opened again after %d times: %v, %v, %v", round+1, busy, stalls, runs)
		}
		if !f.closed || len(x.opened[Stall]) != round+2 || x.as[Stall][round+1].PIDs[0] != 100+round {
			t.Errorf("it was not opened again: %+v", x.as[Stall])
		}
	}
	if err := x.Close(); err != nil || x.state(t, Stall) != "off" || !x.last(Stall).closed {
		t.Errorf("closed: %v, %s", err, x.state(t, Stall))
	}
	if busy, _, _ := count(); busy != 3 {
		t.Errorf("after Close %v are left", busy)
	}
}

func TestExportDetachesWhatIsOverItsBudget(t *testing.T) {
	x := newExport(t, Runq, Accept)
	x.look(x.now)
	busy, idle := x.last(Runq), x.last(Accept)
	within := time.Duration(float64(x.cfg.Look) * DefaultBudget)
	busy.cost.Time, idle.cost.Time = within, within
	x.lookAgain()
	if x.state(t, Runq) != "attached" || strings.Contains(x.log.String(), "budget") {
		t.Fatalf("within its budget it is %s: %s", x.state(t, Runq), &x.log)
	}
	busy.cost.Time += within + within/10
	busy.cost.SampleEvery = MaxSampleEvery / 2
	x.lookAgain()
	if x.state(t, Runq) != "attached" || strings.Contains(x.log.String(), "budget") {
		t.Fatalf("above it, while it can follow fewer, it is %s: %s", x.state(t, Runq), &x.log)
	}
	busy.cost.Time += within + within/10
	busy.cost.SampleEvery = MaxSampleEvery
	x.lookAgain()
	if x.state(t, Runq) != "over_budget" || !busy.closed || x.state(t, Accept) != "attached" {
		t.Errorf("above it, it is %s, and another %s", x.state(t, Runq), x.state(t, Accept))
	}
	if !strings.Contains(x.log.String(), `msg="a tracer takes more than its budget, and is detached for a while" tracer=runq cpu_share=0.033 budget=0.03`) {
		t.Errorf("the log is %s", &x.log)
	}
	for rested := x.cfg.Look; rested < DefaultRest; rested += x.cfg.Look {
		if x.lookAgain(); x.state(t, Runq) != "over_budget" {
			t.Fatalf("it rested for %v", rested)
		}
	}
	if x.lookAgain(); x.state(t, Runq) != "attached" || len(x.opened[Runq]) != 2 {
		t.Errorf("after its rest it is %s", x.state(t, Runq))
	}
	if took := series(t, x, "weir_trace_seconds_total")["runq"].GetCounter().GetValue(); math.Abs(took-(3*within+2*within/10).Seconds()) > 1e-9 {
		t.Errorf("it took %v s", took)
	}
}

// One tracer that cannot be read must not take the metrics of all with it.
func TestExportDetachesWhatCannotBeRead(t *testing.T) {
	for name, see := range map[string]func(x *export){
		"by a look":   func(x *export) { x.lookAgain() },
		"by a scrape": func(x *export) { x.state(t, Runq) },
	} {
		x := newExport(t, Runq, Accept)
		x.look(x.now)
		x.last(Runq).snap.Histograms[0].Observe(time.Millisecond)
		x.state(t, Runq)
		x.last(Runq).fail = errors.New("too many open files")
		see(x)
		if x.state(t, Runq) != "failed" || x.state(t, Accept) != "attached" || !x.last(Runq).closed {
			t.Errorf("%s: it is %s, and another %s", name, x.state(t, Runq), x.state(t, Accept))
		}
		if n := series(t, x, "weir_trace_duration_seconds")["runq,runnable"].GetHistogram().GetSampleCount(); n != 1 {
			t.Errorf("%s: of what it had counted %d are there", name, n)
		}
		if out := x.log.String(); strings.Count(out, "too many open files") != 1 {
			t.Errorf("%s: the log is %s", name, out)
		}
		for range 2 * DefaultRest / DefaultLook {
			x.lookAgain()
		}
		if x.state(t, Runq) != "attached" {
			t.Errorf("%s: after its rest it is %s", name, x.state(t, Runq))
		}
	}
}

// A walk over all sockets may take more than a look's share; the tracer walks less often then.
func TestExportLeavesWalksToTheirTracer(t *testing.T) {
	x := newExport(t, RTT)
	x.look(x.now)
	x.last(RTT).cost.Time = x.cfg.Look
	x.kept[0].walked = x.cfg.Look
	if x.lookAgain(); x.state(t, RTT) != "attached" {
		t.Errorf("it is %s", x.state(t, RTT))
	}
}

func TestExportSaysOnceWhatIsNotThere(t *testing.T) {
	for want, err := range map[string]error{
		"not_permitted": ErrNotPermitted, "no_hook": &HookError{Tracer: Read, Hook: "sk_data_ready", Since: "6.3", Err: os.ErrNotExist},
		"no_process": ErrNotGo, "failed": errors.New("of another kind"),
	} {
		x := newExport(t, Read)
		x.fail = err
		x.look(x.now)
		x.lookAgain()
		x.lookAgain()
		if got := x.state(t, Read); got != want || strings.Count(x.log.String(), "a tracer is not attached") != 1 || !strings.Contains(x.log.String(), want) {
			t.Errorf("%v: it is %s, want %s: %s", err, got, want, &x.log)
		}
		if h := series(t, x, "weir_trace_duration_seconds")["read,unread"].GetHistogram(); h == nil || h.GetSampleCount() != 0 {
			t.Errorf("%v: no series of it", err)
		}
		x.fail = nil
		x.pids = []int{43} // another process may do
		if x.lookAgain(); x.state(t, Read) != "attached" {
			t.Errorf("%v: of another process it is %s", err, x.state(t, Read))
		}
	}
}

func TestExportWaitsForAProcess(t *testing.T) {
	x := newExport(t, Runq, Softirq)
	x.pids = nil
	x.look(x.now)
	if x.state(t, Runq) != "no_process" || x.state(t, Softirq) != "attached" || len(x.opened[Runq]) != 0 {
		t.Errorf("without one: runq %s, softirq %s", x.state(t, Runq), x.state(t, Softirq))
	}
	x.pids = []int{7}
	if x.lookAgain(); x.state(t, Runq) != "attached" || len(x.opened[Softirq]) != 1 || x.as[Softirq][0].PIDs != nil {
		t.Errorf("with one: runq %s, softirq opened %d times", x.state(t, Runq), len(x.opened[Softirq]))
	}
	x.last(Runq).snap.Histograms[0].Observe(1)
	x.pids = nil
	if x.lookAgain(); x.state(t, Runq) != "no_process" {
		t.Errorf("when it is gone: runq %s", x.state(t, Runq))
	}
	if got := series(t, x, "weir_trace_duration_seconds")["runq,runnable"].GetHistogram().GetSampleCount(); got != 1 {
		t.Errorf("what it had counted is %d", got)
	}
}

func TestExportLogsTheLongestStall(t *testing.T) {
	x := newExport(t, Stall)
	x.look(x.now)
	x.last(Stall).stalls = []StallOf{{Busy: time.Second, PID: nobodyElse, Cause: RunQueue}, {Busy: 3 * time.Second, PID: nobodyElse, Cause: Blocked, User: []uint64{1}}}
	x.lookAgain()
	if got := x.log.String(); strings.Count(got, "event loops stalled") != 1 || !strings.Contains(got, "stalls=2 longest=3s cause=blocked") || !strings.Contains(got, "code=[0x1]") {
		t.Errorf("the log is %s", got)
	}
}

func TestExportNamesItsOwnCode(t *testing.T) {
	x := newExport(t, Stall)
	x.look(x.now)
	pcs := make([]uintptr, 1)
	runtime.Callers(1, pcs)
	x.last(Stall).stalls = []StallOf{{Busy: time.Second, PID: uint32(os.Getpid()), User: []uint64{1, uint64(pcs[0])}}} //nolint:gosec // a process's id
	x.lookAgain()
	if got := x.log.String(); !strings.Contains(got, "TestExportNamesItsOwnCode export_test.go:") {
		t.Errorf("the log is %s", got)
	}
}

// nobodyElse is above all ids of processes.
const nobodyElse = 1 << 22

func TestExportCountsProgramsThatComeAndGo(t *testing.T) {
	x := newExport(t, XDP)
	x.look(x.now)
	f := x.last(XDP)
	for i, tt := range []struct {
		programs []Program
		want     float64
	}{
		{[]Program{{ID: 1, Runs: 10, Time: time.Second}}, 10},
		{[]Program{{ID: 1, Runs: 15, Time: 2 * time.Second}, {ID: 2, Runs: 100}}, 115},
		{[]Program{{ID: 2, Runs: 101}}, 116},
		{[]Program{{ID: 2, Runs: 3}}, 119}, // another, of the same id
	} {
		f.snap.Programs = tt.programs
		if got := series(t, x, "weir_trace_xdp_runs_total")[""].GetCounter().GetValue(); got != tt.want {
			t.Errorf("look %d: %v runs, want %v", i, got, tt.want)
		}
	}
}

func TestExportHasTheStateOfConnections(t *testing.T) {
	x := newExport(t, RTT)
	x.look(x.now)
	near, far := Histogram{}, Histogram{}
	near.Observe(time.Millisecond)
	far.Observe(100 * time.Millisecond)
	x.last(RTT).snap.Classes = []Class{
		{Port: 80, Inbound: true, Conns: 3, RTT: near, Unsent: 7, Closed: 1, Backlog: 2, MostBacklog: 10},
		{Port: 81, Inbound: true, Conns: 4, RTT: far, Unread: 5, Retransmitting: 2, MostBacklog: 20},
		{Port: 4222, Conns: 1},
	}
	for family, want := range map[string]map[string]float64{
		"weir_trace_conns":             {"in": 7, "out": 1},
		"weir_trace_conns_held_bytes":  {"in,unsent": 7, "in,unread": 5, "in,unacked": 0, "out,unsent": 0, "out,unread": 0, "out,unacked": 0},
		"weir_trace_conns_behind":      {"in,retransmitting": 2, "in,zero_window": 1, "out,retransmitting": 0, "out,zero_window": 0},
		"weir_trace_conns_rtt_seconds": {"in,0.5": 1.0 / 512, "in,0.99": 0.125, "in,1": 0.125, "out,0.5": 0, "out,0.99": 0, "out,1": 0},
		"weir_trace_accept_queue":      {"waiting": 2, "most": 30},
	} {
		got := map[string]float64{}
		for labels, m := range series(t, x, family) {
			got[labels] = m.GetGauge().GetValue()
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", family, got, want)
		}
	}
}

func TestExportSaysWhatIsWrongWithItsConfig(t *testing.T) {
	for field, cfg := range map[string]ExportConfig{
		"Tracers": {Tracers: []string{"lightning"}}, "Budget": {Budget: 2}, "Ports": {Ports: []uint16{0}},
		"Threshold, Look or Rest": {Look: -1},
	} {
		_, err := NewExport(cfg, slog.New(slog.DiscardHandler))
		if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != field {
			t.Errorf("%+v: %v, want one of %s", cfg, err, field)
		}
	}
	if _, err := NewExport(ExportConfig{Tracers: []string{Accept, Accept}}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a tracer may be kept twice")
	}
}
