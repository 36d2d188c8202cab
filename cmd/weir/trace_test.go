package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bpf/latency"
	"weir/internal/golden"
)

// traceSnapshot has something of everything.
func traceSnapshot() *latency.Snapshot {
	queued := latency.Histogram{Name: "queued"}
	for i := range 100 {
		queued.Observe(time.Duration(1+i) * 100 * time.Microsecond)
	}
	queued.Observe(3 * time.Second)
	rtt := latency.Histogram{Name: "rtt"}
	rtt.Observe(30 * time.Millisecond)
	return &latency.Snapshot{
		Tracer:     latency.Accept,
		Taken:      time.Date(2026, 11, 26, 12, 0, 1, 0, time.UTC),
		Histograms: []latency.Histogram{queued, {Name: "nothing"}},
		Counters:   []latency.Counter{{Name: "polls", Count: 7}, {Name: "full_polls", Count: 1}},
		Classes: []latency.Class{
			{Port: 8080, Inbound: true, Conns: 2, RTT: rtt, Retransmits: 3, Retransmitting: 1, Closed: 1, LeastWindow: 10, Unsent: 4, Unacked: 5, Unread: 6, Backlog: 1, MostBacklog: 4096},
			{Port: 4222, Conns: 1},
		},
		Loops:    []latency.Loop{{PID: 42, Poller: 7, Busy: queued}, {PID: 42, Poller: 9}},
		Programs: []latency.Program{{ID: 9, Name: "xdp_weir", Runs: 1000, Time: 36 * time.Microsecond}, {ID: 10, Name: "idle"}},
	}
}

func TestTraceReports(t *testing.T) {
	r := reportOf(traceSnapshot(), time.Second)
	r.question, r.Of = "how long do connections wait for accept(2)?", "weir, pid 42"
	r.Stalls = []traceStall{
		{Busy: 0.0123, Cause: "callback", Waited: 0.001, PID: 42, TID: 43, Command: "weir", Poller: 7, Place: "on_cpu", User: []string{"main.spin main.go:7", "0x1234"}},
		{Busy: 0.5, Cause: "blocked", Slept: 0.49, Stopped: 0.002, SoftIRQ: 0.00001, PID: 42, TID: 44, Command: "weir\n", Poller: 8, Place: "off_cpu", Kernel: []string{"schedule"}},
	}
	r.Cost = &traceCost{Runs: 303, PerRun: 121, Share: 0.0004, SampleEvery: 8}
	r.Age = 2.5
	var text bytes.Buffer
	if err := r.print(&text); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/trace.txt", text.String())
	lines, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/trace.json", string(lines)+"\n")
}

// A view is given what a report has, each part once.
func TestTraceReportIsAReadingForTheView(t *testing.T) {
	r := reportOf(traceSnapshot(), time.Second)
	r.Stalls = []traceStall{{Busy: 0.0123, Cause: "callback"}}
	r.Cost = &traceCost{Runs: 303, PerRun: 121, Share: 0.0004}
	got, err := readingOf(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Histograms) != 2 || got.Histograms[1].Summary != "none" || len(got.Histograms[1].Buckets) != 0 || got.Histograms[0].Buckets[0].Label != "   61 µs .. 122 µs  " {
		t.Errorf("histograms are %+v", got.Histograms)
	}
	count := uint64(0)
	for _, b := range got.Histograms[0].Buckets {
		count += b.Count
	}
	if count != 101 || len(got.Histograms[0].Buckets) != 16 {
		t.Errorf("%d in %d buckets", count, len(got.Histograms[0].Buckets))
	}
	text := strings.Join(got.Lines, "\n")
	for _, want := range []string{"polls: 7", "in 8080", "xdp_weir", "stall of 12.3 ms by its own work"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%s is not there once:\n%s", want, text)
		}
	}
	if strings.Contains(text, "queued") || !strings.HasPrefix(got.Cost, "cost of tracing: 303 runs") {
		t.Errorf("lines are\n%s\ncost is %s", text, got.Cost)
	}
}

