package main

import (
	"cmp"
	"slices"
	"time"

	"weir/bpf/latency"
)

// traceReport is what a tracer counted in an interval.
type traceReport struct {
	Tracer     string            `json:"tracer"`
	Of         string            `json:"of"`
	At         time.Time         `json:"at"`
	Seconds    float64           `json:"seconds"`
	Histograms []traceHistogram  `json:"histograms,omitempty"`
	Counters   map[string]uint64 `json:"counters,omitempty"`
	Classes    []traceClass      `json:"classes,omitempty"`
	// Age is how long before At the classes were walked, seconds.
	Age      float64        `json:"classes_age_seconds,omitempty"`
	Loops    []traceLoop    `json:"loops,omitempty"`
	Programs []traceProgram `json:"programs,omitempty"`
	Stalls   []traceStall   `json:"stalls,omitempty"`
	Cost     *traceCost     `json:"cost,omitempty"`

	question string
}

// traceHistogram counts durations. A quantile is the bound of its bucket: what it is at most, and at
// least half of it is. Most is that of the longest.
type traceHistogram struct {
	Name    string        `json:"name"`
	Count   uint64        `json:"count"`
	Sum     float64       `json:"sum_seconds"`
	P50     float64       `json:"p50_seconds"`
	P90     float64       `json:"p90_seconds"`
	P99     float64       `json:"p99_seconds"`
	Most    float64       `json:"max_seconds"`
	Buckets []traceBucket `json:"buckets"`
}

// traceBucket counts durations up to AtMost, and above half of it.
type traceBucket struct {
	AtMost float64 `json:"le_seconds"`
	Count  uint64  `json:"count"`
}

// traceClass is the connections of a port.
type traceClass struct {
	Port           uint16         `json:"port"`
	Direction      string         `json:"direction"`
	Conns          uint64         `json:"conns"`
	RTT            traceHistogram `json:"rtt"`
	Retransmits    uint64         `json:"retransmits"`
	Retransmitting uint64         `json:"retransmitting"`
	Closed         uint64         `json:"zero_windows"`
	LeastWindow    uint32         `json:"least_cwnd_segments"`
	Unsent         uint64         `json:"unsent_bytes"`
	Unacked        uint64         `json:"unacked_bytes"`
	Unread         uint64         `json:"unread_bytes"`
	Backlog        uint64         `json:"backlog"`
	MostBacklog    uint64         `json:"max_backlog"`
}

// traceLoop is an event loop: how long it did not poll when it had events, and which part of the time.
type traceLoop struct {
	PID    uint32         `json:"pid"`
	Poller uint32         `json:"epoll"`
	Share  float64        `json:"busy_share"`
	Busy   traceHistogram `json:"busy"`
}

// traceProgram is what an XDP program took.
type traceProgram struct {
	ID     uint32  `json:"id"`
	Name   string  `json:"name"`
	Runs   uint64  `json:"runs"`
	PerRun float64 `json:"ns_per_run"`
	Share  float64 `json:"cpu_share"`
}

// traceStall is a loop that did not poll for long: what took most of the time, and how long each.
type traceStall struct {
	Busy    float64  `json:"busy_seconds"`
	Cause   string   `json:"cause"`
	Waited  float64  `json:"run_queue_seconds"`
	Slept   float64  `json:"blocked_seconds"`
	SoftIRQ float64  `json:"softirq_seconds"`
	Stopped float64  `json:"stop_the_world_seconds"`
	PID     uint32   `json:"pid"`
	TID     uint32   `json:"tid"`
	Command string   `json:"comm"`
	Poller  uint32   `json:"epoll"`
	Place   string   `json:"place"`
	Kernel  []string `json:"kernel,omitempty"`
	User    []string `json:"user,omitempty"`
}

// traceCost is what the tracer itself takes, since it began.
type traceCost struct {
	Runs   uint64  `json:"runs"`
	PerRun float64 `json:"ns_per_run"`
	Share  float64 `json:"cpu_share"`
	// SampleEvery says that one in so many events is followed now.
	SampleEvery int `json:"sample_every"`
	// Assumed says that it is by the events that were counted, as the kernel did not let it be timed.
	Assumed bool `json:"assumed,omitempty"`
}

// tracing makes reports of what a tracer counts, each of the time since the one before.
type tracing struct {
	of      string
	symbols *latency.Symbols
	before  *latency.Snapshot
	now     latency.Snapshot
	reports int
	// keeps has each report be of all the time since it began, not since the one before.
	keeps  bool
	stalls []traceStall // of that time, the longest
}

// begin forgets what was counted up to now.
func (w *tracing) begin(t *latency.Tracer) (err error) {
	if err := t.Stalls(func(latency.StallOf) {}); err != nil {
		return err
	}
	w.stalls = nil
	w.before, err = t.Snapshot()
	return err
}

// hasJustReported says that a report now would be of next to nothing.
func (w *tracing) hasJustReported(interval time.Duration) bool {
	return w.reports > 0 && time.Since(w.before.Taken) < interval/10
}

