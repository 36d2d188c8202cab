package redis

import (
	"time"

	"weir/ratelimit"
)

// lease is what this gateway has of a client's budget: units that Redis has charged and nobody has spent. It is a state
// machine, without clock, lock or I/O: who calls it holds the lock of its shard, and says what time it is. At any time
//
//	left + held + what a refill in flight wants <= policy.slice, and debt = 0 or left = 0
type lease struct {
	policy *policy
	key    string
	home   *shard
	place  int // in its order

	old, fresh part   // what is left, spent in this order
	held       uint64 // of requests that may give them back, see restore
	stale      part   // too old to be spent, and to be given back
	debt       uint64 // spent beyond what was left, which Redis is to be told

	slice   uint64 // how many are wanted: 0 if none ever were
	granted time.Duration
	used    time.Duration
	flight  *flight // the refill that was asked for; nil if none is
	waiting int     // requests that wait for one, and what they cost together
	wanted  uint64

	// What Redis said last: the client's state there, its clock then, and ours.
	state ratelimit.State
	now   uint64
	at    time.Duration
	rest  uint64        // units that others may have there
	full  time.Duration // when all are there again, if nothing else comes
	// So many or more are refused until then without asking.
	refused      uint64
	refusedUntil time.Duration
}

// part is units that were charged at one time, or those that were charged at that time or later.
type part struct {
	units uint64
	// at is when they were asked for: not later than they were charged.
	at time.Duration
	// window is the number of the one that they were charged in, with a sliding counter.
	window uint64
}

// with is p and others together, as old as the older one.
func (p part) with(o part) part {
	switch {
	case p.units == 0:
		return o
	case o.units == 0:
		return p
	}
	return part{p.units + o.units, min(p.at, o.at), min(p.window, o.window)}
}

// verdict is what a lease says of a request.
type verdict uint8

const (
	unknown verdict = iota // Redis has to be asked
	granted
	refused
)

func (l *lease) left() uint64 { return l.old.units + l.fresh.units }

// expire puts aside what is too old.
func (l *lease) expire(now time.Duration) {
	for _, p := range []*part{&l.old, &l.fresh} {
		if p.units > 0 && now-p.at >= l.policy.age {
			l.stale = l.stale.with(*p)
			*p = part{}
		}
	}
}

// take spends units, if there are so many.
func (l *lease) take(now time.Duration, cost uint64) (v verdict, spent part) {
	l.expire(now)
	l.used = now
	switch {
	case l.left() >= max(cost, 1): // who has units is not in debt, so may have what costs nothing
		return granted, l.spend(cost)
	case l.refuses(now, cost):
		return refused, part{}
	}
	return unknown, part{}
}

// refuses reports whether Redis would, of a request that costs more than what is left.
func (l *lease) refuses(now time.Duration, cost uint64) bool {
	left := l.left()
	return cost > left && cost-left >= l.refused && now < l.refusedUntil
}

// spend takes units that are there, and says how old they are.
func (l *lease) spend(units uint64) part {
	p := part{units, l.fresh.at, l.fresh.window}
	first := min(units, l.old.units)
	if first > 0 {
		p.at, p.window = l.old.at, l.old.window
	}
	l.old.units -= first
	l.fresh.units -= units - first
	return p
}

// restore gives back what was taken and is held.
func (l *lease) restore(now time.Duration, p part) {
	l.held -= p.units
	l.old = l.old.with(p)
	l.settle()
	l.expire(now)
}

// owe spends units whether they are there or not; false, with nothing changed, if more than a slice would be owed.
func (l *lease) owe(now time.Duration, cost uint64) bool {
	l.expire(now)
	l.used = now
	covered := min(cost, l.left())
	if l.debt+cost-covered > l.policy.slice {
		return false
	}
	l.spend(covered)
	l.debt += cost - covered
	return true
}

// settle pays what is owed of what is left.
func (l *lease) settle() {
	paid := min(l.debt, l.left())
	l.spend(paid)
	l.debt -= paid
}

// lowPart is of which part of a slice a refill is asked for in the background.
const lowPart = 4

// low reports whether to ask for a refill before there is need of one. A client that comes seldom has none waiting.
func (l *lease) low(now time.Duration) bool {
	if l.flight != nil {
		return false
	}
	return l.slice > 1 && l.left()*lowPart <= l.slice && now >= l.refusedUntil || l.debt*2 > l.policy.slice
}

// decision is what the client is told. What is left at Redis is as it said last, as others may have had since what has
// come back since.
func (l *lease) decision(now time.Duration, v verdict, cost uint64) ratelimit.Decision {
	left := l.left() + l.rest
	d := ratelimit.Decision{
		Allowed:   v == granted,
		Remaining: min(left-min(left, l.debt), l.policy.limit.Count()),
		Reset:     max(l.full-now, 0),
	}
	if v == refused {
		asked := l.policy.limit.Decide(&l.state, l.there(now), cost-min(cost, l.left()))
		d.RetryAfter = max(asked.RetryAfter, l.refusedUntil-now)
	}
	return d
}