func TestShortDurationsHaveThreeDigits(t *testing.T) {
	for seconds, want := range map[float64]string{
		1.0 / (1 << 30): "0.931 ns", 1.0 / (1 << 20): "954 ns", 1.0 / (1 << 10): "977 µs", 0.25: "250 ms", 1: "1 s", 256: "256 s", 0.99999: "1 s", 0: "0 ns",
	} {
		if got := short(seconds); got != want {
			t.Errorf("%v s is %q: want %q", seconds, got, want)
		}
	}
}

func TestProcessesAreFoundByName(t *testing.T) {
	proc := t.TempDir()
	for pid, files := range map[string][2]string{
		"12": {"weir", "weir\x00serve\x00"}, "7": {"weir", "weir\x00gateway\x00"}, "13": {"weir", "weir\x00trace\x00accept\x00"},
		"14": {"bash", "bash\x00"}, "self": {"weir", "weir\x00"},
	} {
		dir := filepath.Join(proc, pid)
		err := os.Mkdir(dir, 0o700)
		for i, name := range []string{"comm", "cmdline"} {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(files[i]+[]string{"\n", ""}[i]), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := processesOf(proc, "weir"); err != nil || !slices.Equal(got, []int{7, 12}) {
		t.Errorf("processes are %v, %v", got, err)
	}
	if _, err := processesOf(filepath.Join(proc, "none"), "weir"); err == nil {
		t.Error("no error without a procfs")
	}
}

func TestTraceSaysThatItsCostIsAssumed(t *testing.T) {
	r := traceReport{Tracer: latency.Runq, Cost: &traceCost{Runs: 1000, PerRun: 325, Share: 0.0004, SampleEvery: 4, Assumed: true}}
	const want = "cost of tracing: 0.04 % of a CPU, if each of 1000 events takes 325 ns; the kernel times programs for CAP_SYS_ADMIN alone; one event in 4 is followed, and counts for all"
	if got := r.costLine(); got != want {
		t.Errorf("%s", got)
	}
}

func TestTraceSaysWhatIsWrongWithItsFlags(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"trace", "say what to measure"},
		{"trace --print", "name the session"},
		{"trace accept --bpftrace offcpu", "leave out the rest"},
		{"trace --bpftrace nothing", "nothing"},
		{"trace --bpftrace offcpu --pid 1 --pid 2", "one --pid"},
		{"trace lightning", "is not known: want accept, read,"},
		{"trace accept runq accept", "accept is there twice"},
		{"trace gc --all", "at least one process"},
		{"trace gc --all --listen 127.0.0.1:0", "at least one process"},
		{"trace runq --pid 1 --port 80 --listen 127.0.0.1:0", "Ports"},
		{"trace accept --pid 1 --listen 127.0.0.1:0 --budget 7", "want a share of one CPU, 0.001 to 1"},
		{"trace accept --pid 1 --budget 0", "want a share of one CPU"},
		{"trace accept --pid 1 --listen 127.0.0.1:0 --json", "give one of them"},
		{"trace accept --bpftrace offcpu --listen 127.0.0.1:0", "leave out the rest"},
		{"trace accept --pid 1 --duration=-1s", "no negative duration"},
		{"trace softirq --pid 1", "PIDs"},
		{"trace runq --pid 1 --port 80", "Ports"},
		{"trace accept --pid 1 --all", "give one of them"},
		{"trace accept --pid 1 --interval 0s", "an interval above 0"},
	} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(tt.args), &app{stdout: &out, stderr: &errs}); code != exitUsage || !strings.Contains(errs.String(), tt.want) {
			t.Errorf("%s: exit code %d, %s: want %s", tt.args, code, &errs, tt.want)
		}
	}
	err := (&traceCmd{What: []string{latency.Accept}, Comm: "no such name", Interval: 1, Budget: 1}).Run(t.Context(), &app{})
	if err == nil || !strings.Contains(err.Error(), "no process is named no such name") {
		t.Errorf("a name that nobody has: %v", err)
	}
}
