package queues

import (
	"maps"
	"slices"
	"time"
)

// Rates are what happened between two samples, per second.
type Rates struct {
	Interface, Driver string
	// Elapsed is the time between the samples; at 0 or less there are no rates.
	Elapsed time.Duration
	// Restarted says that the interface was made anew, or that counters of it went back to zero.
	// What was made anew is counted from its making, what went back is not counted.
	Restarted bool
	// Link and Counters are those of [Sample].
	Link, Counters map[string]float64
	// Before, ByXDP and After are what the driver says was lost before XDP, by it and after it, the
	// largest first. A packet is in one of them at most.
	Before, ByXDP, After []Loss
	// CPUs are those online all the while, in order.
	CPUs []CPURates
	// Missing is that of the second sample.
	Missing []string
}

// CPURates are one CPU's.
type CPURates struct {
	CPU int
	// Processed and Dropped are packets per second, Squeezed and NetRX events.
	Processed, Dropped, Squeezed, NetRX float64
	// Softirq is the share of its time in softirq, 0 to 1; 0 if it was seen for less than 50 ticks.
	Softirq float64
}

// minTicks are those from which a share means something: 50 make steps of 2 %, and are half a
// second.
const minTicks = 50

// Diff compares two samples of an interface.
func Diff(before, after Sample) Rates {
	r := Rates{
		Interface: after.Interface, Driver: after.Driver,
		Elapsed: after.At.Sub(before.At), Missing: after.Missing,
	}
	if r.Elapsed <= 0 {
		return r
	}
	anew := before.Index != after.Index
	r.Restarted = anew
	r.Link = r.rates(before.Link, after.Link, anew)
	r.Counters = r.rates(before.Counters, after.Counters, anew)
	r.classify()
	for _, id := range slices.Sorted(maps.Keys(after.CPUs)) {
		b, ok := before.CPUs[id]
		a := after.CPUs[id]
		if !ok || a.Total < b.Total || a.Softirq < b.Softirq { // it was offline, or the host booted
			continue
		}
		// The kernel's are 32 bits wide: the difference is right across a wrap.
		c := CPURates{
			CPU: id, Processed: r.per(uint64(a.Processed - b.Processed)), Dropped: r.per(uint64(a.Dropped - b.Dropped)),
			Squeezed: r.per(uint64(a.Squeezed - b.Squeezed)), NetRX: r.per(uint64(a.NetRX - b.NetRX)),
		}
		if ticks := a.Total - b.Total; ticks >= minTicks {
			c.Softirq = float64(a.Softirq-b.Softirq) / float64(ticks)
		}
		r.CPUs = append(r.CPUs, c)
	}
	return r
}

func (r *Rates) per(n uint64) float64 { return float64(n) / r.Elapsed.Seconds() }

// rates are those of counters in both samples.
func (r *Rates) rates(before, after map[string]uint64, anew bool) map[string]float64 {
	out := make(map[string]float64, len(after))
	for name, n := range after {
		b, ok := before[name]
		switch {
		case anew:
			b = 0
		case !ok: // a queue that was added: its past is not known
			b = n
		case n < b:
			r.Restarted, b = true, n
		}
		out[name] = r.per(n - b)
	}
	return out
}
