package bench

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"weir/bench/traceload"
	"weir/bpf/latency"
	"weir/edge/loop"
)

// TraceConfig configures [RunTrace]. Zero fields take the defaults.
type TraceConfig struct {
	// Only are the tracers to measure. Default all.
	Only []string
	// Rate is the events a second that costs are of. 1000 to 10 million, default 200,000.
	Rate int
	// Duration is how long each turn is measured, Reps how many there are of each kind. 100 ms to
	// 1 min, 1 to 100; defaults 3 s and 5.
	Duration time.Duration
	Reps     int
	// Threads make the events. 1 to 64, default one a CPU, 2 at most.
	Threads int
	// Conns are those that rtt walks, both ends of each. Default 8000, or what the descriptor
	// limit allows.
	Conns int
}

// TraceTurn is a turn of a tracer's load.
type TraceTurn struct {
	Tracer string `json:"tracer"`
	Rep    int    `json:"rep"`
	// Traced has the tracer on, Empty programs that do nothing in the place of its own; Closed is as fast as it
	// goes, not at a rate.
	Traced bool `json:"traced"`
	Empty  bool `json:"empty,omitempty"`
	Closed bool `json:"closed"`
	// Events were made in Seconds; of rtt messages, while sockets were walked.
	Events  uint64  `json:"events"`
	Seconds float64 `json:"seconds"`
	// LoadCPU is of the process that makes the events, ReaderCPU of the one that has the tracer,
	// HostCPU of all CPUs, to the kernel's tick: seconds.
	LoadCPU   float64 `json:"load_cpu_seconds"`
	ReaderCPU float64 `json:"reader_cpu_seconds"`
	HostCPU   float64 `json:"host_cpu_seconds"`
	// Runs are of the tracer's programs, and OwnNanos is what they took. Seen is what the tracer
	// counted; of rtt the sockets of all its reports.
	Runs     uint64 `json:"runs,omitempty"`
	OwnNanos uint64 `json:"own_ns,omitempty"`
	Seen     uint64 `json:"seen,omitempty"`
	// Budget is the share of a CPU that it had: [latency.DefaultBudget], or of a load that makes fewer events
	// than the config's rate as much less. SampleEvery says that it followed one in so many at the end; of rtt
	// that one in so many reports was of a new walk.
	Budget      float64 `json:"budget,omitempty"`
	SampleEvery float64 `json:"sample_every,omitempty"`
}

// perSecond is how many events were made.
func (t TraceTurn) perSecond() float64 { return float64(t.Events) / t.Seconds }

// TraceRow is what a tracer costs: medians over the repetitions.
type TraceRow struct {
	Tracer string `json:"tracer"`
	// Event is what there are PerSecond of, at the rate; Scaled says that the host does not make
	// as many as the costs are of.
	Event     string  `json:"event"`
	PerSecond float64 `json:"events_per_second"`
	Scaled    bool    `json:"scaled"`
	// Seen is what the tracer counted of them, SampleEvery that it followed one in so many.
	Seen        float64 `json:"seen_share"`
	SampleEvery float64 `json:"sample_every"`
	// Runs are of its programs, for each event. NanosPerRun is what the kernel counts of each, and
	// EmptyPerRun of one of a program that does nothing at the same hooks, which is what counting takes.
	// OwnNanos is what they took without that, for each event. On a host that does other things they ran for
	// those as well.
	Runs        float64 `json:"runs_per_event"`
	NanosPerRun float64 `json:"counted_ns_per_run"`
	EmptyPerRun float64 `json:"counted_ns_per_empty_run"`
	OwnNanos    float64 `json:"own_ns_per_event"`
	// OwnOfCPU is their part of one CPU at the config's rate, OwnOfHost of all: 1 is all of it.
	OwnOfCPU  float64 `json:"own_share_of_cpu"`
	OwnOfHost float64 `json:"own_share_of_host"`
	// AllNanos is what an event takes more of CPU with the tracer; AllOfHost is its share, as
	// OwnOfHost.
	AllNanos  float64 `json:"all_ns_per_event"`
	AllOfHost float64 `json:"all_share_of_host"`
	// HostBusier is how much more of all CPUs was busy with the tracer, at PerSecond.
	HostBusier float64 `json:"host_busier_share"`
	// Throughput is events a second with the tracer over those without, as fast as it goes.
	Throughput float64 `json:"throughput_ratio"`
}

