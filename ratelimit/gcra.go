package ratelimit

// GCRA decides about one request at now, ticks, given the theoretical arrival time so far, 0
// for a client never seen. It returns the new one, which the caller stores; ok is false if
// the request is over the quota, and the old one stands. It mirrors gcra in
// bpf/include/bucket.h, where 0 is no.
func GCRA(p Plan, tat, now uint64) (next uint64, ok bool) {
	tat = max(tat, now)
	if tat > now+p.Tolerance {
		return 0, false
	}
	return tat + p.Interval, true
}

// Clamp is the arrival time of a client whose quota has become p: no further ahead of now than p
// can bring it, so that nobody is locked out for what a stricter quota said. It mirrors
// gcra_clamp in bpf/include/bucket.h.
func Clamp(p Plan, tat, now uint64) uint64 {
	return min(tat, now+p.Tolerance+p.Interval)
}
