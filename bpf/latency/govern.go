package latency

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

// MaxSampleEvery is how few events a tracer follows at least: one in so many.
const MaxSampleEvery = 256

const (
	// governEvery is how often a tracer looks at what it takes. While its runs are not all timed it has
	// them timed for governWindow of each governPeriod: the switch is the host's, and not for each second.
	governEvery  = time.Second
	governWindow = 500 * time.Millisecond
	governPeriod = 5 * time.Second
	// governFirst is when it looks first.
	governFirst = 100 * time.Millisecond
	// clockPart is the part of a budget that the timing of runs may take before it is for windows alone.
	clockPart = 0.1
	// aim is the part of a budget above which a tracer follows fewer: what it takes is not the same until the next look.
	aim = 0.75
	// slack is the part of a budget below which a tracer follows more again: less than a half of aim, or
	// it would be over that then.
	slack = 0.25
)

// sampleEvery is in how many events one is to be followed, a power of two, after it was one in every and
// took share of a CPU.
func sampleEvery(every uint32, share, budget float64) uint32 {
	switch {
	case share > aim*budget:
		times := uint64(math.Ceil(min(share/(aim*budget), MaxSampleEvery)))
		return uint32(min(uint64(every)<<bits.Len64(times-1), MaxSampleEvery)) //nolint:gosec // bounded by the min
	case share < slack*budget:
		return max(every/2, 1)
	}
	return every
}

// timings is what the kernel's timing of runs would take for each tracer of this process if it were always on, as a
// share of a CPU. One that has it on has it on for all.
var timings = shares{of: map[*Tracer]float64{}} //nolint:gochecknoglobals // the switch is one for the host

type shares struct {
	mu sync.Mutex
	of map[*Tracer]float64
}

// with notes a tracer's, and adds up all.
func (s *shares) with(t *Tracer, share float64) (all float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[t] = share
	for _, each := range s.of {
		all += each
	}
	return all
}

func (s *shares) without(t *Tracer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, t)
}

// govern keeps a tracer in its budget until it is closed.
func (t *Tracer) govern(budget float64) {
	defer close(t.governed)
	timer := time.NewTimer(governFirst)
	defer timer.Stop()
	defer timings.without(t)
	for {
		select {
		case <-t.ended:
			return
		case <-timer.C:
			t.mu.Lock()
			var next time.Duration
			next, t.failed = t.step(time.Now(), budget) // Cost and Snapshot say what is wrong
			t.mu.Unlock()
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
		return governEvery, err
	}
	rate := t.meter.since()
	timing := rate.runs * float64(t.clock.Added)
	isTimed := timings.with(t, timing) <= clockPart*budget // always
	if !isTimed {
		timing *= float64(governWindow) / float64(governPeriod)
	}
	if t.about.Samples {
		if every := sampleEvery(t.every, rate.ns+timing, budget); every != t.every {
			if err := t.coll.Variables[varSampleEvery].Set(every); err != nil {
				return governEvery, err
			}
			t.every = every
		}
	}
	if !isTimed {
		err := t.meter.off(now)
		return now.Truncate(governPeriod).Add(governPeriod).Sub(now), err // when all of them are on
	}
	t.meter.mark(now)
	return governEvery, nil
}
