package policy

import (
	"net/netip"
	"slices"

	"weir/ratelimit"
)

// Explained is what a policy says of a client, on routes that ask it.
type Explained struct {
	Policy string
	// Routes are those on which it is asked, of the client's plan Plan if that has it.
	Routes []string
	Plan   string
	// Open are the parts of its key that only a request has, such as a header: then there is no Decision.
	Open   []string
	Shadow bool
	// Shared says that it is in the store that gateways share, which is not asked here.
	Shared   bool
	Limit    *ratelimit.Limit
	Decision ratelimit.Decision
}

// Explain is what each policy that may hold says of a client at now, ticks, without charging it: of an address, and of an
// identity unless it is empty.
func (r *Rules) Explain(now uint64, client netip.Addr, identity string) (all []Explained) {
	x := &Exchange{Client: client, Identity: identity, Consumer: r.consumers.byName[identity], request: &Request{Fields: noFields{}}}
	plan := r.planOf(x)
	byName := map[string]int{}
	for _, route := range r.routes {
		set := route.setOf(plan)
		for _, p := range set.policies {
			name := p.Quota.Name
			at, known := byName[name]
			if !known || hasRoute(p) {
				at = len(all)
				byName[name] = at
				all = append(all, r.explain(now, x, route, p))
			} else {
				all[at].Routes = append(all[at].Routes, route.Name)
			}
			if plan != nil && all[at].Plan == "" && slices.Contains(plan.policies, p) {
				all[at].Plan = plan.name
			}
		}
	}
	return all
}

func (r *Rules) explain(now uint64, x *Exchange, route *Route, p *compiled) Explained {
	x.Route = route
	e := Explained{Policy: p.Quota.Name, Routes: []string{route.Name}, Shadow: p.Shadow, Shared: p.Shared, Limit: p.limit}
	var key []byte
	for i := range p.Key {
		part := &p.Key[i]
		var ok bool
		switch {
		case part.Kind == KeyField || part.Kind == KeyClaim, part.Kind == KeyAddress && !x.Client.IsValid():
			e.Open = append(e.Open, part.String())
			continue
		}
		if key, ok = part.appendTo(key, x); !ok {
			if p.Missing != MissingAddress || !x.Client.IsValid() {
				e.Open = append(e.Open, part.String())
				continue
			}
			key = appendAddress(nil, x.Client, DefaultIPv4Bits, DefaultIPv6Bits)
			break
		}
	}
	if len(e.Open) == 0 && !p.Shared {
		e.Decision = r.deps.Local.Peek(now, &ratelimit.Check{Limit: p.limit, Key: key, Cost: 1})
		if e.Decision.Allowed { // of one that does not come
			e.Decision.Remaining++
		}
	}
	return e
}

func hasRoute(p *compiled) bool {
	return slices.ContainsFunc(p.Key, func(part KeyPart) bool { return part.Kind == KeyRoute })
}

// noFields is a request of which nothing is known.
type noFields struct{}

// At implements [Fields].
func (noFields) At(string, int) (string, bool) { return "", false }
