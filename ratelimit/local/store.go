package local

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"

	"weir/ratelimit"
)

const (
	// shards is how many parts the clients are in, a power of two: two decisions at once seldom meet.
	shards = 64
	// ways is how many clients a set holds.
	ways = 4
	// MaxChecks bounds the policies of one request.
	MaxChecks = 16
	// defaultClients is what a [Config] has of Clients, maxClients what it may have.
	defaultClients = 1 << 20
	maxClients     = 1 << 26
)

// Config configures a [Store]. The zero value is valid.
type Config struct {
	// Clients is about how many are kept, of all policies together: a client of two policies counts twice.
	// 1024 to 67,108,864, default 1,048,576. Each takes 64 bytes, there from the start: half of the places are to
	// be free, so that sets are seldom full.
	Clients int
}

// Validate says what is out of range; nil if nothing is.
func (c Config) Validate() error {
	if c.Clients != 0 && (c.Clients < 1024 || c.Clients > maxClients) {
		return fmt.Errorf("ratelimit.clients is %d: want 1024 to %d", c.Clients, maxClients)
	}
	return nil
}

// Store keeps what clients owe. Its methods may be called from any goroutine.
type Store struct {
	seed   maphash.Seed
	sets   uint64 // of a shard, a power of two
	logs   int    // of a shard at most
	shards [shards]shard
}

// shard is the clients whose hash falls on it.
type shard struct {
	mu sync.Mutex
	// sets and rest are of the same clients: what every decision looks at, and what only some do.
	sets []set
	rest [][ways]rest
	logs map[uint64]*logged
	// crowded are the clients that have no slot, together, by policy.
	crowded  map[string]*ratelimit.State
	pressure uint64
	_        [64]byte // keeps shards on cache lines of their own
}

// set is some clients, of any policies: a cache line. A hash of 0 is none.
type set struct {
	hash  [ways]uint64
	until [ways]uint64
}

// rest is what a client has beside, see [ratelimit.Limit.OneWord].
type rest struct{ units, before uint64 }

// Stats counts what a [Store] did.
type Stats struct {
	// Pressure is how often a client was decided with others in one budget, as there was no slot for it.
	Pressure uint64
}

// New makes a Store.
func New(cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	clients := cfg.Clients
	if clients == 0 {
		clients = defaultClients
	}
	sets := uint64(1) << bits.Len64(uint64(2*clients/shards/ways-1)) //nolint:gosec // Validate bounds it
	s := &Store{seed: maphash.MakeSeed(), sets: sets, logs: clients / shards}
	for i := range s.shards {
		s.shards[i].sets = make([]set, sets)
		s.shards[i].rest = make([][ways]rest, sets)
	}
	return s, nil
}

// Take decides about a request at now, ticks of a clock that does not go back, under several policies, at
// most [MaxChecks]: it is allowed if all do that are no shadows, and only then charged, with each that allows it. out has
// room for a decision of each. What counts concurrent requests is to be given back by [Store.Release].
func (s *Store) Take(now uint64, checks []ratelimit.Check, out []ratelimit.Decision) (allowed bool) {
	if len(checks) == 1 {
		return s.takeOne(now, &checks[0], &out[0])
	}
	if len(checks) > MaxChecks {
		panic(fmt.Sprintf("local: %d policies of one request: at most %d", len(checks), MaxChecks))
	}
	// All shards are held while it is decided, in their order.
	var order, hashes [MaxChecks]uint64
	held := order[:0]
	for i := range checks {
		hashes[i] = s.hash(&checks[i])
		held = append(held, hashes[i]%shards)
	}
	slices.Sort(held)
	held = slices.Compact(held)
	for _, n := range held {
		s.shards[n].mu.Lock()
	}
	allowed = true
	for i := range checks {
		c := &checks[i]
		out[i] = s.shards[hashes[i]%shards].decide(s, c, hashes[i], now)
		allowed = allowed && (out[i].Allowed || c.Shadow)
	}
	for i := range checks {
		if c := &checks[i]; allowed && out[i].Allowed {
			s.shards[hashes[i]%shards].charge(s, c, hashes[i], now)
		}
	}
	for _, n := range held {
		s.shards[n].mu.Unlock()
	}
	return allowed
}

func (s *Store) takeOne(now uint64, c *ratelimit.Check, out *ratelimit.Decision) bool {
	sh, hash := s.lock(c)
	*out = sh.take(s, c, hash, now)
	sh.mu.Unlock()
	return out.Allowed || c.Shadow
}

// lock is the shard of a client, locked, and its hash.
func (s *Store) lock(c *ratelimit.Check) (sh *shard, hash uint64) {
	hash = s.hash(c)
	sh = &s.shards[hash%shards]
	sh.mu.Lock()
	return sh, hash
}

// Charge takes a cost that is known only now, such as the bytes of an answer, whatever is left.
func (s *Store) Charge(now uint64, c *ratelimit.Check) {
	sh, hash := s.lock(c)
	defer sh.mu.Unlock()
	sh.charge(s, c, hash, now)
}

// Peek is what [Store.Take] would say, without its charging anything.
func (s *Store) Peek(now uint64, c *ratelimit.Check) ratelimit.Decision {
	sh, hash := s.lock(c)
	defer sh.mu.Unlock()
	return sh.decide(s, c, hash, now)
}

// Release gives back concurrent requests that [Store.Take] has charged with this Check.
func (s *Store) Release(c *ratelimit.Check) {
	sh, hash := s.lock(c)
	defer sh.mu.Unlock()
	at := place{way: crowded}
	if c.Mark != markCrowded {
		if at = sh.find(s, hash); at.way < 0 {
			return // it was given back before
		}
	}
	st := sh.load(c.Limit, at)
	c.Limit.Release(&st, c.Cost)
	sh.save(c.Limit, at, st)
}

// Stats is what was counted so far.
func (s *Store) Stats() (st Stats) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		st.Pressure += sh.pressure
		sh.mu.Unlock()
	}
	return st
}
