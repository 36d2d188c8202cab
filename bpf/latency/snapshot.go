package latency

import "time"

// Snapshot is what a tracer has counted since it was opened. Which fields it has depends on the
// tracer.
type Snapshot struct {
	// Tracer is its name, Taken when it was read.
	Tracer string
	Taken  time.Time
	// Histograms and Counters are those of [About], in order.
	Histograms []Histogram
	Counters   []Counter
	// Classes are of rtt: the state of all connections when they were walked, which was at that time, or
	// before under a [Config.Budget].
	Classes []Class
	Walked  time.Time
	// Loops are of stall: each epoll descriptor that was polled.
	Loops []Loop
	// Programs are of xdp.
	Programs []Program
}

// Counter is a number that only grows.
type Counter struct {
	Name  string
	Count uint64
}

// Class is the connections that came in to one local port, or that went out to one remote port.
type Class struct {
	Port    uint16
	Inbound bool
	Conns   uint64
	// RTT is of the smoothed round trip times, of each connection that has one.
	RTT Histogram
	// Retransmits is how many segments were sent again; Retransmitting is how many connections
	// wait for the answer to one.
	Retransmits, Retransmitting uint64
	// Closed is how many connections' peers take nothing, with a window of 0.
	Closed uint64
	// LeastWindow is the smallest congestion window, in segments.
	LeastWindow uint32
	// Unsent, Unacked and Unread are bytes: not sent yet, not acknowledged, not read.
	Unsent, Unacked, Unread uint64
	// Backlog is how many connections to the port wait for accept(2), and MostBacklog how many
	// may, of all its listeners.
	Backlog, MostBacklog uint64
}

// Loop is an event loop, by its process and its epoll descriptor: how long it did not poll once it had
// events. Those of a Go program have the poller of Go's runtime among them, which many threads poll.
type Loop struct {
	PID, Poller uint32
	Busy        Histogram
}

// Program is an XDP program of the host: what it has taken so far.
type Program struct {
	ID   uint32
	Name string
	Runs uint64
	Time time.Duration
}

// Sub takes away what was counted before, by the same tracer. Classes are a state, and stay.
func (s *Snapshot) Sub(before *Snapshot) {
	for i := range s.Histograms {
		if i < len(before.Histograms) {
			s.Histograms[i].Sub(&before.Histograms[i])
		}
	}
	for i := range s.Counters {
		if i < len(before.Counters) {
			s.Counters[i].Count -= before.Counters[i].Count
		}
	}
	for i := range s.Loops {
		for j := range before.Loops {
			if l, b := &s.Loops[i], &before.Loops[j]; l.PID == b.PID && l.Poller == b.Poller && b.Busy.Count <= l.Busy.Count {
				l.Busy.Sub(&b.Busy)
			}
		}
	}
	for i := range s.Programs {
		for _, b := range before.Programs {
			if p := &s.Programs[i]; b.ID == p.ID {
				p.Runs -= b.Runs
				p.Time -= b.Time
			}
		}
	}
}

// Clone is a copy that shares nothing.
func (s *Snapshot) Clone() *Snapshot {
	c := *s
	c.Histograms = append([]Histogram(nil), s.Histograms...)
	c.Counters = append([]Counter(nil), s.Counters...)
	c.Classes = append([]Class(nil), s.Classes...)
	c.Loops = append([]Loop(nil), s.Loops...)
	c.Programs = append([]Program(nil), s.Programs...)
	return &c
}

// Cost is what a tracer's own programs took. Under a [Config.Budget] it is an estimate: not all of their runs are timed.
type Cost struct {
	// Runs is how often they ran, Time what all runs took together on all CPUs.
	Runs uint64
	Time time.Duration
	// Open is for how long the tracer is open.
	Open time.Duration
	// SampleEvery says that one in so many events is followed now: 1, or more under a [Config.Budget].
	SampleEvery int
	// Assumed says that the kernel did not let the runs be timed, and what they take is assumed: Runs are
	// events then.
	Assumed bool
}

// PerRun is what one run took.
func (c Cost) PerRun() time.Duration {
	if c.Runs == 0 {
		return 0
	}
	return c.Time / time.Duration(c.Runs) //nolint:gosec // fewer than 2^63
}

// Share is which part of one CPU they took, 1 for all of it.
func (c Cost) Share() float64 {
	if c.Open <= 0 {
		return 0
	}
	return float64(c.Time) / float64(c.Open)
}
