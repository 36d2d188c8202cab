package redis

import "sync/atomic"

// Stats is what a [Store] has counted since it was made, but for Connected, Open, Leases and Outstanding, which are as of now.
type Stats struct {
	// Connected says that there is a connection, and that Redis answered what it was asked last.
	Connected bool
	// Open says that requests do not wait for Redis, but for one each Config.Retry.
	Open bool
	// Asked is how often Redis was: round trips.
	Asked uint64
	// Failed is how often it did not decide: for want of a connection, of time, by a connection that ended, by what it answered.
	Failed [failures]uint64
	// Gone is how many decisions were made without Redis.
	Gone uint64
	// Leases is how many clients have one, Outstanding how many units those hold that nobody has spent.
	Leases, Outstanding uint64
	// Refills is how many were asked for, Leased how many units came of them.
	Refills, Leased uint64
	// GivenBack is how many units were given back, Forfeited how many could not be.
	GivenBack, Forfeited uint64
	// Lost is how many units were charged late of which Redis may not have heard.
	Lost uint64
	// Full is how many requests were decided strictly as there was no room for a lease, Crowded as too many waited for
	// a refill or too many refills were in flight.
	Full, Crowded uint64
	// Cached is how many requests were refused without asking, as Redis had refused the like.
	Cached uint64
}

// counts are those of a Store that no shard counts.
type counts struct {
	failed                                                                  [failures]atomic.Uint64
	asked, gone, refills, leased, givenBack, forfeited, lost, full, crowded atomic.Uint64
}

// Stats is what was counted so far. It looks at every lease.
func (s *Store) Stats() Stats {
	c := &s.counts
	st := Stats{
		Asked: c.asked.Load(), Gone: c.gone.Load(), Refills: c.refills.Load(), Leased: c.leased.Load(), GivenBack: c.givenBack.Load(),
		Forfeited: c.forfeited.Load(), Lost: c.lost.Load(), Full: c.full.Load(), Crowded: c.crowded.Load(),
		Connected: s.link.made() && !s.breaker.failing(), Open: s.breaker.open(),
	}
	for i := range st.Failed {
		st.Failed[i] = c.failed[i].Load()
	}
	if s.leases == nil {
		return st
	}
	for i := range s.leases.shards {
		sh := &s.leases.shards[i]
		sh.mu.Lock()
		st.Cached += sh.cached
		st.Leases += uint64(len(sh.order))
		for _, l := range sh.order {
			st.Outstanding += l.left() + l.held
		}
		sh.mu.Unlock()
	}
	return st
}

// add sums up what was counted, and what leases there are.
func (s *Stats) add(t *Stats) {
	for i, n := range t.Failed {
		s.Failed[i] += n
	}
	for _, p := range []struct {
		to *uint64
		n  uint64
	}{
		{&s.Asked, t.Asked},
		{&s.Gone, t.Gone},
		{&s.Leases, t.Leases},
		{&s.Outstanding, t.Outstanding},
		{&s.Refills, t.Refills},
		{&s.Leased, t.Leased},
		{&s.GivenBack, t.GivenBack},
		{&s.Forfeited, t.Forfeited},
		{&s.Lost, t.Lost},
		{&s.Full, t.Full},
		{&s.Crowded, t.Crowded},
		{&s.Cached, t.Cached},
	} {
		*p.to += p.n
	}
}

// Gone is how many decisions were made without Redis.
func (s *Store) Gone() uint64 { return s.counts.gone.Load() }
