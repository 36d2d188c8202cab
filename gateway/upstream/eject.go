package upstream

import (
	"math"
	"slices"
)

// outlierPoints is how far below the mean a success rate must be for an outlier, however alike the others are: among
// servers that never fail one failure would be many standard deviations.
const outlierPoints = 0.05

// eject ejects a server whose failures in a row are too many.
func (p *Pool) eject(s *Server, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.phase.Load() == normal && p.banish(s, at) {
		p.advance(at)
	}
}

// banish ejects a server in phase normal; false if no more may be. With the mutex.
func (p *Pool) banish(s *Server, at int64) bool {
	if !slices.Contains(p.servers, s) {
		return false
	}
	if p.ejected() >= p.mayEject() {
		p.counters.EjectionsRefused++
		return false
	}
	p.sentence(s, at)
	return true
}

// sentence has a server ejected for as long as is its turn. With the mutex.
func (p *Pool) sentence(s *Server, at int64) {
	e, c := &p.cfg.Ejection, &s.control
	if int64(c.count) < int64(e.Max/e.Base)+1 {
		c.count++
	}
	c.until = at + min(int64(e.Base)*int64(c.count), int64(e.Max))
	c.ejections++
	p.counters.Ejections++
	s.phase.Store(ejected)
	p.dirty = true
}

// conclude takes the end of a trial.
func (p *Pool) conclude(s *Server, at int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.phase.Load() != halfOpen {
		return
	}
	if ok || !slices.Contains(p.servers, s) {
		p.pardon(s)
		p.slowStart(s, at)
	} else {
		p.sentence(s, at)
	}
	p.advance(at)
}

// pardon ends an ejection for good. With the mutex.
func (p *Pool) pardon(s *Server) {
	s.failures.Store(0)
	s.gateway.Store(0)
	s.phase.Store(normal)
	_, s.control.swept, s.control.sweptOK = s.requests()
	p.dirty = true
}

// slowStart has a server's weight rise from a tenth, if it is to. With the mutex.
func (p *Pool) slowStart(s *Server, at int64) {
	if p.cfg.SlowStart > 0 {
		s.control.warmFrom = at
		p.dirty = true
	}
}

// ejected is how many servers are, those on trial included.
func (p *Pool) ejected() (n int) {
	for _, s := range p.servers {
		if s.phase.Load() != normal {
			n++
		}
	}
	return n
}

// mayEject is how many servers may be ejected at once.
func (p *Pool) mayEject() int {
	n := len(p.servers)
	if n < 2 {
		return 0
	}
	return max(1, n*p.cfg.Ejection.MaxPercent/100)
}

// release ends ejections that are too many since servers were removed: those that would end first. With the mutex.
func (p *Pool) release() {
	for n := p.ejected(); n > p.mayEject(); n-- {
		var first *Server
		for _, s := range p.servers {
			if s.phase.Load() != normal && (first == nil || s.control.until < first.control.until) {
				first = s
			}
		}
		p.pardon(first)
	}
}

// sweep ejects the servers whose success rate since the last one is an outlier, and lets old ejections be forgotten.
// With the mutex.
func (p *Pool) sweep(at int64, intervals int) {
	e := &p.cfg.Ejection
	type rated struct {
		server *Server
		rate   float64
	}
	var all []rated
	var sum, squares float64
	for _, s := range p.servers {
		c := &s.control
		_, judged, ok := s.requests()
		n, good := judged-c.swept, ok-c.sweptOK
		c.swept, c.sweptOK = judged, ok
		if s.phase.Load() != normal {
			continue
		}
		c.count = max(c.count-intervals, 0)
		if n >= uint64(e.RequestVolume) { //nolint:gosec // 1 or more
			r := rated{s, float64(good) / float64(n)}
			all = append(all, r)
			sum += r.rate
			squares += r.rate * r.rate
		}
	}
	if e.StdevFactor < 0 || len(all) < e.MinimumServers {
		return
	}
	mean := sum / float64(len(all))
	stdev := math.Sqrt(max(squares/float64(len(all))-mean*mean, 0))
	low := min(mean-stdev*float64(e.StdevFactor)/1000, mean-outlierPoints)
	for _, r := range all {
		if r.rate < low {
			p.banish(r.server, at)
		}
	}
}
