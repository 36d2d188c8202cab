package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/ratelimit"
)

// Shown is a picture of a Server, for an API.
type Shown struct {
	Conns    int             `json:"conns"`
	InFlight int             `json:"in_flight"`
	Reloads  uint64          `json:"reloads"`
	Rejected uint64          `json:"reloads_rejected"`
	Recent   access.Recent   `json:"recent"` // of all routes together
	Routes   []ShownRoute    `json:"routes"`
	Upstream []ShownUpstream `json:"upstreams"`
	Policies []ShownPolicy   `json:"policies"`
}

// ShownRoute is a route.
type ShownRoute struct {
	Name     string   `json:"name"`
	Hosts    []string `json:"hosts"`
	Path     string   `json:"path"`
	Methods  []string `json:"methods,omitempty"`
	Upstream string   `json:"upstream"`
	Policies []string `json:"policies,omitempty"`
	Auth     string   `json:"auth"`
	Priority string   `json:"priority"`

	Recent access.Recent `json:"recent"`
}

// ShownPolicy is a policy.
type ShownPolicy struct {
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Key    string `json:"key"`
	Shadow bool   `json:"shadow,omitempty"`
	Shared bool   `json:"shared,omitempty"`
	// Decisions are those so far, by result.
	Decisions map[string]uint64 `json:"decisions"`
	// Bound is what of a shared policy may be let through beyond it, as its store says; nil without one.
	Bound any `json:"bound,omitempty"`
}

// ShownUpstream is a pool of servers.
type ShownUpstream struct {
	Name    string        `json:"name"`
	Servers []ShownServer `json:"servers"`
}

// ShownServer is one of them.
type ShownServer struct {
	Address        string  `json:"address"`
	State          string  `json:"state"`
	InFlight       int     `json:"in_flight"`
	Ejections      uint64  `json:"ejections"`
	LatencySeconds float64 `json:"latency_seconds"`
	LastCheck      string  `json:"last_check,omitempty"`
}

// Conns is how many conns are held.
func (s *Server) Conns() int { return int(s.conns.n.Load()) }

// Show is what the server is.
func (s *Server) Show() Shown {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	out := Shown{
		Conns: s.Conns(), InFlight: s.flight.InFlight(), Reloads: s.reloads[0].Load(), Rejected: s.reloads[1].Load(),
		Routes: []ShownRoute{}, Policies: []ShownPolicy{}, Upstream: []ShownUpstream{},
	}
	now := time.Now()
	recent, routes := s.metrics.Recent(now)
	out.Recent = recent
	for _, r := range s.now.rules.Routes() {
		out.Routes = append(out.Routes, ShownRoute{r.Name, r.Hosts, r.Path, r.Methods, r.Upstream, r.Policies, r.Auth.String(), r.Priority.String(), routes[r.Name]})
	}
	for _, p := range s.now.rules.Config().Policies {
		shown := shownPolicy(p)
		shown.Decisions = s.metrics.Decisions(p.Quota.Name)
		if p.Shared && s.now.bound != nil {
			shown.Bound = s.now.bound(p.Quota.Name)
		}
		out.Policies = append(out.Policies, shown)
	}
	for name, p := range s.now.pools {
		u := ShownUpstream{Name: name}
		for _, status := range p.Status(now) {
			u.Servers = append(u.Servers, ShownServer{
				status.Address, status.State.String(), status.InFlight, status.Ejections, status.Latency.Seconds(), status.LastCheck,
			})
		}
		out.Upstream = append(out.Upstream, u)
	}
	slices.SortFunc(out.Upstream, func(a, b ShownUpstream) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// ShownClient is what a policy says of a client.
type ShownClient struct {
	Policy string   `json:"policy"`
	Plan   string   `json:"plan,omitempty"`
	Routes []string `json:"routes"`
	Shadow bool     `json:"shadow,omitempty"`
	Shared bool     `json:"shared,omitempty"` // with other gateways: what is left is theirs too, and not told
	// Open are what of its key only a request has.
	Open      []string `json:"open,omitempty"`
	Quota     uint64   `json:"quota"`
	Window    string   `json:"window,omitempty"`
	Remaining uint64   `json:"remaining"`
	Refused   bool     `json:"refused,omitempty"`
	NextIn    string   `json:"next_in,omitempty"`
	FullIn    string   `json:"full_in,omitempty"`
}

// Explain is what the policies say of a client, by its address or its identity.
func (s *Server) Explain(client netip.Addr, identity string) []ShownClient {
	s.reloading.Lock()
	rules := s.now.rules
	s.reloading.Unlock()
	out := []ShownClient{}
	for _, e := range rules.Explain(s.handler.Now(), client, identity) {
		c := ShownClient{Policy: e.Policy, Plan: e.Plan, Routes: e.Routes, Shadow: e.Shadow, Shared: e.Shared, Open: e.Open, Quota: e.Limit.Count()}
		if w := e.Limit.Window(); w > 0 {
			c.Window = w.String()
		}
		if len(e.Open) == 0 && !e.Shared {
			d := e.Decision
			c.Remaining, c.Refused = d.Remaining, !d.Allowed
			if d.RetryAfter > 0 && d.RetryAfter != ratelimit.Never {
				c.NextIn = d.RetryAfter.Round(time.Millisecond).String()
			}
			if d.Reset > 0 {
				c.FullIn = d.Reset.Round(time.Millisecond).String()
			}
		}
		out = append(out, c)
	}
	return out
}

func shownPolicy(p policy.Policy) ShownPolicy {
	parts := make([]string, 0, len(p.Key))
	for _, part := range p.Key {
		parts = append(parts, part.String())
	}
	if len(parts) == 0 {
		parts = append(parts, "address")
	}
	return ShownPolicy{Name: p.Quota.Name, Unit: p.Quota.Unit.String(), Key: strings.Join(parts, ", "), Shadow: p.Shadow, Shared: p.Shared}
}
