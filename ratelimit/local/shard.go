package local

import (
	"hash/maphash"
	"math/bits"

	"weir/ratelimit"
)

// hash is that of a client under a policy, never 0. The policy's name is part of it, so that what is owed stays
// over a change of the policy.
func (s *Store) hash(c *ratelimit.Check) uint64 {
	h := maphash.Bytes(s.seed, c.Key) ^ bits.RotateLeft64(maphash.String(s.seed, c.Limit.Name()), 31)
	return max(h, 1)
}

// decide is what a policy says, which changes nothing but what is forgotten anyway. sh.mu is held.
func (sh *shard) decide(s *Store, c *ratelimit.Check, hash, now uint64) ratelimit.Decision {
	if c.Limit.Algorithm() == ratelimit.AlgorithmLog {
		return c.Limit.DecideLog(sh.lookLog(s, c, hash), now, c.Cost)
	}
	at := sh.find(s, hash)
	if at.way < 0 {
		if at = sh.free(s, hash, now); at.way >= 0 {
			return c.Limit.Decide(&ratelimit.State{}, now, c.Cost)
		}
		at.way = crowded
	}
	st := sh.load(c.Limit, at)
	return c.Limit.Decide(&st, now, c.Cost)
}

// charge takes the cost. sh.mu is held.
func (sh *shard) charge(s *Store, c *ratelimit.Check, hash, now uint64) {
	if c.Limit.Algorithm() == ratelimit.AlgorithmLog {
		c.Limit.ChargeLog(sh.log(s, c, hash, now), now, c.Cost)
		return
	}
	at := sh.claim(s, c, hash, now)
	st := sh.load(c.Limit, at)
	c.Limit.Charge(&st, now, c.Cost)
	sh.save(c.Limit, at, st)
}

// take is both, with one look. sh.mu is held.
func (sh *shard) take(s *Store, c *ratelimit.Check, hash, now uint64) (d ratelimit.Decision) {
	if c.Limit.Algorithm() == ratelimit.AlgorithmLog {
		g := sh.log(s, c, hash, now)
		if d = c.Limit.DecideLog(g, now, c.Cost); d.Allowed {
			c.Limit.ChargeLog(g, now, c.Cost)
		}
		return d
	}
	at := sh.claim(s, c, hash, now)
	st := sh.load(c.Limit, at)
	if d = c.Limit.Decide(&st, now, c.Cost); d.Allowed {
		c.Limit.Charge(&st, now, c.Cost)
		sh.save(c.Limit, at, st)
	}
	return d
}

// place is where a client is kept: a set, and its way there, or one of those below.
type place struct {
	set uint64
	way int
}

// markCrowded is the [ratelimit.Check.Mark] of one that was charged with others.
const markCrowded = 1

const (
	nowhere = -1
	crowded = -2 // with others, in shard.crowded
)

// homes are the two sets that a client may be in. The first is nearly always the one: with half of all places
// taken, four in a hundred find it full, and three in a thousand both (M. Mitzenmacher, "The Power of Two
// Choices in Randomized Load Balancing", 2001).
func (s *Store) homes(hash uint64) [2]uint64 {
	first := (hash / shards) & (s.sets - 1)
	// Odd, so that the other one is another.
	return [2]uint64{first, (first ^ (hash>>40 | 1)) & (s.sets - 1)}
}

// find is where a client is, or nowhere.
func (sh *shard) find(s *Store, hash uint64) place {
	for _, at := range s.homes(hash) {
		set := &sh.sets[at]
		for way := range set.hash {
			if set.hash[way] == hash {
				return place{at, way}
			}
		}
	}
	return place{way: nowhere}
}

// free is a place in which nobody owes anything, or nowhere.
func (sh *shard) free(s *Store, hash, now uint64) place {
	for _, at := range s.homes(hash) {
		set := &sh.sets[at]
		for way := range set.until {
			if set.until[way] <= now {
				return place{at, way}
			}
		}
	}
	return place{way: nowhere}
}

// claim is the place of a client, which is its own if there is one.
func (sh *shard) claim(s *Store, c *ratelimit.Check, hash, now uint64) place {
	c.Mark = 0
	at := sh.find(s, hash)
	if at.way >= 0 {
		return at
	}
	if at = sh.free(s, hash, now); at.way >= 0 {
		set := &sh.sets[at.set]
		set.hash[at.way], set.until[at.way] = hash, 0
		sh.rest[at.set][at.way] = rest{}
		return at
	}
	c.Mark = markCrowded
	sh.pressure++
	return place{way: crowded}
}

// load is the state at a place.
func (sh *shard) load(l *ratelimit.Limit, at place) (st ratelimit.State) {
	if at.way == crowded {
		return *sh.crowd(l)
	}
	st.Until = sh.sets[at.set].until[at.way]
	if !l.OneWord() {
		r := &sh.rest[at.set][at.way]
		st.Units, st.Before = r.units, r.before
	}
	return st
}

// save puts it back.
func (sh *shard) save(l *ratelimit.Limit, at place, st ratelimit.State) {
	if at.way == crowded {
		*sh.crowd(l) = st
		return
	}
	sh.sets[at.set].until[at.way] = st.Until
	if !l.OneWord() {
		sh.rest[at.set][at.way] = rest{st.Units, st.Before}
	}
}

// crowd is the state of those that have no slot.
func (sh *shard) crowd(l *ratelimit.Limit) *ratelimit.State {
	st := sh.crowded[l.Name()]
	if st == nil {
		st = &ratelimit.State{}
		if sh.crowded == nil {
			sh.crowded = make(map[string]*ratelimit.State)
		}
		sh.crowded[l.Name()] = st
	}
	return st
}

// logged is a client of a sliding log.
type logged struct {
	ratelimit.Log
	limit *ratelimit.Limit
}

// sweptAtOnce bounds the logs that are looked at for one to forget.
const sweptAtOnce = 32

// lookLog is the log of a client; an empty one if it has none.
func (sh *shard) lookLog(s *Store, c *ratelimit.Check, hash uint64) *ratelimit.Log {
	if g := sh.logs[hash]; g != nil {
		return &g.Log
	}
	if len(sh.logs) >= s.logs {
		if g := sh.logs[crowdHash(s, c)]; g != nil {
			return &g.Log
		}
	}
	return &ratelimit.Log{}
}

// log is the log of a client, or that of those for whom there is no room.
func (sh *shard) log(s *Store, c *ratelimit.Check, hash, now uint64) *ratelimit.Log {
	if g := sh.logs[hash]; g != nil {
		g.limit = c.Limit
		return &g.Log
	}
	if len(sh.logs) >= s.logs {
		sh.sweep(now)
		if len(sh.logs) >= s.logs {
			sh.pressure++
			hash = crowdHash(s, c)
		}
	}
	g := sh.logs[hash]
	if g == nil {
		g = &logged{limit: c.Limit}
		if sh.logs == nil {
			sh.logs = make(map[uint64]*logged)
		}
		sh.logs[hash] = g
	}
	return &g.Log
}

// sweep forgets some logs that are empty.
func (sh *shard) sweep(now uint64) {
	looked := 0
	for hash, g := range sh.logs {
		if g.limit.Empty(&g.Log, now) {
			delete(sh.logs, hash)
		}
		if looked++; looked == sweptAtOnce {
			return
		}
	}
}

// crowdHash is where the log of those without one is.
func crowdHash(s *Store, c *ratelimit.Check) uint64 {
	return max(maphash.String(s.seed, c.Limit.Name()), 1)
}
