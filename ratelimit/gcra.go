package ratelimit

// GCRA decides about one request at now, ticks, given the theoretical arrival time so far, 0
// for a client never seen. It returns the new one, which the caller stores; ok is false if
// the request is over the quota, and the old one stands. It mirrors gcra in
// bpf/include/bucket.h.
func GCRA(p Plan, tat, now uint64) (next uint64, ok bool) {
	tat = max(tat, now)
	tat = min(tat, now+p.Tolerance+p.Interval) // the quota was changed: no further ahead than it allows
	if tat > now+p.Tolerance {
		return 0, false
	}
	return tat + p.Interval, true
}
