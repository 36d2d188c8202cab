package way

import (
	"net/http"
	"net/netip"

	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/gateway/upstream"
)

// Generation is what is served by. A reload makes another one; requests end by the one that they began with.
type Generation struct {
	Rules *policy.Rules

	upstreams []*Upstream // by the number of a route
}

// NewGeneration returns one whose routes go to the upstreams that they name.
func NewGeneration(rules *policy.Rules, upstreams map[string]*Upstream) *Generation {
	g := &Generation{Rules: rules}
	for _, r := range rules.Routes() {
		g.upstreams = append(g.upstreams, upstreams[r.Upstream])
	}
	return g
}

// Upstream is where a route of the rules goes.
func (g *Generation) Upstream(r *policy.Route) *Upstream { return g.upstreams[r.Number()] }

// Hooks are who is told of requests. Any may be nil. On event loops they are called by the loops, and must not wait.
type Hooks struct {
	// Observe is told of each request that has ended; the record is lent.
	Observe func(*access.Record)
	// Decided is told of each decision, while the request waits: of a refused one, and of one that is sent on.
	Decided func(now uint64, x *policy.Exchange, o policy.Outcome, remote netip.AddrPort)
	// Bind is told which conn is of which identity, under which class of quotas, when a request on it is the first of that one; Unbind that
	// a conn that was bound has ended. Conns of proxies are nobody's.
	Bind   func(local, remote netip.AddrPort, identity, class string)
	Unbind func(local, remote netip.AddrPort)
	// Trace is told of each request that is decided, before Decided, and may begin its Trace; trusted says that the conn is a trusted
	// proxy's. Both are lent.
	Trace func(r *access.Record, f policy.Fields, trusted bool)
}

// IsIdempotent reports whether doing it twice is as doing it once: RFC 9110, section 9.2.2.
func IsIdempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// HashKey is by what a pool that balances by hash tells clients apart.
func HashKey(x *policy.Exchange) uint64 {
	if x.Identity != "" {
		return upstream.HashKey(x.Identity)
	}
	a := x.Client.As16()
	return upstream.HashKey(a[:])
}
