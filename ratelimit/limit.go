package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Algorithm is how a [Limit] counts.
type Algorithm uint8

// The algorithms.
const (
	// AlgorithmGCRA lets through a burst, then at the rate: see [GCRA].
	AlgorithmGCRA Algorithm = iota
	// AlgorithmCounter lets through so many in any window, as far as two counts can say: those of this
	// window, and of the one before as if they had come evenly. The sliding window counter (Cloudflare, "How
	// we built rate limiting capable of scaling to millions of domains", 2017).
	AlgorithmCounter
	// AlgorithmLog lets through so many in any window, exactly: it keeps the time of each. At most
	// [MaxLogCount], of requests alone.
	AlgorithmLog
	algorithms
)

func (a Algorithm) String() string { return [...]string{"gcra", "sliding-counter", "sliding-log"}[a] }

// ParseAlgorithm reads what [Algorithm.String] gives; the empty text is AlgorithmGCRA.
func ParseAlgorithm(text string) (Algorithm, error) {
	for a := range algorithms {
		if text == a.String() || text == "" {
			return a, nil
		}
	}
	return 0, fmt.Errorf("%w %q: want gcra, sliding-counter or sliding-log", ErrBadAlgorithm, text)
}

// Unit is what a [Limit] counts: the quota units of draft-ietf-httpapi-ratelimit-headers-11.
type Unit uint8

// The units.
const (
	UnitRequests Unit = iota
	// UnitContentBytes are the bytes of bodies.
	UnitContentBytes
	// UnitConcurrentRequests are those that are being served. They have no rate, and are given back
	// when they end.
	UnitConcurrentRequests
)

func (u Unit) String() string {
	return [...]string{"requests", "content-bytes", "concurrent-requests"}[u]
}

// Errors of this package's limits, to be tested for with [errors.Is].
var (
	ErrBadAlgorithm = errors.New("unknown algorithm")
	ErrBadQuota     = errors.New("bad quota")
)

// MaxLogCount bounds what AlgorithmLog keeps for a client: 8 bytes a request.
const MaxLogCount = 1024

// Never is a wait that has no end: what was asked is more than the quota ever allows.
const Never time.Duration = math.MaxInt64

// Quota is what an operator writes for one policy. The zero value is none: [Quota.Compile] refuses it.
type Quota struct {
	// Name is the policy's, as clients are told.
	Name      string
	Algorithm Algorithm
	Unit      Unit
	// Rate is of requests, Bytes of content-bytes. Both are zero for concurrent requests.
	Rate  Rate
	Bytes ByteRate
	// Burst is how many at once with AlgorithmGCRA, or how many concurrent requests. Of the others it is
	// zero: they let through what the rate's count says at once. Default: the rate's count.
	Burst uint64
}

// Limit is a Quota in integers. It does not change, and may be used from any goroutine.
type Limit struct {
	name      string
	algorithm Algorithm
	unit      Unit
	plan      Plan     // GCRA of requests; Limit of bytes too
	bytes     BytePlan // GCRA of bytes
	count     uint64   // in any window, or at once
	window    uint64   // ticks
}

// Compile is the Limit. The error wraps [ErrBadQuota], and says all that is wrong.
func (q Quota) Compile() (*Limit, error) {
	l := &Limit{name: q.Name, algorithm: q.Algorithm, unit: q.Unit}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if q.Name == "" {
		bad("it has no name")
	}
	if q.Unit != UnitRequests && q.Rate != (Rate{}) {
		bad("a rate of requests does not go with %s", q.Unit)
	}
	if q.Unit != UnitContentBytes && q.Bytes != (ByteRate{}) {
		bad("a rate of bytes does not go with %s", q.Unit)
	}
	if q.Algorithm != AlgorithmGCRA && (q.Burst != 0 || q.Unit == UnitConcurrentRequests) {
		bad("%s has no burst of its own, and does not count concurrent requests: use gcra", q.Algorithm)
	}
	if len(errs) == 0 {
		if err := l.compile(q); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("quota %q: %w: %w", q.Name, ErrBadQuota, errors.Join(errs...))
	}
	return l, nil
}

