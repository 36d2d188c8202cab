package upstream

import "time"

// set is an immutable list of the servers that may be used, and how.
type set struct {
	cfg       *Config
	limit     int64 // MaxConns; 0: none
	usable    []candidate
	sum       uint64 // of weights
	most      uint64 // of them
	even      bool   // all weights are alike
	panicking bool
}

// candidate is a server that may be used.
type candidate struct {
	server *Server
	hash   uint64
	weight uint32 // times warmWeight, less in slow start
	upTo   uint32 // the weights up to and with this one
	slot   uint8
	trial  bool // it is half-open
}

// A weight of 1 is warmWeight of a candidate, and coldWeight when its slow start begins.
const (
	warmWeight = 256
	coldWeight = warmWeight / 10
)

const (
	// warmTicks is in how many steps a weight rises.
	warmTicks = 50
	// leastTick is how long a step lasts at least.
	leastTick = int64(10 * time.Millisecond)
)

// refresh brings the pool to a time, unless somebody does it.
func (p *Pool) refresh(at int64) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	if at >= p.due.Load() {
		p.advance(at)
	}
}

// advance does what is due, and makes a new set if anything changed. With the mutex.
func (p *Pool) advance(at int64) {
	e := &p.cfg.Ejection
	for _, s := range p.servers {
		if s.phase.Load() == ejected && at >= s.control.until {
			s.strangers.Store(s.inFlight.Load())
			s.since.Store(at)
			s.trialAt.Store(0)
			s.phase.Store(halfOpen)
			p.dirty = true
		}
	}
	if at >= p.sweepAt {
		passed := (at-p.sweepAt)/int64(e.Interval) + 1
		p.sweepAt += passed * int64(e.Interval)
		p.sweep(at, int(passed))
	}
	p.forget(at)
	p.budget.note(at, p.cfg.Retries, p.requests())
	due := min(p.sweepAt, p.budget.due(p.cfg.Retries))
	for _, s := range p.servers {
		c := &s.control
		if s.phase.Load() == ejected {
			due = min(due, c.until)
		}
		if c.warmFrom != warm {
			p.dirty = true
			due = min(due, at+max(int64(p.cfg.SlowStart)/warmTicks, leastTick))
			if at-c.warmFrom >= int64(p.cfg.SlowStart) {
				c.warmFrom = warm
			}
		}
	}
	if p.dirty {
		p.build(at)
	}
	p.due.Store(due)
}

// build makes the set. With the mutex.
func (p *Pool) build(at int64) {
	p.dirty = false
	bad := 0
	for _, s := range p.servers {
		if !p.isUp(s) || s.phase.Load() != normal {
			bad++
		}
	}
	next := &set{cfg: p.cfg, limit: int64(p.cfg.MaxConns), even: true, panicking: bad*100 > p.cfg.PanicPercent*len(p.servers)}
	next.usable = make([]candidate, 0, len(p.servers))
	for _, s := range p.servers {
		c := candidate{server: s, hash: s.hash, weight: p.weight(s, at), slot: s.control.slot}
		if !next.panicking {
			if !p.isUp(s) || s.phase.Load() == ejected {
				continue
			}
			c.trial = s.phase.Load() == halfOpen
		}
		next.sum += uint64(c.weight)
		next.most = max(next.most, uint64(c.weight))
		c.upTo = uint32(next.sum) //nolint:gosec // 256 servers of 256*256
		next.usable = append(next.usable, c)
		next.even = next.even && c.weight == next.usable[0].weight
	}
	if last := p.set.Load(); next.panicking && (last == nil || !last.panicking) {
		p.counters.Panics++
	}
	p.set.Store(next)
}

// isUp is what the checks say, which say nothing if there are none.
func (p *Pool) isUp(s *Server) bool { return s.control.up || p.cfg.Health.Interval == 0 }

// weight is a server's at a time.
func (p *Pool) weight(s *Server, at int64) uint32 {
	w := int64(s.control.weight)
	full := w * warmWeight
	if s.control.warmFrom != warm && p.cfg.SlowStart > 0 {
		passed := min(max(at-s.control.warmFrom, 0), int64(p.cfg.SlowStart))
		full = max(w*warmWeight*(passed/1000)/max(int64(p.cfg.SlowStart)/1000, 1), w*coldWeight)
	}
	return uint32(full) //nolint:gosec // at most 256*256
}