// TraceResult is a run's.
type TraceResult struct {
	Host    HostCard    `json:"host"`
	Rate    int         `json:"rate"`
	Seconds float64     `json:"seconds_of_a_turn"`
	Reps    int         `json:"reps"`
	Threads int         `json:"threads"`
	Sockets int         `json:"sockets_walked"`
	Turns   []TraceTurn `json:"turns"`
	Rows    []TraceRow  `json:"rows"`
	Bars    []Bar       `json:"bars"`
}

// tracedLoad is what makes a tracer's events.
type tracedLoad struct {
	kind string
	// event is one in words.
	event string
	// rare says that nothing makes as many as costs are of, so that what they would be says nothing.
	rare bool
}

// loadOf is a tracer's; its kind is empty if there is none.
func loadOf(tracer string) tracedLoad {
	switch tracer {
	case latency.Accept:
		return tracedLoad{kind: traceload.Accepts, event: "conn accepted"}
	case latency.Read:
		return tracedLoad{kind: traceload.Messages, event: "message read"}
	case latency.Write:
		return tracedLoad{kind: traceload.Messages, event: "message written"}
	case latency.RTT:
		return tracedLoad{kind: traceload.Messages, event: "socket walked"}
	case latency.Runq:
		return tracedLoad{kind: traceload.Wakeups, event: "thread woken"}
	case latency.Softirq:
		return tracedLoad{kind: traceload.Datagrams, event: "datagram received"}
	case latency.Stall:
		return tracedLoad{kind: traceload.Polls, event: "poll with an event"}
	case latency.GC:
		return tracedLoad{kind: traceload.Collections, event: "collection of garbage", rare: true}
	case latency.XDP:
		return tracedLoad{kind: traceload.Frames, event: "run of an XDP program"}
	default:
		return tracedLoad{}
	}
}

// tracerNames are all that there are, in order.
func tracerNames() (names []string) {
	for _, a := range latency.Tracers() {
		names = append(names, a.Name)
	}
	return names
}

const (
	defaultTraceRate = 200_000
	// messageConns are those of a thread, of which each is then at rest for a while.
	messageConns = 64
	walkedConns  = 8000
	// traceMostThreads are enough for the rate, and leave a large host alone.
	traceMostThreads = 2
)

// mostWalked is how many conns this process's children can have, both ends of each.
func mostWalked() int { return max((loop.DescriptorLimit()-spareDescriptors)/2, 0) }

func (c TraceConfig) withDefaults() TraceConfig {
	if len(c.Only) == 0 {
		c.Only = tracerNames()
	}
	for _, d := range []struct {
		at    *int
		value int
	}{
		{&c.Rate, defaultTraceRate},
		{&c.Reps, 5},
		{&c.Threads, min(runtime.NumCPU(), traceMostThreads)},
		{&c.Conns, min(walkedConns, mostWalked())},
	} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	if c.Duration == 0 {
		c.Duration = 3 * time.Second
	}
	return c
}

// Quick is the least that shows all kinds of turns.
func (c TraceConfig) Quick() TraceConfig {
	c.Reps, c.Duration, c.Conns = 1, time.Second, min(1000, mostWalked())
	return c
}

// Validate says what is wrong, joined; nil if nothing is.
func (c TraceConfig) Validate() error {
	c = c.withDefaults()
	var bad flagErrors
	for i, name := range c.Only {
		bad.check("only", slices.Contains(tracerNames(), name) && !slices.Contains(c.Only[:i], name), name, "some of "+strings.Join(tracerNames(), ", ")+", each once")
	}
	bad.check("rate", c.Rate >= 1000 && c.Rate <= 10_000_000, c.Rate, "1000 to 10000000")
	bad.check("duration", c.Duration >= 100*time.Millisecond && c.Duration <= time.Minute, c.Duration, "100ms to 1m")
	bad.check("reps", c.Reps >= 1 && c.Reps <= 100, c.Reps, "1 to 100")
	bad.check("threads", c.Threads >= 1 && c.Threads <= traceload.MaxThreads, c.Threads, fmt.Sprintf("1 to %d", traceload.MaxThreads))
	most := min(mostWalked(), c.Threads*traceload.MaxConns)
	bad.check("conns", c.Conns >= c.Threads && c.Conns <= most, c.Conns, fmt.Sprintf("one a thread to %d, by the limit of open files (ulimit -n)", most))
	return errors.Join(bad...)
}
