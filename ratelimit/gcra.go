package ratelimit

// GCRA decides about one request at now, ticks, given the theoretical arrival time so far, 0
// for a client never seen. It returns the new one, which the caller stores; ok is false if
// the request is over the quota, and the old one stands.
func GCRA(p Plan, tat, now uint64) (next uint64, ok bool) {
	return Charge(tat, now, p.Interval, p.Limit)
}

// Charge is [GCRA] for a request of any cost, ticks: a number of intervals, or
// [BytePlan.Cost]. It mirrors gcra in bpf/include/bucket.h, where 0 is no.
func Charge(tat, now, cost, limit uint64) (next uint64, ok bool) {
	tat = max(tat, now)
	if tat+cost > now+limit {
		return 0, false
	}
	return tat + cost, true
}

// Clamp is the arrival time of a client whose quota has become one of that limit: no further
// ahead of now than it can bring it, so that nobody is locked out for what a stricter quota
// said. It mirrors gcra_clamp in bpf/include/bucket.h.
func Clamp(tat, now, limit uint64) uint64 { return min(tat, now+limit) }

// Cost is the ticks that so many bytes cost, at most 1 MiB of them, rounded up: the rate is never
// exceeded. It mirrors byte_cost in bpf/include/bucket.h.
func (p BytePlan) Cost(bytes uint64) uint64 {
	return (bytes*p.Mult + (1<<p.Shift - 1)) >> p.Shift
}

// Wait is how long after now, in ticks, [GCRA] will let one through: 0 if it does already. It is
// what a refused client is told to wait.
func Wait(p Plan, tat, now uint64) uint64 {
	tat = max(tat, now)
	if ready := tat + p.Interval; ready > now+p.Limit {
		return ready - now - p.Limit
	}
	return 0
}
