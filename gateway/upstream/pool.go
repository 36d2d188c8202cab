package upstream

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Env is what a [Pool] has of the world outside. The zero value is that.
type Env struct {
	// Random gives random bits, from any goroutine. Default math/rand/v2.
	Random func() uint64
	// Prober checks servers. Default: by HTTP or TCP, over connections of its own.
	Prober Prober
	// Resolver resolves names. Default [net.DefaultResolver].
	Resolver Resolver
}

// Resolver is what a Pool needs of a [net.Resolver].
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Pool is the servers that serve the same requests. Its methods may be called from any goroutine.
type Pool struct {
	env     Env
	epoch   time.Time
	changed chan struct{} // wakes Run

	set atomic.Pointer[set]
	_   [64]byte
	// due is when the set has to be looked at, turn the next of RoundRobin.
	due  atomic.Int64
	_    [64]byte
	turn atomic.Uint64
	_    [64]byte

	none, full, inPanic atomic.Uint64

	mu       sync.Mutex
	cfg      *Config
	servers  []*Server                   // in the order of the Config
	leaving  []*Server                   // removed, with requests in flight
	resolved map[string][]netip.AddrPort // by Address
	dirty    bool                        // the set is not what it has to be
	sweepAt  int64                       // when success rates are compared
	budget   budget
	counters Counters
	gone     uint64 // requests of servers that are no more
}

// New makes a Pool at now. Servers that are given by name are there when [Pool.Resolve] has been called, or Run has.
// The error is that of [Config.Validate].
func New(cfg Config, env Env, now time.Time) (*Pool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if env.Random == nil {
		env.Random = rand.Uint64
	}
	if env.Prober == nil {
		env.Prober = newProber()
	}
	if env.Resolver == nil {
		env.Resolver = net.DefaultResolver
	}
	p := &Pool{env: env, epoch: now, changed: make(chan struct{}, 1), resolved: map[string][]netip.AddrPort{}}
	p.configure(cfg, 0)
	return p, nil
}

// Update has the pool go on by another Config at now. Servers that stay keep what is known of them and what they have
// in flight; new ones start slowly; removed ones get no more requests and finish what they have. The error is that of
// Validate, and the pool is as it was.
func (p *Pool) Update(cfg Config, now time.Time) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	p.configure(cfg, p.at(now))
	return nil
}

func (p *Pool) configure(cfg Config, at int64) {
	cfg = cfg.withDefaults()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg = &cfg
	p.sweepAt = at + int64(cfg.Ejection.Interval)
	for name := range p.resolved {
		if !slices.ContainsFunc(cfg.Servers, func(s ServerConfig) bool { return s.Address == name }) {
			delete(p.resolved, name)
		}
	}
	p.forget(at)
	p.reconcile(at)
	p.advance(at)
	p.wake()
}

// wake has Run look at what there is to check and to resolve.
func (p *Pool) wake() {
	select {
	case p.changed <- struct{}{}:
	default: // it is to look already
	}
}

func (p *Pool) at(now time.Time) int64 { return int64(now.Sub(p.epoch)) }

// Attempts is how often a request is tried in all.
func (p *Pool) Attempts() int { return p.set.Load().cfg.Retries.Attempts }

// reconcile makes the servers those that the Config and what its names were resolved to say. With the mutex.
func (p *Pool) reconcile(at int64) {
	known := map[string]*Server{}
	for _, s := range slices.Concat(p.leaving, p.servers) {
		known[s.address] = s
	}
	before := p.servers
	var slots Tried
	p.servers = make([]*Server, 0, len(p.cfg.Servers))
	var added []*Server
	p.counters.Surplus = 0
	for _, c := range p.cfg.Servers {
		for _, a := range p.addresses(c.Address) {
			s := known[a.String()]
			switch {
			case s != nil && slices.Contains(p.servers, s): // two names for one: the first holds
			case len(p.servers) == MaxServers:
				p.counters.Surplus++
			default:
				if s == nil {
					s = &Server{pool: p, address: a.String(), hash: HashKey(a.String())}
					known[s.address] = s
				}
				s.name.Store(&c.Address)
				s.control.weight = c.Weight
				if !slices.Contains(before, s) {
					added = append(added, s)
				} else {
					slots.add(s.control.slot)
				}
				p.servers = append(p.servers, s)
			}
		}
	}
	for _, s := range added {
		s.admit(at, slots.free(), len(before) > 0)
		slots.add(s.control.slot)
	}
	p.part(before, at)
	p.release()
	p.dirty = true
}

// admit makes a server one of the pool's. What it has of requests it keeps.
func (s *Server) admit(at int64, slot uint8, late bool) {
	c := &s.control
	c.slot, c.up, c.checked, c.streak, c.lastCheck, c.warmFrom = slot, true, false, 0, "", warm
	if late {
		s.pool.slowStart(s, at)
	}
}

// free is the lowest slot that is not in t; there is one.
func (t *Tried) free() uint8 {
	for slot := range MaxServers {
		if !t.has(uint8(slot)) { //nolint:gosec // below 256
			return uint8(slot) //nolint:gosec // below 256
		}
	}
	panic("upstream: more servers than slots")
}

// part lets go of the servers there were and are no more.
func (p *Pool) part(before []*Server, at int64) {
	p.leaving = slices.DeleteFunc(p.leaving, func(s *Server) bool { return slices.Contains(p.servers, s) })
	for _, s := range before {
		if !slices.Contains(p.servers, s) {
			s.control.leftAt = at
			p.leaving = append(p.leaving, s)
		}
	}
}

// lingering is how long a server that was removed and has no requests is still known: a Pick that goes by the set
// before takes one of its slots a moment later.
const lingering = int64(time.Second)

// forget drops the servers that were removed and have finished. With the mutex.
func (p *Pool) forget(at int64) {
	p.leaving = slices.DeleteFunc(p.leaving, func(s *Server) bool {
		done := s.inFlight.Load() == 0 && at-s.control.leftAt >= lingering
		if done {
			given, _, _ := s.requests()
			p.gone += given
		}
		return done
	})
}

// addresses are those of a server in the Config.
func (p *Pool) addresses(address string) []netip.AddrPort {
	if a, ok := literal(address); ok {
		return []netip.AddrPort{a}
	}
	return p.resolved[address]
}
