package replay

import (
	"fmt"
	"slices"

	"weir/gateway/policy"
	"weir/ratelimit"
	"weir/ratelimit/local"
)

// world is rules under which requests are decided, on the clock of the logs.
type world struct {
	rules     *policy.Rules
	store     *local.Store
	consumers map[string]*policy.Consumer
	policies  []policy.Policy
}

// onlyRoute is the route of a replay without routes.
const onlyRoute = "all"

// base are the rules without what a log says better: credentials, the length of bodies, the strain of a host.
func (c *Config) base() policy.Config {
	r := c.Rules
	r.MaxInFlight = 0
	r.Routes = slices.Clone(r.Routes)
	if len(r.Routes) == 0 {
		r.Routes = []policy.Route{{Name: onlyRoute}}
	}
	for i := range r.Routes {
		at := &r.Routes[i]
		at.Auth, at.MaxBody, at.Tell = policy.AuthNone, -1, policy.TellNone
		if at.Upstream == "" {
			at.Upstream = onlyRoute
		}
	}
	r.Consumers = slices.Clone(r.Consumers)
	for i := range r.Consumers {
		r.Consumers[i].Keys = nil
	}
	return r
}

// names reports whether a route or a plan names a policy.
func names(r *policy.Config, name string) bool {
	return slices.ContainsFunc(r.Routes, func(at policy.Route) bool { return slices.Contains(at.Policies, name) }) ||
		slices.ContainsFunc(r.Plans, func(at policy.Plan) bool { return slices.Contains(at.Policies, name) })
}

// rulesWith are the rules in which a policy holds and another one, which may be empty, does not: in its place the policy holds too, if
// takes says so. A policy that is named nowhere then holds for all routes.
func (c *Config) rulesWith(put policy.Policy, out string, takes bool) policy.Config {
	r := c.base()
	put.Shadow, put.Shared = false, false
	kept := map[string]bool{}
	r.Policies = []policy.Policy{put}
	for _, p := range c.Rules.Policies {
		if name := p.Quota.Name; name != put.Quota.Name && name != out && !p.Shadow && !c.Alone {
			p.Shared = false
			kept[name] = true
			r.Policies = append(r.Policies, p)
		}
	}
	held := false
	list := func(from []string) (to []string) {
		for _, name := range from {
			switch {
			case name == put.Quota.Name, name == out && takes:
				held = true
				if !slices.Contains(to, put.Quota.Name) {
					to = append(to, put.Quota.Name)
				}
			case kept[name], name != out && !named(c.Rules.Policies, name): // the latter is a mistake, which policy.New tells of
				to = append(to, name)
			}
		}
		return to
	}
	r.Plans = slices.Clone(r.Plans)
	for i := range r.Plans {
		r.Plans[i].Policies = list(r.Plans[i].Policies)
	}
	for i := range r.Routes {
		r.Routes[i].Policies = list(r.Routes[i].Policies)
	}
	for i := range r.Routes {
		if !held {
			r.Routes[i].Policies = append(r.Routes[i].Policies, put.Quota.Name)
		}
	}
	return r
}

func named(all []policy.Policy, name string) bool {
	return slices.ContainsFunc(all, func(p policy.Policy) bool { return p.Quota.Name == name })
}

// worlds are that of the candidate, and that of what it is compared with, nil if that is the log.
func (c *Config) worlds() (candidate, live *policy.Config) {
	out := ""
	if c.Beside != nil {
		out = c.Beside.Quota.Name
	}
	r := c.rulesWith(c.Candidate, out, true)
	if c.Beside == nil {
		return &r, nil
	}
	base := c.base()
	other := c.rulesWith(*c.Beside, c.Candidate.Quota.Name, !names(&base, out))
	return &r, &other
}

// newWorld makes a world. Claims are read from fields of the log, so parts of keys that are claims become headers.
func newWorld(r *policy.Config, clients int) (*world, error) {
	w := &world{consumers: map[string]*policy.Consumer{}, policies: slices.Clone(r.Policies)}
	cfg := *r
	cfg.Policies = slices.Clone(r.Policies)
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		p.Key = slices.Clone(p.Key)
		for j, part := range p.Key {
			if part.Kind == policy.KeyClaim {
				p.Key[j] = policy.KeyPart{Kind: policy.KeyField, Name: part.String()}
			}
		}
	}
	var err error
	if w.store, err = local.New(local.Config{Clients: max(1024, clients)}); err != nil {
		return nil, err
	}
	if w.rules, err = policy.New(cfg, policy.Deps{Local: w.store, Flight: &policy.Flight{}}); err != nil {
		return nil, err
	}
	for i := range r.Consumers {
		w.consumers[r.Consumers[i].Name] = &r.Consumers[i]
	}
	return w, nil
}

// decide has the rules decide about a request, which is from who the log says.
func (w *world) decide(now uint64, q *policy.Request, identity string, x *policy.Exchange) policy.Outcome {
	if o := w.rules.Open(now, q, x); o != policy.Admitted {
		return o
	}
	x.Identity, x.Consumer = identity, w.consumers[identity]
	return x.Decide()
}

// counts reports whether a policy of the world counts in a unit.
func (w *world) counts(units ...ratelimit.Unit) bool {
	return w != nil && slices.ContainsFunc(w.policies, func(p policy.Policy) bool { return slices.Contains(units, p.Quota.Unit) })
}

// describe is a policy in words.
func describe(p policy.Policy) string {
	q := p.Quota
	text := q.Rate.String()
	switch q.Unit {
	case ratelimit.UnitContentBytes:
		text = fmt.Sprintf("%d bytes/%v", q.Bytes.Bytes, q.Bytes.Per)
	case ratelimit.UnitConcurrentRequests:
		text = fmt.Sprintf("%d at once", q.Burst)
	}
	if q.Burst > 0 && q.Unit != ratelimit.UnitConcurrentRequests {
		text += fmt.Sprintf(", burst %d", q.Burst)
	}
	text += ", key " + describeKey(p.Key)
	if q.Unit != ratelimit.UnitConcurrentRequests {
		text += ", " + q.Algorithm.String()
	}
	return text
}

func describeKey(parts []policy.KeyPart) (text string) {
	for i, part := range parts {
		if i > 0 {
			text += "+"
		}
		text += part.String()
	}
	if text == "" {
		return "address"
	}
	return text
}