func (l *Limit) compile(q Quota) (err error) {
	count, per := q.Rate.Count, q.Rate.Per
	if q.Unit == UnitContentBytes {
		count, per = q.Bytes.Bytes, q.Bytes.Per
	}
	l.count = count
	if q.Burst != 0 {
		l.count = q.Burst
	}
	switch {
	case q.Unit == UnitConcurrentRequests:
		if q.Burst == 0 || q.Burst > math.MaxUint32 {
			return fmt.Errorf("%d at once: want 1 to %d", q.Burst, uint32(math.MaxUint32))
		}
		return nil
	case q.Algorithm != AlgorithmGCRA:
		return l.compileWindow(count, per)
	case q.Unit == UnitContentBytes:
		l.bytes, err = CompileBytes(q.Bytes, l.count)
		l.plan.Limit = l.bytes.Limit
	default:
		l.plan, err = Compile(q.Rate, l.count)
	}
	l.window = l.plan.Limit
	return err
}

// compileWindow checks what [Limit.counter] multiplies.
func (l *Limit) compileWindow(count uint64, per time.Duration) error {
	hi, ticks := bits.Mul64(uint64(max(per, 0)), TicksPerNano)
	switch {
	case count == 0 || per <= 0:
		return fmt.Errorf("%d per %v: %w: want both above 0", count, per, ErrOutOfRange)
	case hi != 0 || ticks > maxAhead:
		return fmt.Errorf("a window of %v: %w: want a year or less", per, ErrOutOfRange)
	case l.algorithm == AlgorithmLog && (count > MaxLogCount || l.unit != UnitRequests):
		return fmt.Errorf("%d %s in a sliding log: %w: want %d requests or fewer, or a sliding counter", count, l.unit, ErrOutOfRange, MaxLogCount)
	case count > math.MaxUint32 && l.unit == UnitRequests, count > maxUnits:
		return fmt.Errorf("%d %s in a window: %w", count, l.unit, ErrOutOfRange)
	}
	l.window = ticks
	return nil
}

// OneWord reports whether of a [State] only Until is used.
func (l *Limit) OneWord() bool {
	return l.unit != UnitConcurrentRequests && l.algorithm == AlgorithmGCRA
}

// Ticks are what so many units cost, and how many one may be ahead of the clock, with AlgorithmGCRA: for a store
// whose arithmetic is elsewhere.
func (l *Limit) Ticks(units uint64) (cost, limit uint64) { return l.ticks(units), l.plan.Limit }

// Name is the policy's.
func (l *Limit) Name() string { return l.name }

// Unit is what it counts.
func (l *Limit) Unit() Unit { return l.unit }

// Algorithm is how.
func (l *Limit) Algorithm() Algorithm { return l.algorithm }

// Count is how many units in a [Limit.Window], or at once: q of RateLimit-Policy.
func (l *Limit) Count() uint64 { return l.count }

// Window is the time in which so many are given: w of RateLimit-Policy. With AlgorithmGCRA it is that in which
// an empty quota is full again. 0 for concurrent requests.
func (l *Limit) Window() time.Duration { return duration(l.window) }

// Check is one policy's part in a request.
type Check struct {
	Limit *Limit
	// Key is the client, as the policy tells them apart. It is lent to a store until its call returns.
	Key []byte
	// Cost is how many of the limit's units it takes.
	Cost uint64
	// Shadow has the policy only say what it would: it refuses nothing.
	Shadow bool
	// Mark is set by the store that charges it, which needs it when it is given back.
	Mark uint64
}

// Decision is what a [Limit] says of a request.
type Decision struct {
	Allowed bool
	// Remaining is how many units are left now, with those of the request taken off if it is allowed.
	Remaining uint64
	// Reset is after how long all of them are there again, if nothing else comes: 0 if they are.
	Reset time.Duration
	// RetryAfter is after how long the same would be allowed, if nothing else comes: 0 if it is, [Never] if
	// it asks for more than there can be, or, of concurrent requests, when one ends, which nobody knows: 0.
	RetryAfter time.Duration
}

// State is what is kept of a client for a [Limit]: three words, whose zero value is a client never seen.
// AlgorithmLog has a [Log] instead.
type State struct {
	// Until is from when on the client owes nothing, ticks: with AlgorithmGCRA its theoretical arrival time;
	// of concurrent requests, while there are any, the end of time.
	Until uint64
	// Units are those of the last window that has any, Before those of the window before that, with
	// AlgorithmCounter; or how many concurrent requests there are.
	Units, Before uint64
}

