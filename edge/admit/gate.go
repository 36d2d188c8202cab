package admit

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir/ratelimit"
)

// shards is how many parts the state is cut into, a power of two: loops that take in conns of
// different prefixes seldom meet.
const shards = 64

// ratedPrefixes is how many prefixes' rates are remembered, 24 bytes each. A prefix is one of
// them for as long as it owes: of 5000 conns a second at most 100/s each, 50 do.
const ratedPrefixes = 1 << 17

// Verdict is what a [Gate] says of a conn.
type Verdict uint8

// The verdicts.
const (
	// Admitted: the conn is counted, until [Gate.Release].
	Admitted Verdict = iota
	// OverConns: its prefix holds MaxConnsPerPrefix.
	OverConns
	// OverPrefixRate: its prefix opens more than RatePerPrefix.
	OverPrefixRate
	// OverRate: all clients together open more than Rate.
	OverRate
)

// Gate lets conns in or does not. Its methods may be called from any goroutine; they allocate
// nothing but the growth of maps.
type Gate struct {
	bits4, bits6 int
	maxConns     uint32
	rate         ratelimit.Plan // Interval 0: none
	perPrefix    ratelimit.Plan // Interval 0: none
	seed         maphash.Seed

	arrival   atomic.Uint64 // of the whole edge, theoretical
	overflows atomic.Uint64
	shards    [shards]shard
}

// shard is the state of the prefixes whose hash falls on it.
type shard struct {
	mu sync.Mutex
	// conns are those held of each prefix. A prefix that holds none has no entry: the map is
	// bounded by the conns that the edge may hold.
	conns map[key]uint32
	rates []rateSet
	_     [64]byte // keeps shards on cache lines of their own
}

// New returns a Gate. The error says which rate is out of range.
func New(cfg Config) (*Gate, error) { return newGate(cfg, ratedPrefixes) }

func newGate(cfg Config, rated int) (*Gate, error) {
	g := &Gate{
		bits4: cfg.PrefixIPv4, bits6: cfg.PrefixIPv6,
		maxConns: uint32(max(cfg.MaxConnsPerPrefix, 0)), //nolint:gosec // bounded by the edge's Config
		seed:     maphash.MakeSeed(),
	}
	if g.bits4 == 0 {
		g.bits4 = 32
	}
	if g.bits6 == 0 {
		g.bits6 = 64
	}
	var err error
	if g.rate, err = plan("accept rate", cfg.Rate); err != nil {
		return nil, err
	}
	if g.perPrefix, err = plan("accept rate of a prefix", cfg.RatePerPrefix); err != nil {
		return nil, err
	}
	for i := range g.shards {
		g.shards[i].conns = map[key]uint32{}
		if g.perPrefix.Interval > 0 {
			g.shards[i].rates = make([]rateSet, max(rated/shards/ways, 1))
		}
	}
	return g, nil
}

// Ticks is a time since any fixed moment as [Gate.Admit] takes it.
func Ticks(d time.Duration) uint64 {
	return uint64(d) * ratelimit.TicksPerNano //nolint:gosec // a clock that goes on is not negative
}

// Admit decides about a conn of an address at now, in ticks. It is charged to all limits or, if
// one is against it, to none: who is over its own limit takes nothing of the whole edge's rate.
// wait is how long a refused client should, 0 if that is not known.
func (g *Gate) Admit(a netip.Addr, now uint64) (v Verdict, wait time.Duration) {
	if g.maxConns == 0 && g.perPrefix.Interval == 0 {
		return g.admitRate(now)
	}
	k, s, h := g.shardOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := uint32(0)
	if g.maxConns > 0 {
		if held = s.conns[k]; held >= g.maxConns {
			return OverConns, 0
		}
	}
	var r *rated
	var next uint64
	if g.perPrefix.Interval > 0 {
		if r = s.rates[h/shards%uint64(len(s.rates))].find(k, now); r != nil {
			tat := r.of(k)
			var ok bool
			if next, ok = ratelimit.GCRA(g.perPrefix, tat, now); !ok {
				return OverPrefixRate, duration(ratelimit.Wait(g.perPrefix, tat, now))
			}
		}
	}
	if v, wait = g.admitRate(now); v != Admitted {
		return v, wait
	}
	if r != nil {
		*r = rated{key: k, arrival: next}
	} else if g.perPrefix.Interval > 0 {
		g.overflows.Add(1)
	}
	if g.maxConns > 0 {
		s.conns[k] = held + 1
	}
	return Admitted, 0
}

// shardOf is an address's key, where that is kept, and its hash.
func (g *Gate) shardOf(a netip.Addr) (k key, s *shard, hash uint64) {
	k = keyOf(a, g.bits4, g.bits6)
	hash = maphash.Comparable(g.seed, k)
	return k, &g.shards[hash%shards], hash
}

// Adopt counts a conn of an address that was admitted elsewhere. It may be one too many.
func (g *Gate) Adopt(a netip.Addr) {
	if g.maxConns == 0 {
		return
	}
	k, s, _ := g.shardOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[k]++
}

// admitRate charges the rate of the whole edge.
func (g *Gate) admitRate(now uint64) (Verdict, time.Duration) {
	if g.rate.Interval == 0 {
		return Admitted, 0
	}
	for {
		tat := g.arrival.Load()
		next, ok := ratelimit.GCRA(g.rate, tat, now)
		if !ok {
			return OverRate, duration(ratelimit.Wait(g.rate, tat, now))
		}
		if g.arrival.CompareAndSwap(tat, next) {
			return Admitted, 0
		}
	}
}

// duration is ticks as time, rounded up.
func duration(ticks uint64) time.Duration {
	return time.Duration((ticks + ratelimit.TicksPerNano - 1) / ratelimit.TicksPerNano) //nolint:gosec // a year at most
}

// Release gives back the place of a conn of an address that was admitted, once.
func (g *Gate) Release(a netip.Addr) {
	if g.maxConns == 0 {
		return
	}
	k, s, _ := g.shardOf(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch held := s.conns[k]; held {
	case 0:
		panic("admit: a conn is released that was not admitted")
	case 1:
		delete(s.conns, k)
	default:
		s.conns[k] = held - 1
	}
}

// Prefixes is how many prefixes hold a conn; 0 without MaxConnsPerPrefix.
func (g *Gate) Prefixes() (n int) {
	for i := range g.shards {
		s := &g.shards[i]
		s.mu.Lock()
		n += len(s.conns)
		s.mu.Unlock()
	}
	return n
}

// Overflows counts the conns let in by the rate of the whole edge alone, since all places that
// their prefix could have had in the table of rates were taken by others that owe.
func (g *Gate) Overflows() uint64 { return g.overflows.Load() }
