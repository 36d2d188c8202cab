package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"weir/ratelimit"
	"weir/ratelimit/fields"
	"weir/ratelimit/local"
)

// Shared is the store of the quotas that gateways share: ratelimit/redis's Store is one.
type Shared interface {
	// Limit is the policy of a name, nil if the store does not have it.
	Limit(name string) *ratelimit.Limit
	// Take decides about a request, and may wait. The error says that the store is gone, and each policy did what
	// it does then.
	Take(ctx context.Context, checks []ratelimit.Check, out []ratelimit.Decision) (allowed bool, err error)
	// Charge takes a cost that is known only now.
	Charge(ctx context.Context, checks []ratelimit.Check) error
}

// Deps are what rules decide with.
type Deps struct {
	// Local keeps the quotas of this process.
	Local *local.Store
	// Shared keeps the others; nil if no policy is shared.
	Shared Shared
	// Tokens checks tokens; nil if there are none.
	Tokens Tokens
	// Flight counts the requests that are served.
	Flight *Flight
}

// Rules are a configuration, compiled. They do not change, and may be used from any goroutine.
type Rules struct {
	cfg       Config
	deps      Deps
	table     *table
	routes    []*Route
	plans     map[string]*plan
	anonymous *plan
	standard  *plan
	consumers struct {
		byName map[string]*Consumer
		byKey  map[[32]byte]*Consumer
	}
	policies map[string]*compiled
	claims   *claimCache
}

// compiled is a policy with its limit.
type compiled struct {
	Policy
	limit *ratelimit.Limit
	body  []byte // of a refusal by it alone
}

// plan is a plan's policies, and what each route adds to them.
type plan struct {
	name     string
	policies []*compiled
}

// set are the policies that a request is charged to, those of this process first.
type set struct {
	policies []*compiled
	local    int
	told     []byte // the line RateLimit-Policy, if all of them are asked
}

// New compiles a configuration. The error is all that is wrong with it, joined.
func New(cfg Config, deps Deps) (*Rules, error) {
	r := &Rules{cfg: cfg.withDefaults(), deps: deps}
	if deps.Tokens != nil {
		r.claims = newClaimCache()
	}
	var errs []error
	errs = append(errs, r.compilePolicies(), r.compilePlans(), r.compileConsumers())
	open := len(cfg.Consumers) == 0 && deps.Tokens == nil
	for i := range cfg.Routes {
		route := cfg.Routes[i].withDefaults(open)
		r.routes = append(r.routes, &route)
	}
	errs = append(errs, r.compileRoutes())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Rules) compilePolicies() error {
	var errs []error
	r.policies = map[string]*compiled{}
	if len(r.cfg.Policies) > MaxPolicies {
		errs = append(errs, fmt.Errorf("policies has %d: want at most %d", len(r.cfg.Policies), MaxPolicies))
	}
	for _, p := range r.cfg.Policies {
		name := p.Quota.Name
		if err := fields.CheckName(name); err != nil {
			errs = append(errs, fmt.Errorf("policies: %w", err))
			continue
		}
		if r.policies[name] != nil {
			errs = append(errs, fmt.Errorf("policies.%s is there twice: keep one", name))
			continue
		}
		c := &compiled{Policy: p.withDefaults()}
		var err error
		if c.limit, err = p.Quota.Compile(); err != nil {
			errs = append(errs, fmt.Errorf("policies.%s: %w", name, err))
			continue
		}
		if p.Shared {
			c.limit = nil
			if r.deps.Shared != nil {
				c.limit = r.deps.Shared.Limit(name)
			}
			if c.limit == nil {
				errs = append(errs, fmt.Errorf("policies.%s is shared, and there is no store for it: set gateway.redis, or store: local", name))
				continue
			}
		}
		c.body = fields.AppendProblem(nil, fields.QuotaExceeded, Limited.Status(), []ratelimit.Check{{Limit: c.limit}}, []ratelimit.Decision{{}})
		r.policies[name] = c
	}
	return errors.Join(errs...)
}

// named are the policies of some names.
func (r *Rules) named(names []string) (all []*compiled, err error) {
	var errs []error
	for _, name := range names {
		p := r.policies[name]
		switch {
		case p == nil && !slices.ContainsFunc(r.cfg.Policies, func(p Policy) bool { return p.Quota.Name == name }):
			errs = append(errs, fmt.Errorf("there is no policy %q", name))
		case p != nil && !slices.Contains(all, p):
			all = append(all, p)
		}
	}
	return all, errors.Join(errs...)
}

