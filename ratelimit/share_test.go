package ratelimit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSharesAreNoMoreThanTheWhole: in any time, but for what is rounded up to one of each part.
func TestSharesAreNoMoreThanTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(t, "parts")
		count, per := rapid.Uint64Range(1, 10_000).Draw(t, "count"), time.Duration(rapid.IntRange(1, 3600).Draw(t, "seconds"))*time.Second
		q := Quota{Name: "q", Algorithm: rapid.SampledFrom([]Algorithm{AlgorithmGCRA, AlgorithmCounter}).Draw(t, "algorithm")}
		if rapid.Bool().Draw(t, "bytes") {
			q.Unit, q.Bytes = UnitContentBytes, ByteRate{count + MinBurstBytes, per}
		} else {
			q.Rate = Rate{count, per}
		}
		whole, part := compiled(t, q), compiled(t, q.Share(n))
		if part.Count()*uint64(n) > max(whole.Count(), uint64(n)*max(1, leastOf(q))) {
			t.Fatalf("%d at once in each of %d parts of %d", part.Count(), n, whole.Count())
		}
		ofParts := float64(q.Share(n).Rate.Count+q.Share(n).Bytes.Bytes) / (q.Share(n).Rate.Per + q.Share(n).Bytes.Per).Seconds() * float64(n)
		if ofWhole := float64(q.Rate.Count+q.Bytes.Bytes) / per.Seconds(); ofParts > ofWhole*1.000001 {
			t.Fatalf("%v a second of all %d parts, %v of the whole", ofParts, n, ofWhole)
		}
	})
	q := Quota{Name: "q", Unit: UnitConcurrentRequests, Burst: 10}
	if got := q.Share(3).Burst; got != 3 {
		t.Errorf("a third of 10 at once is %d", got)
	}
}

// leastOf is what a part has at least at once.
func leastOf(q Quota) uint64 {
	if q.Unit == UnitContentBytes && q.Algorithm == AlgorithmGCRA {
		return MinBurstBytes
	}
	return 1
}
