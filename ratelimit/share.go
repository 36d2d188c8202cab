package ratelimit

import "time"

// Share is a part of q for one of n that have no other way to share it: together they let through no more than q
// says, but for what is rounded up to one. n is 1 or more.
func (q Quota) Share(n int) Quota {
	parts := uint64(max(n, 1))                    //nolint:gosec // positive
	part := func(count uint64) (uint64, uint64) { // and by how much the time is longer, if that is less than one
		if count >= parts {
			return count / parts, 1
		}
		return 1, (parts + count - 1) / max(count, 1)
	}
	longer := func(count *uint64, per *time.Duration) {
		var times uint64
		*count, times = part(*count)
		*per *= time.Duration(times) //nolint:gosec // n is small
	}
	switch {
	case q.Unit == UnitConcurrentRequests:
		q.Burst, _ = part(q.Burst)
		return q
	case q.Unit == UnitContentBytes:
		if q.Algorithm == AlgorithmGCRA {
			if q.Burst == 0 {
				q.Burst = q.Bytes.Bytes
			}
			q.Burst, _ = part(q.Burst)
			q.Burst = max(q.Burst, MinBurstBytes)
		}
		longer(&q.Bytes.Bytes, &q.Bytes.Per)
		return q
	case q.Algorithm == AlgorithmGCRA:
		if q.Burst == 0 {
			q.Burst = q.Rate.Count
		}
		q.Burst, _ = part(q.Burst)
	}
	longer(&q.Rate.Count, &q.Rate.Per)
	return q
}
