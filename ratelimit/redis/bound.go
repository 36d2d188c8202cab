package redis

// Bound is how many units of a policy all gateways together may let through beyond what it gives in some time.
type Bound struct {
	// Lease is how many were charged before that time and are spent in it, at most: a slice of each gateway. It is all
	// there is while Redis is there and nothing is charged late. 0 with ModeStrict.
	Lease uint64
	// Late is how many [Store.Charge] took of what no lease had, of which Redis has not heard at the end of that time: again a
	// slice of each gateway. 0 with ModeStrict.
	Late uint64
	// Failover is what is there again if all is forgotten that was charged: each time that another server takes the
	// primary's place, or Redis comes back.
	Failover uint64
	// Fallback is what the gateways' shares have at once: each time that Redis goes. A gateway that alone does not reach it
	// has the rate of its share besides, as long as that lasts. 0 without FallbackShare.
	Fallback uint64
	// Open says that there is no such number while Redis is gone, by FallbackOpen.
	Open bool
}

// Bound is that of a policy; zero if there is none of that name.
func (s *Store) Bound(name string) (b Bound) {
	l := s.limits[name]
	if l == nil {
		return Bound{}
	}
	p, gateways := s.shared[l], uint64(s.cfg.Gateways) //nolint:gosec // Validate bounds it
	b.Failover = l.Count()
	if p.mode == ModeLease {
		b.Lease, b.Late = gateways*p.slice, gateways*p.slice
	}
	switch p.whenGone {
	case FallbackOpen:
		b.Open = true
	case FallbackShare:
		b.Fallback = gateways * p.share.Count()
	}
	return b
}

// Overshoot is how many units of a policy all gateways together may let through beyond it each time that Redis
// goes and comes back, or another server takes its place: all parts of its [Bound]. bounded is false if there is no such
// number, as it is open meanwhile.
func (s *Store) Overshoot(name string) (units uint64, bounded bool) {
	b := s.Bound(name)
	if b.Open {
		return 0, false
	}
	return b.Lease + b.Late + b.Failover + b.Fallback, true
}
