package latency

import (
	"math"
	"time"
)

// Buckets is how many a histogram has: bucket i is of durations above Bound(i-1) and up to Bound(i).
const Buckets = 39

// secondBucket is the bucket that ends with one second.
const secondBucket = 30

// Bound is the most that bucket i counts, 2^(i-30) s, in seconds. The bounds are those of a native
// histogram of Prometheus, of schema 0. Longer ones than the last, 256 s, are in it all the same.
func Bound(i int) float64 { return math.Ldexp(1, i-secondBucket) }

// BoundOf is [Bound] as a duration, rounded down to the nanosecond.
func BoundOf(i int) time.Duration { return time.Duration(Bound(i) * float64(time.Second)) }

// Histogram counts durations by powers of two of a second.
type Histogram struct {
	Name string
	// Count is of all buckets. Sum is what all durations add up to.
	Count   uint64
	Sum     time.Duration
	Buckets [Buckets]uint64
}

// Observe counts a duration, as the kernel's programs do.
func (h *Histogram) Observe(d time.Duration) {
	seconds := max(d, 0).Seconds()
	fraction, exponent := math.Frexp(seconds)
	if fraction == 0.5 { // a power of two is the last of its bucket
		exponent--
	}
	bucket := 0
	if seconds > 0 {
		bucket = min(max(exponent+secondBucket, 0), Buckets-1)
	}
	h.Buckets[bucket]++
	h.Count++
	h.Sum += max(d, 0)
}

// Quantile is the bucket in which the fraction q of all durations ends, from 0 to 1: their most is its
// [Bound], and at least half of it. It is -1 if there are none.
func (h *Histogram) Quantile(q float64) int {
	if h.Count == 0 {
		return -1
	}
	rank := max(uint64(math.Ceil(q*float64(h.Count))), 1)
	seen := uint64(0)
	for i, n := range h.Buckets {
		if seen += n; seen >= rank {
			return i
		}
	}
	return Buckets - 1
}

// Sub takes away what was counted before.
func (h *Histogram) Sub(before *Histogram) {
	h.Count -= before.Count
	h.Sum -= before.Sum
	for i := range h.Buckets {
		h.Buckets[i] -= before.Buckets[i]
	}
}
