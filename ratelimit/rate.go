package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Errors of this package, to be tested for with [errors.Is].
var (
	// ErrBadRate is wrapped by every error about the text of a rate.
	ErrBadRate = errors.New("bad rate")
	// ErrOutOfRange says that a rate or burst is beyond what the arithmetic covers.
	ErrOutOfRange = errors.New("out of range")
)

const (
	// TicksPerNano is the resolution of a Plan: 1/16 ns.
	TicksPerNano = 16
	// maxAhead bounds interval * burst, so that an arrival time never overflows: the clock
	// itself reaches 2^64 ticks after 36 years.
	maxAhead = uint64(365*24) * uint64(time.Hour) * TicksPerNano
	// minInterval is 10 million a second; faster than that the rounding to ticks would show.
	minInterval = 100 * TicksPerNano
)

// Rate is so many per time. The zero value is no rate: [Compile] refuses it.
type Rate struct {
	// Count is 1 or more; Count over Per is at most 10 million a second.
	Count uint64
	Per   time.Duration
}

var rateUnits = map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// ParseRate reads "5000/s", "100/min", "1/10s", "10/2h": a count and a time, in s, min, h or d.
func ParseRate(text string) (Rate, error) {
	bad := func() (Rate, error) {
		return Rate{}, fmt.Errorf("%w %q: want a count per s, min, h or d, such as 5000/s, 100/min or 1/10s", ErrBadRate, text)
	}
	count, per, ok := strings.Cut(text, "/")
	if !ok {
		return bad()
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(count, "_", ""), 10, 64)
	if err != nil || n == 0 {
		return bad()
	}
	digits := strings.TrimRight(per, "abcdefghijklmnopqrstuvwxyz")
	unit, ok := rateUnits[per[len(digits):]]
	if !ok {
		return bad()
	}
	times := uint64(1)
	if digits != "" {
		if times, err = strconv.ParseUint(digits, 10, 32); err != nil || times == 0 {
			return bad()
		}
	}
	if times > uint64(math.MaxInt64/int64(unit)) { //nolint:gosec // both are positive
		return bad()
	}
	return Rate{Count: n, Per: time.Duration(times) * unit}, nil //nolint:gosec // checked above
}

// String is the rate as ParseRate reads it.
func (r Rate) String() string {
	for _, u := range []string{"d", "h", "min", "s"} {
		unit := rateUnits[u]
		if r.Per%unit != 0 {
			continue
		}
		if n := r.Per / unit; n != 1 {
			return fmt.Sprintf("%d/%d%s", r.Count, n, u)
		}
		return fmt.Sprintf("%d/%s", r.Count, u)
	}
	return fmt.Sprintf("%d/%v", r.Count, r.Per)
}

// Plan is a quota in integers. Interval is the ticks between two at the rate, rounded up, so that
// a rate is never exceeded and missed by 0.07 % at most; Limit is how many ticks one may be ahead
// of the clock: burst intervals.
type Plan struct{ Interval, Limit uint64 }

// Compile is the Plan of a rate with so many at once. The error wraps [ErrOutOfRange].
func Compile(r Rate, burst uint64) (Plan, error) {
	if r.Count == 0 || r.Per <= 0 || burst == 0 {
		return Plan{}, fmt.Errorf("rate %v, burst %d: %w: want both above 0", r, burst, ErrOutOfRange)
	}
	hi, lo := bits.Mul64(uint64(r.Per), TicksPerNano)
	if hi != 0 {
		return Plan{}, fmt.Errorf("rate %v: %w: the time is too long", r, ErrOutOfRange)
	}
	interval := lo / r.Count
	if lo%r.Count != 0 {
		interval++
	}
	if lo/r.Count < minInterval {
		return Plan{}, fmt.Errorf("rate %v: %w: at most 10000000/s", r, ErrOutOfRange)
	}
	hi, ahead := bits.Mul64(interval, burst)
	if hi != 0 || ahead > maxAhead {
		return Plan{}, fmt.Errorf("rate %v, burst %d: %w: the burst is more than a year's worth: lower it", r, burst, ErrOutOfRange)
	}
	return Plan{Interval: interval, Limit: ahead}, nil
}

// PerSecond is how many a rate gives in a second, rounded up: the burst of who names none.
func PerSecond(r Rate) uint64 {
	if r.Per <= 0 {
		return 1
	}
	hi, lo := bits.Mul64(r.Count, uint64(time.Second))
	if hi >= uint64(r.Per) {
		return math.MaxUint64
	}
	n, rest := bits.Div64(hi, lo, uint64(r.Per))
	if rest != 0 {
		n++
	}
	return max(n, 1)
}
