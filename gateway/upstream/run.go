package upstream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Run resolves names and checks servers until ctx ends; then it has ended all that it started. To be called once: by
// the clock, which has to be that of the times given to the other methods. Without names and checks it waits.
func (p *Pool) Run(ctx context.Context) {
	r := runner{pool: p, checks: map[*Server]*check{}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.wg.Wait()
			return
		case <-p.changed:
		case <-timer.C:
		}
		timer.Reset(time.Until(r.step(ctx, time.Now())))
	}
}

// runner is what Run has to do.
type runner struct {
	pool      *Pool
	wg        sync.WaitGroup
	checks    map[*Server]*check
	resolveAt time.Time
	resolved  []string // the names that were
	resolving atomic.Bool
	failed    atomic.Bool // a name could not be
}

// check is the next one of a server.
type check struct {
	at   time.Time
	busy atomic.Bool // with the one before
}

// step does what is due at now, in goroutines, and says when there is more.
func (r *runner) step(ctx context.Context, now time.Time) (next time.Time) {
	cfg := r.pool.set.Load().cfg
	next = now.Add(time.Hour)
	if names := r.pool.names(); len(names) > 0 {
		if !slices.Equal(names, r.resolved) {
			r.resolveAt = now
		} else if r.failed.Swap(false) {
			r.resolveAt = earlier(r.resolveAt, now.Add(resolveRetry))
		}
		if !now.Before(r.resolveAt) && r.resolving.CompareAndSwap(false, true) {
			r.resolved, r.resolveAt = names, r.pool.around(now, cfg.Resolve)
			r.wg.Go(func() {
				defer r.resolving.Store(false)
				if r.pool.Resolve(ctx, now) != nil { // counted there
					r.failed.Store(true)
					r.pool.wake()
				}
			})
		}
		next = earlier(next, later(r.resolveAt, now.Add(time.Second)))
	}
	if cfg.Health.Interval == 0 {
		clear(r.checks)
		return next
	}
	members := r.pool.members()
	for s := range r.checks {
		if !slices.Contains(members, s) {
			delete(r.checks, s)
		}
	}
	for _, s := range members {
		c := r.checks[s]
		if c == nil || c.at.Sub(now) > cfg.Health.Interval*11/10 { // the interval was longer
			// The first ones are spread over an interval, and stay so.
			at := now.Add(time.Duration(r.pool.env.Random() % uint64(cfg.Health.Interval))) //nolint:gosec // below an hour
			if c == nil {
				c = &check{}
				r.checks[s] = c
			}
			c.at = at
		}
		if !now.Before(c.at) {
			c.at = r.pool.around(now, cfg.Health.Interval)
			r.start(ctx, s, c, cfg.Health)
		}
		next = earlier(next, c.at)
	}
	return next
}

// start starts a check, if the one before is over.
func (r *runner) start(ctx context.Context, s *Server, c *check, h Health) {
	if !c.busy.CompareAndSwap(false, true) {
		return
	}
	if h.Host == "" {
		h.Host = s.Name()
	}
	r.wg.Go(func() {
		defer c.busy.Store(false)
		probe, cancel := context.WithTimeout(ctx, h.Timeout)
		err := r.pool.env.Prober.Probe(probe, s.address, h)
		cancel()
		if ctx.Err() == nil {
			r.pool.checked(s, r.pool.at(time.Now()), err)
		}
	})
}

// around is an interval from now, give or take a tenth of it.
func (p *Pool) around(now time.Time, interval time.Duration) time.Time {
	tenth := interval / 10
	return now.Add(interval - tenth + time.Duration(p.env.Random()%uint64(2*tenth+1))) //nolint:gosec // below an hour
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// members are the servers there are.
func (p *Pool) members() []*Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.servers)
}

// checked takes the end of a check: nil, or why it failed.
func (p *Pool) checked(s *Server, at int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.servers, s) {
		return
	}
	c, ok := &s.control, err == nil
	c.lastCheck = ""
	if !ok {
		c.lastCheck = err.Error()
		p.counters.ChecksFailed++
	}
	first := !c.checked
	c.checked = true
	if ok == c.up {
		c.streak = 0
		return
	}
	c.streak++
	need := p.cfg.Health.Fall
	if ok {
		need = p.cfg.Health.Rise
	}
	if !first && c.streak < need {
		return
	}
	c.up, c.streak = ok, 0
	p.dirty = true
	if ok {
		p.slowStart(s, at)
	}
	p.advance(at)
}
