package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"weir/gateway/policy"
	"weir/gateway/rls"
	"weir/gateway/upstream"
	"weir/gateway/way"
)

// generation is a plan that was compiled.
type generation struct {
	rules     *policy.Rules
	rls       *rls.Rules
	upstreams map[string]*way.Upstream
	pools     map[string]*pool
	closes    func() // the shared store
	bound     func(policy string) any
}

// pool is a pool of servers that runs.
type pool struct {
	*upstream.Pool
	cfg    upstream.Config
	cancel context.CancelFunc
}

func (g *generation) way() *way.Generation {
	return way.NewGeneration(g.rules, g.upstreams)
}

func (g *generation) close() {
	for _, u := range g.upstreams {
		u.Close()
	}
	if g.closes != nil {
		g.closes()
	}
}

// generation compiles a plan. Pools that stay are those of before, which may be nil; nothing of it is changed yet.
func (s *Server) generation(plan Plan, before *generation) (_ *generation, err error) {
	g := &generation{upstreams: map[string]*way.Upstream{}, pools: map[string]*pool{}, bound: plan.Bound}
	var errs []error
	now := time.Now()
	for _, u := range plan.Upstreams {
		name := u.Pool.Name
		if g.upstreams[name] != nil || name == "" {
			errs = append(errs, fmt.Errorf("upstreams.%s is there twice, or has no name: keep one", name))
			continue
		}
		p := &pool{cfg: u.Pool}
		if before != nil && before.pools[name] != nil {
			p.Pool, p.cancel = before.pools[name].Pool, before.pools[name].cancel
			err = u.Pool.Validate()
		} else {
			p.Pool, err = upstream.New(u.Pool, upstream.Env{}, now)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		g.pools[name] = p
		if g.upstreams[name], err = way.NewUpstream(p.Pool, u.How); err != nil {
			errs = append(errs, fmt.Errorf("upstreams.%s: %w", name, err))
		}
	}
	for _, r := range plan.Rules.Routes {
		if r.Upstream != "" && g.upstreams[r.Upstream] == nil {
			errs = append(errs, fmt.Errorf("routes.%s: there is no upstream %q that can be used", r.Name, r.Upstream))
		}
	}
	deps := policy.Deps{Local: s.store, Tokens: plan.Tokens, Flight: s.flight}
	if plan.Shared != nil {
		if deps.Shared, g.closes, err = plan.Shared(); err != nil {
			errs = append(errs, err)
		}
	}
	if g.rules, err = policy.New(plan.Rules, deps); err != nil {
		errs = append(errs, err)
	} else if g.rls, err = rls.New(plan.RLS, g.rules, deps); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		g.close()
		return nil, err
	}
	s.metrics.Expect(g.rules)
	return g, nil
}

// begin has the pools checked and resolved until ctx ends.
func (s *Server) begin(ctx context.Context) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	for _, p := range s.now.pools {
		s.start(ctx, p)
	}
	s.note()
}

func (s *Server) start(ctx context.Context, p *pool) {
	ctx, p.cancel = context.WithCancel(ctx)
	s.running.Go(func() { p.Run(ctx) })
}

func (s *Server) note() {
	pools := map[string]*upstream.Pool{}
	for name, p := range s.now.pools {
		pools[name] = p.Pool
	}
	s.pools.Store(&pools)
}

// Reload has requests that come from now on served by another plan. The error says what is wrong with it, and all stays as it
// was. Servers that are in both keep what is known of them, clients what they owe.
func (s *Server) Reload(ctx context.Context, plan Plan) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	before := s.now
	g, err := s.generation(plan, before)
	if err != nil {
		s.reloads[1].Add(1)
		return err
	}
	for name, p := range g.pools {
		if before.pools[name] == nil {
			continue
		}
		if err := p.Update(p.cfg, time.Now()); err != nil { // it was valid
			panic(err)
		}
	}
	s.now = g
	s.handler.Replace(g.way())
	if s.loops != nil {
		s.loops.Replace(g.way())
	}
	if s.rls != nil {
		s.rls.Replace(g.rls)
	}
	for name, p := range g.pools {
		if before.pools[name] == nil {
			s.start(context.WithoutCancel(ctx), p)
		}
	}
	gone := maps.Clone(before.pools)
	maps.DeleteFunc(gone, func(name string, _ *pool) bool { return g.pools[name] != nil })
	for _, p := range gone {
		if p.cancel != nil {
			p.cancel()
		}
	}
	s.note()
	s.retire(before)
	s.reloads[0].Add(1)
	return nil
}

// Rejected counts a plan that could not even be read, as one that Reload refused.
func (s *Server) Rejected() { s.reloads[1].Add(1) }

// retirement is how long after a reload what it replaced is closed: requests may still be by it.
const retirement = time.Minute

func (s *Server) retire(before *generation) {
	for _, u := range before.upstreams {
		u.Close() // idle conns alone
	}
	if before.closes != nil {
		time.AfterFunc(retirement, before.closes)
	}
}
