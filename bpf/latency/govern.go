package latency

import (
	"math"
	"math/bits"
	"time"
)

// MaxSampleEvery is how few events a tracer follows at least: one in so many.
const MaxSampleEvery = 256

const (
	// governEvery is how often a tracer looks at what it takes. While its runs are not all timed it has
	// them timed for governWindow of that.
	governEvery  = time.Second
	governWindow = 100 * time.Millisecond
	// clockPart is the part of a budget that the timing of runs may take before it is for windows alone.
	clockPart = 0.1
	// slack is the part of a budget below which a tracer follows more again: less than a half, or
	// it would be over it then.
	slack = 0.25
)

// sampleEvery is in how many events one is to be followed, a power of two, after it was one in every and
// took share of a CPU.
func sampleEvery(every uint32, share, budget float64) uint32 {
	switch {
	case share > budget:
		times := uint64(math.Ceil(min(share/budget, MaxSampleEvery)))
		return uint32(min(uint64(every)<<bits.Len64(times-1), MaxSampleEvery)) //nolint:gosec // bounded by the min
	case share < slack*budget:
		return max(every/2, 1)
	}
	return every
}

// govern keeps a tracer in its budget until it is closed.
func (t *Tracer) govern(budget float64) {
	defer close(t.governed)
	timer := time.NewTimer(governWindow)
	defer timer.Stop()
	for {
		select {
		case <-t.ended:
			return
		case now := <-timer.C:
			t.mu.Lock()
			next, err := t.step(now, budget)
			if err != nil { // Cost and Snapshot say it
				t.failed = err
			}
			t.mu.Unlock()
			if err != nil {
				return
			}
			timer.Reset(next)
		}
	}
}

// step looks at what the tracer takes, and says when to look again. t.mu is held.
func (t *Tracer) step(now time.Time, budget float64) (next time.Duration, err error) {
	if t.closed {
		return governEvery, nil
	}
	if t.meter.stats == nil {
		return governWindow, t.meter.on(now)
	}
	if err := t.meter.settle(now); err != nil {
		return 0, err
	}
	rate := t.meter.since()
	timing := rate.runs * float64(t.clock.Added)
	isTimed := timing <= clockPart*budget // always
	if !isTimed {
		timing *= float64(governWindow) / float64(governEvery)
	}
	if t.about.Samples {
		if every := sampleEvery(t.every, rate.ns+timing, budget); every != t.every {
			if err := t.coll.Variables[varSampleEvery].Set(every); err != nil {
				return 0, err
			}
			t.every = every
		}
	}
	if !isTimed {
		return governEvery - governWindow, t.meter.off(now)
	}
	t.meter.mark(now)
	return governEvery, nil
}
