package redis

import "sync/atomic"

// Stats is what a [Store] has counted since it was made, but for Leases and Outstanding, which are as of now.
type Stats struct {
	// Asked is how often Redis was: round trips.
	Asked uint64
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
	asked, gone, refills, leased, givenBack, forfeited, lost, full, crowded atomic.Uint64
}

// Stats is what was counted so far. It looks at every lease.
func (s *Store) Stats() Stats {
	c := &s.counts
	st := Stats{
		Asked: c.asked.Load(), Gone: c.gone.Load(), Refills: c.refills.Load(), Leased: c.leased.Load(), GivenBack: c.givenBack.Load(),
		Forfeited: c.forfeited.Load(), Lost: c.lost.Load(), Full: c.full.Load(), Crowded: c.crowded.Load(),
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

// Gone is how many decisions were made without Redis.
func (s *Store) Gone() uint64 { return s.counts.gone.Load() }
