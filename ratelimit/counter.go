package ratelimit

import (
	"math/bits"
	"time"
)

// maxUnits bounds what a window counts: what Lua's numbers can multiply in two halves, see
// ratelimit/redis/take.lua.
const maxUnits = 1<<50 - 1

// windows is the state as of the window of now: its units and those of the one before, and how much of it
// is gone. Of a clock that went back, or a window that was longer, the later one is this.
func (l *Limit) windows(st *State, now uint64) (units, before, gone uint64) {
	at := now / l.window
	last := st.Until / l.window // past the window that has units by two, or by one if only the one before has
	if last > 0 {
		last--
		if st.Units > 0 && last > 0 {
			last--
		}
	}
	switch {
	case last >= at:
		units, before = st.Units, st.Before
	case last+1 == at:
		before = st.Units
	}
	return units, before, now % l.window
}

// addToWindow is Charge for AlgorithmCounter.
func (l *Limit) addToWindow(st *State, now, cost uint64) {
	units, before, gone := l.windows(st, now)
	*st = State{Units: min(units+min(cost, maxUnits), maxUnits), Before: before}
	switch begin := now - gone; {
	case st.Units > 0:
		st.Until = begin + 2*l.window
	case st.Before > 0:
		st.Until = begin + l.window
	}
}

// counter is Decide for AlgorithmCounter. With so many units in the window before, and a part of this one
// gone, what counts of them is the other part, rounded up: the quota is never exceeded by that.
func (l *Limit) counter(st *State, now, cost uint64) Decision {
	units, before, gone := l.windows(st, now)
	used := units + l.weigh(before, gone)
	left := l.count - min(used, l.count)
	free := func(units, cost uint64) time.Duration { return duration(l.whenFree(units, before, gone, cost)) }
	d := Decision{Remaining: left}
	switch {
	case cost > l.count:
		d.RetryAfter = Never
	case used+cost > l.count:
		d.RetryAfter = free(units, cost)
	default:
		d.Allowed, d.Remaining = true, left-cost
		units += cost
	}
	d.Reset = free(units, l.count)
	return d
}

// weigh is what counts of n units of the window before when some of this one is gone, rounded up.
func (l *Limit) weigh(n, gone uint64) uint64 {
	hi, lo := bits.Mul64(n, l.window-gone)
	q, rest := bits.Div64(hi, lo, l.window) // hi < window, as n is below 2^50 and the window a year at most
	if rest != 0 {
		q++
	}
	return q
}

// whenFree is how many ticks from now there is room for so many more, if nothing else comes.
func (l *Limit) whenFree(units, before, gone, more uint64) uint64 {
	room := l.count - more // what may be used then
	if units <= room {
		at := l.whenBelow(before, room-units)
		return at - min(at, gone)
	}
	// In the next window this one's units are those before; and in the one after they are gone.
	return l.window - gone + l.whenBelow(units, room)
}

// whenBelow is how much of a window must be gone until no more than room of n units of the one before count.
func (l *Limit) whenBelow(n, room uint64) uint64 {
	if n <= room {
		return 0
	}
	// weigh(n, gone) <= room  <=>  n*(window-gone) <= room*window  <=>  gone >= window - floor(room*window/n)
	hi, lo := bits.Mul64(room, l.window)
	q, _ := bits.Div64(hi, lo, n) // hi < n, as room < n and the window is below 2^64
	return l.window - q
}
