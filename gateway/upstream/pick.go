package upstream

import (
	"math"
	"time"
)

const (
	// exactServers is up to how many the least loaded one is found by looking at all.
	exactServers = 8
	// hashTries is how many servers of a key are looked at before any that can takes it.
	hashTries = 16
)

// Pick chooses a server at now and takes one of its slots, to be given back by [Server.Done]. The key matters for
// Hash alone. With tried, which may be nil, it takes a server that is not in it, if one has a slot free, and adds the
// one it takes. The errors are ErrNone and ErrFull. It never waits, and allocates nothing but, from time to time, a new
// list of servers.
func (p *Pool) Pick(now time.Time, key uint64, tried *Tried) (*Server, error) {
	at := p.at(now)
	if at >= p.due.Load() {
		p.refresh(at)
	}
	s := p.set.Load()
	var skip Tried
	if tried != nil {
		skip = *tried
	}
	c := p.choose(s, at, key, skip)
	if c == nil && skip != (Tried{}) {
		c = p.choose(s, at, key, Tried{})
	}
	if c == nil {
		return nil, p.refuse(s)
	}
	if tried != nil {
		tried.add(c.slot)
	}
	if s.panicking {
		p.inPanic.Add(1)
	}
	return c.server, nil
}

// refuse counts a Pick in vain, and says why it was.
func (p *Pool) refuse(s *set) error {
	for i := range s.usable {
		if s.limit > 0 && s.usable[i].server.inFlight.Load() >= s.limit {
			p.full.Add(1)
			return ErrFull
		}
	}
	p.none.Add(1)
	return ErrNone
}

// choose takes a slot of a server that is not skipped, nil if there is none.
func (p *Pool) choose(s *set, at int64, key uint64, skip Tried) *candidate {
	var c *candidate
	switch {
	case len(s.usable) == 0:
		return nil
	case s.cfg.Balance == Hash:
		c = s.ofKey(at, key, skip)
	case s.cfg.Balance == RoundRobin:
		c = s.inTurn(p, at, &skip)
	case len(s.usable) > exactServers:
		c = s.ofTwo(p.env.Random(), at, &skip)
	}
	for {
		if c == nil {
			if c = s.least(p.env.Random(), at, &skip); c == nil {
				return nil
			}
		}
		if c.take(s, at) {
			return c
		}
		skip.add(c.slot) // another Pick was faster
		c = nil
	}
}

// can reports whether a candidate may have a request now.
func (c *candidate) can(s *set, at int64, skip *Tried) bool {
	return !skip.has(c.slot) &&
		(s.limit == 0 || c.server.inFlight.Load() < s.limit) &&
		(!c.trial || at >= c.server.trialAt.Load())
}

// take takes a slot; false if there is none any more.
func (c *candidate) take(s *set, at int64) bool {
	for {
		n := c.server.inFlight.Load()
		if s.limit > 0 && n >= s.limit {
			return false
		}
		if c.server.inFlight.CompareAndSwap(n, n+1) {
			break
		}
	}
	if !c.trial {
		return true
	}
	// One trial; another one if that has not ended after Base.
	next := c.server.trialAt.Load()
	if at >= next && c.server.trialAt.CompareAndSwap(next, at+int64(s.cfg.Ejection.Base)) {
		return true
	}
	c.server.inFlight.Add(-1)
	return false
}

// load is what a candidate has in flight, to be compared by lighter.
func (c *candidate) load() uint64 {
	return uint64(max(c.server.inFlight.Load(), 0)) //nolint:gosec // not negative
}

// least is the one with the fewest requests for its weight, of those alike one by weight; nil if none can.
func (s *set) least(random uint64, at int64, skip *Tried) (best *candidate) {
	var load, alike uint64
	for i := range s.usable {
		c := &s.usable[i]
		if !c.can(s, at, skip) {
			continue
		}
		n, w := c.load(), uint64(c.weight)
		mine, its := uint64(0), uint64(0)
		if best != nil {
			mine, its = n*uint64(best.weight), load*w
		}
		switch {
		case best == nil || mine < its:
			best, load, alike = c, n, w
		case mine == its:
			alike += w
			random = mix(random + 1)
			if (random>>32)*alike>>32 < w {
				best, load = c, n
			}
		}
	}
	return best
}

// ofTwo is the one with fewer requests for its weight of two drawn by weight; nil if neither can.
func (s *set) ofTwo(random uint64, at int64, skip *Tried) *candidate {
	a, b := s.draw(random>>32), s.draw(random&math.MaxUint32)
	if s.even && a == b { // of those alike, two different ones
		b = &s.usable[(int(a.upTo/a.weight)+int(mix(random)%uint64(len(s.usable)-1)))%len(s.usable)] //nolint:gosec // 256 at most
	}
	canA, canB := a.can(s, at, skip), b.can(s, at, skip)
	switch {
	case !canA && !canB:
		return nil
	case !canA || canB && b.load()*uint64(a.weight) < a.load()*uint64(b.weight):
		return b
	}
	return a
}

// draw is a candidate by weight, by 32 random bits.
func (s *set) draw(random uint64) *candidate {
	if s.even {
		return &s.usable[random*uint64(len(s.usable))>>32]
	}
	point := uint32(random * s.sum >> 32) //nolint:gosec // below the sum
	low, high := 0, len(s.usable)-1
	for low < high {
		mid := (low + high) / 2
		if point < s.usable[mid].upTo {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return &s.usable[low]
}

// inTurn is the next one; nil if none was found in two rounds. A candidate has a turn in each round, and of as many
// rounds as the most weight in as many as its own, spread evenly (gRPC's static stride).
func (s *set) inTurn(p *Pool, at int64, skip *Tried) *candidate {
	n := uint64(len(s.usable))
	for range 2 * n {
		turn := p.turn.Add(1) - 1
		i, round := turn%n, turn/n
		c := &s.usable[i]
		w := uint64(c.weight)
		if (w*round+i*(s.most/2))%s.most >= s.most-w && c.can(s, at, skip) {
			return c
		}
	}
	return nil
}

// ofKey is the first in the key's order that is not over its bound; nil if none of the first ones is.
func (s *set) ofKey(at int64, key uint64, skip Tried) *candidate {
	all := uint64(1) // with the one to come
	for i := range s.usable {
		all += s.usable[i].load()
	}
	for range hashTries {
		c := s.rendezvous(key, &skip)
		if c == nil {
			return nil
		}
		share := all * uint64(c.weight) * uint64(s.cfg.HashBalanceFactor) //nolint:gosec // 100 to 10000
		if c.load()*s.sum*100 < share && c.can(s, at, &skip) {            // so that load+1 is at most the share, rounded up
			return c
		}
		skip.add(c.slot)
	}
	return nil
}

// rendezvous is the candidate with the highest score for a key (weighted rendezvous hashing); nil if all are skipped.
func (s *set) rendezvous(key uint64, skip *Tried) (best *candidate) {
	var most uint64
	var score float64
	for i := range s.usable {
		c := &s.usable[i]
		if skip.has(c.slot) {
			continue
		}
		h := mix(key ^ c.hash)
		if s.even {
			if best == nil || h > most {
				best, most = c, h
			}
			continue
		}
		u := (float64(h>>11) + 0.5) / (1 << 53)
		if (1-u)*score >= float64(c.weight) {
			continue // as -ln(u) is 1-u or more, it cannot be the highest
		}
		if x := -float64(c.weight) / math.Log(u); best == nil || x > score {
			best, score = c, x
		}
	}
	return best
}