func (r *Rules) compilePlans() error {
	var errs []error
	r.plans = map[string]*plan{}
	for _, p := range r.cfg.Plans {
		if r.plans[p.Name] != nil || p.Name == "" {
			errs = append(errs, fmt.Errorf("plans.%s is there twice, or has no name: keep one", p.Name))
			continue
		}
		policies, err := r.named(p.Policies)
		if err != nil {
			errs = append(errs, fmt.Errorf("plans.%s: %w", p.Name, err))
		}
		r.plans[p.Name] = &plan{p.Name, policies}
	}
	for _, d := range []struct {
		key, name string
		to        **plan
	}{{"anonymous_plan", r.cfg.AnonymousPlan, &r.anonymous}, {"default_plan", r.cfg.DefaultPlan, &r.standard}} {
		if d.name == "" {
			continue
		}
		if *d.to = r.plans[d.name]; *d.to == nil {
			errs = append(errs, fmt.Errorf("%s is %q: want the name of a plan", d.key, d.name))
		}
	}
	return errors.Join(errs...)
}

func (r *Rules) compileConsumers() error {
	var errs []error
	r.consumers.byName, r.consumers.byKey = map[string]*Consumer{}, map[[32]byte]*Consumer{}
	if len(r.cfg.Consumers) > MaxConsumers {
		errs = append(errs, fmt.Errorf("consumers has %d: want at most %d", len(r.cfg.Consumers), MaxConsumers))
	}
	for i := range r.cfg.Consumers {
		c := &r.cfg.Consumers[i]
		if c.Name == "" || r.consumers.byName[c.Name] != nil {
			errs = append(errs, fmt.Errorf("consumers.%s is there twice, or has no name: keep one", c.Name))
			continue
		}
		r.consumers.byName[c.Name] = c
		if c.Plan != "" && r.plans[c.Plan] == nil {
			errs = append(errs, fmt.Errorf("consumers.%s: plan is %q: want the name of a plan", c.Name, c.Plan))
		}
		for _, key := range c.Keys {
			if other := r.consumers.byKey[key]; other != nil {
				errs = append(errs, fmt.Errorf("consumers.%s has the same API key as %s: give each its own", c.Name, other.Name))
			}
			r.consumers.byKey[key] = c
		}
	}
	return errors.Join(errs...)
}

func (r *Rules) compileRoutes() error {
	var errs []error
	names := map[string]bool{}
	if len(r.routes) > MaxRoutes {
		errs = append(errs, fmt.Errorf("routes has %d: want at most %d", len(r.routes), MaxRoutes))
	}
	for i, at := range r.routes {
		errs = append(errs, at.validate())
		if names[at.Name] {
			errs = append(errs, fmt.Errorf("routes.%s is there twice: keep one", at.Name))
		}
		names[at.Name] = true
		own, err := r.named(at.Policies)
		if err != nil {
			errs = append(errs, fmt.Errorf("routes.%s: %w", at.Name, err))
		}
		at.number, at.sets, at.plain = i, map[*plan]*set{}, newSet(own, nil)
		for _, p := range r.plans {
			if at.sets[p] = newSet(own, p.policies); len(at.sets[p].policies) > MaxChecks {
				errs = append(errs, fmt.Errorf("routes.%s with plan %s has %d policies: want at most %d", at.Name, p.name, len(at.sets[p].policies), MaxChecks))
			}
		}
		if len(own) > MaxChecks {
			errs = append(errs, fmt.Errorf("routes.%s has %d policies: want at most %d", at.Name, len(own), MaxChecks))
		}
	}
	var err error
	r.table, err = newTable(r.routes)
	return errors.Join(append(errs, err)...)
}

// setOf are the policies of a route for who has a plan, or none.
func (r *Route) setOf(p *plan) *set {
	if p == nil {
		return r.plain
	}
	return r.sets[p]
}

func newSet(own, plan []*compiled) *set {
	all := slices.Clone(own)
	for _, p := range plan {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b *compiled) int {
		switch {
		case a.Shared == b.Shared:
			return 0
		case b.Shared:
			return -1
		}
		return 1
	})
	s := &set{policies: all, local: len(all)}
	if i := slices.IndexFunc(all, func(c *compiled) bool { return c.Shared }); i >= 0 {
		s.local = i
	}
	s.told = appendPolicies(nil, all)
	return s
}

// Routes are the routes, with their defaults.
func (r *Rules) Routes() []*Route { return r.routes }

// ClaimNames are the claims that keys of policies are made of.
func (c Config) ClaimNames() (names []string) {
	for _, p := range c.Policies {
		for _, part := range p.Key {
			if part.Kind == KeyClaim && !slices.Contains(names, part.Name) {
				names = append(names, part.Name)
			}
		}
	}
	return names
}

// Config is what they were compiled from, with defaults.
func (r *Rules) Config() Config { return r.cfg }