// Owes reports whether st says more at now than the zero State: forgetting it would lose something. It is so
// for any limit.
func (st *State) Owes(now uint64) bool { return st.Until > now }

// Decide is what l says of a request of some cost, units, at now, ticks, which changes nothing. It is not for
// AlgorithmLog.
func (l *Limit) Decide(st *State, now, cost uint64) Decision {
	switch {
	case l.unit == UnitConcurrentRequests:
		return l.concurrent(st, cost)
	case l.algorithm == AlgorithmCounter:
		return l.counter(st, now, cost)
	}
	ticks := l.ticks(cost)
	tat := l.arrival(st, now)
	room := now + l.plan.Limit - min(tat, now+l.plan.Limit)
	switch {
	case ticks > l.plan.Limit:
		return Decision{Remaining: l.units(room), Reset: duration(tat - now), RetryAfter: Never}
	case tat+ticks > now+l.plan.Limit: // also one that costs nothing, of a client in debt
		return Decision{Remaining: l.units(room), Reset: duration(tat - now), RetryAfter: duration(tat + ticks - now - l.plan.Limit)}
	}
	return Decision{Allowed: true, Remaining: l.units(room - ticks), Reset: duration(tat + ticks - now)}
}

// Charge takes the cost of a request at now, whatever is left: what was decided before, or is known only once
// it was served. It is not for AlgorithmLog.
func (l *Limit) Charge(st *State, now, cost uint64) {
	switch {
	case l.unit == UnitConcurrentRequests:
		st.Units += cost
		st.settle()
	case l.algorithm == AlgorithmCounter:
		l.addToWindow(st, now, cost)
	default:
		st.Until = Clamp(l.arrival(st, now)+l.ticks(cost), now, maxDebt*l.plan.Limit)
	}
}

// maxDebt is how many limits a client may be ahead of the clock at most: by what was charged after it was
// served, or under a stricter quota of the same name. So it comes back in a time that can be told.
const maxDebt = 2

// arrival is the theoretical arrival time of AlgorithmGCRA, not before now.
func (l *Limit) arrival(st *State, now uint64) uint64 {
	return Clamp(max(st.Until, now), now, maxDebt*l.plan.Limit)
}

// Release gives back concurrent requests.
func (l *Limit) Release(st *State, cost uint64) {
	st.Units -= min(cost, st.Units)
	st.settle()
}

// settle sets until when concurrent requests are owed.
func (st *State) settle() {
	st.Until = 0
	if st.Units > 0 {
		st.Until = math.MaxUint64
	}
}

func (l *Limit) concurrent(st *State, cost uint64) Decision {
	left := l.count - min(st.Units, l.count)
	switch {
	case cost > l.count:
		return Decision{Remaining: left, RetryAfter: Never}
	case cost > left:
		return Decision{Remaining: left}
	}
	return Decision{Allowed: true, Remaining: left - cost}
}

// ticks is what so many units cost with AlgorithmGCRA, at most maxAhead.
func (l *Limit) ticks(units uint64) uint64 {
	if l.unit != UnitContentBytes {
		hi, lo := bits.Mul64(units, l.plan.Interval)
		if hi != 0 {
			return maxAhead
		}
		return min(lo, maxAhead)
	}
	whole, rest := units/costBytes, l.bytes.Cost(units%costBytes)
	hi, lo := bits.Mul64(whole, l.bytes.Cost(costBytes))
	if hi != 0 {
		return maxAhead
	}
	return min(lo, maxAhead) + rest
}

// costBytes is what [BytePlan.Cost] takes at most.
const costBytes = 1 << 20

// units is how many units so many ticks are worth, rounded down.
func (l *Limit) units(ticks uint64) uint64 {
	if l.unit != UnitContentBytes {
		return ticks / l.plan.Interval
	}
	hi, lo := ticks>>(64-l.bytes.Shift), ticks<<l.bytes.Shift
	if hi >= l.bytes.Mult { // the fraction of a byte's ticks is below 1: bounded by Limit's bytes
		return l.count
	}
	n, _ := bits.Div64(hi, lo, l.bytes.Mult)
	return min(n, l.count)
}

// duration is so many ticks, rounded up to a nanosecond.
func duration(ticks uint64) time.Duration {
	return time.Duration((ticks + TicksPerNano - 1) / TicksPerNano) //nolint:gosec // ticks are years at most
}