func (w *tracing) report(t *latency.Tracer) (*traceReport, error) {
	if err := t.SnapshotInto(&w.now); err != nil {
		return nil, err
	}
	diff := w.now.Clone()
	diff.Sub(w.before)
	took := w.now.Taken.Sub(w.before.Taken)
	if !w.keeps {
		w.before = w.now.Clone()
	}
	w.reports++
	r := reportOf(diff, took)
	r.Of, r.question = w.of, t.About().Question
	err := t.Stalls(func(s latency.StallOf) { r.Stalls = append(r.Stalls, w.stall(s)) })
	if err != nil {
		return nil, err
	}
	if w.keeps {
		w.stalls = longest(append(w.stalls, r.Stalls...), traceMostStalls)
		r.Stalls = slices.Clone(w.stalls)
	}
	cost, err := t.Cost()
	if err != nil {
		return nil, err
	}
	r.Cost = &traceCost{Runs: cost.Runs, PerRun: float64(cost.PerRun()), Share: cost.Share(), SampleEvery: cost.SampleEvery, Assumed: cost.Assumed}
	if len(diff.Classes) > 0 {
		r.Age = diff.Taken.Sub(diff.Walked).Seconds()
	}
	return r, nil
}

// reportOf is a snapshot's difference over a time.
func reportOf(s *latency.Snapshot, took time.Duration) *traceReport {
	r := &traceReport{Tracer: s.Tracer, At: s.Taken.UTC(), Seconds: took.Seconds()}
	for i := range s.Histograms {
		r.Histograms = append(r.Histograms, histogramOf(&s.Histograms[i]))
	}
	for _, c := range s.Counters {
		if r.Counters == nil {
			r.Counters = map[string]uint64{}
		}
		r.Counters[c.Name] = c.Count
	}
	for i := range s.Classes {
		r.Classes = append(r.Classes, classOf(&s.Classes[i]))
	}
	for i := range s.Loops {
		if l := &s.Loops[i]; l.Busy.Count > 0 {
			share := l.Busy.Sum.Seconds() / max(took.Seconds(), 1e-9)
			r.Loops = append(r.Loops, traceLoop{PID: l.PID, Poller: l.Poller, Share: share, Busy: histogramOf(&l.Busy)})
		}
	}
	for _, p := range s.Programs {
		one := traceProgram{ID: p.ID, Name: p.Name, Runs: p.Runs, Share: p.Time.Seconds() / max(took.Seconds(), 1e-9)}
		if p.Runs > 0 {
			one.PerRun = float64(p.Time) / float64(p.Runs)
		}
		r.Programs = append(r.Programs, one)
	}
	return r
}

func histogramOf(h *latency.Histogram) traceHistogram {
	out := traceHistogram{Name: h.Name, Count: h.Count, Sum: h.Sum.Seconds(), Buckets: []traceBucket{}}
	if h.Count == 0 {
		return out
	}
	at := func(q float64) float64 { return latency.Bound(h.Quantile(q)) }
	out.P50, out.P90, out.P99, out.Most = at(0.5), at(0.9), at(0.99), at(1)
	for i, n := range h.Buckets {
		if n > 0 {
			out.Buckets = append(out.Buckets, traceBucket{latency.Bound(i), n})
		}
	}
	return out
}

func classOf(c *latency.Class) traceClass {
	direction := "out"
	if c.Inbound {
		direction = "in"
	}
	return traceClass{
		Port: c.Port, Direction: direction, Conns: c.Conns, RTT: histogramOf(&c.RTT), Retransmits: c.Retransmits, Retransmitting: c.Retransmitting,
		Closed: c.Closed, LeastWindow: c.LeastWindow, Unsent: c.Unsent, Unacked: c.Unacked, Unread: c.Unread, Backlog: c.Backlog, MostBacklog: c.MostBacklog,
	}
}

// longest are the stalls that were busy for most, in that order.
func longest(all []traceStall, most int) []traceStall {
	slices.SortStableFunc(all, func(a, b traceStall) int { return cmp.Compare(b.Busy, a.Busy) })
	return all[:min(len(all), most)]
}

// stall names a stall's code.
func (w *tracing) stall(s latency.StallOf) traceStall {
	out := traceStall{
		Busy: s.Busy.Seconds(), Cause: s.Cause.String(), Waited: s.Waited.Seconds(), Slept: s.Slept.Seconds(), SoftIRQ: s.SoftIRQ.Seconds(), Stopped: s.Stopped.Seconds(),
		PID: s.PID, TID: s.TID, Command: s.Command, Poller: s.Poller, Place: s.Place.String(),
	}
	for _, address := range s.Kernel {
		out.Kernel = append(out.Kernel, w.symbols.Kernel(address))
	}
	for i, address := range s.User {
		out.User = append(out.User, w.symbols.User(s.PID, address, i > 0))
	}
	return out
}