// there is Redis's clock now, or a little before.
func (l *lease) there(now time.Duration) uint64 {
	return l.now + uint64(now-l.at)*ratelimit.TicksPerNano //nolint:gosec // if it is before, the sum is still right
}

// ask is what Redis is asked for a lease, in this order: see lease.lua. The zero value asks nothing.
type ask struct {
	back, from uint64 // units given back, and the number of the window they were charged in
	spent      uint64 // units that are charged whatever is left
	want, need uint64 // units, and how few of them will do
}

// choices is how many numbers of units it offers to take, choice is one of them, from 0: what is wanted, and then a
// half as often as that is more than what is needed.
func (a ask) choices() (n int) {
	if a.want == 0 {
		return 0
	}
	for n = 1; a.want>>(n-1) > a.need; n++ {
	}
	return n
}

func (a ask) choice(n int) uint64 { return max(a.want>>n, a.need) }

// ask is a refill for a request of that cost, 0 in the background. It is false if as many would be more than a slice.
// Else the flight begins: answered or failed is to be called.
func (l *lease) ask(now time.Duration, cost uint64) (a ask, ok bool) {
	l.expire(now)
	l.adapt(now, cost)
	left := l.left()
	a.want = max(l.slice, cost, l.wanted, left+1) - left
	a.want = min(a.want, l.policy.slice-min(l.policy.slice, left+l.held))
	a.need = max(cost-min(cost, left), 1)
	if l.now > 0 { // what must be there now, if nobody else has been: else it would take more than one to have it all
		there := l.policy.limit.Decide(&l.state, l.there(now), 0).Remaining
		a.want = min(a.want, max(there, a.need))
	}
	if a.want < a.need {
		return ask{}, false
	}
	l.tell(&a)
	l.flight = &flight{done: make(chan struct{})}
	return a, true
}

// tell has Redis told what it does not know yet.
func (l *lease) tell(a *ask) {
	a.back, a.from, a.spent = l.stale.units, l.stale.window, l.debt
	l.stale, l.debt = part{}, 0
}

// quickPart is of which part of its age a slice is used up quickly.
const quickPart = 4

// adapt has the next slice be what a client needs: one unit first, twice as much when the one before was used up quickly,
// half as much when it lasted long.
func (l *lease) adapt(now time.Duration, cost uint64) {
	lasted := now - l.granted
	switch {
	case l.slice == 0:
		l.slice = 1
	case lasted < l.policy.age/quickPart:
		l.slice = min(2*max(l.slice, cost), l.policy.slice)
	case lasted > l.policy.age:
		l.slice = max(l.slice/2, 1)
	}
}

// reply is Redis's to an ask.
type reply struct {
	units uint64 // charged, 0 if none
	state ratelimit.State
	now   uint64 // its clock, ticks
}

// answered takes the reply, at now, to what was asked at some time before.
func (l *lease) answered(now, asked time.Duration, a ask, r reply) {
	l.flight = nil
	limit := l.policy.limit
	l.state, l.now, l.at = r.state, r.now, now
	d := limit.Decide(&r.state, r.now, 0)
	l.rest, l.full = d.Remaining, now+d.Reset
	l.refused, l.refusedUntil = 0, 0
	switch {
	case r.units > 0:
		if r.units < a.want { // there is little: others want some of it
			l.slice = r.units
		}
		l.old = l.old.with(l.fresh)
		l.fresh = part{r.units, asked, l.policy.windowAt(r.now)}
		l.granted = now
		l.settle()
		if l.rest == 0 { // these were the last
			l.refuse(now, &r, 1)
		}
	case a.need > 0:
		l.slice = 1
		l.refuse(now, &r, a.need)
	}
}

// gatherPart is of which part of its age a refused client is refused again, so that half a slice gathers: else one whose
// quota is a thousand a second would have Redis asked a thousand times a second.
const gatherPart = 64

// refuse has so many be refused as long as they cannot be there by themselves; but others may give some back, so it is
// asked now and then.
func (l *lease) refuse(now time.Duration, r *reply, units uint64) {
	limit := l.policy.limit
	first := limit.Decide(&r.state, r.now, units).RetryAfter
	some := limit.Decide(&r.state, r.now, max(units, l.policy.slice/2)).RetryAfter
	l.refused, l.refusedUntil = units, now+min(max(first, min(some, l.policy.age/gatherPart)), l.policy.age)
}

// failed takes that there is no reply, so nobody knows whether it was done: what was to be charged then is not spent,
// and what was to be given back is not given back again. With sent false it was not.
func (l *lease) failed(a ask, sent bool) {
	l.flight = nil
	if !sent {
		l.debt += a.spent
		l.settle()
	}
}

// idle reports whether forgetting it loses nothing but how much its client needs.
func (l *lease) idle(now time.Duration) bool {
	return l.left()+l.held+l.stale.units+l.debt == 0 && l.flight == nil && l.waiting == 0 && now >= l.refusedUntil
}
