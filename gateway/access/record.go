package access

import (
	"net/netip"
	"strings"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"
)

// Record is a request that has ended.
type Record struct {
	// Shard spreads what is counted: requests that end at a time on several CPUs best have several. Any number.
	Shard uint32
	// Begun is when its head had come.
	Begun   time.Time
	Outcome policy.Outcome
	// Route is the route's name, empty without one, and RoutePath the path that it is for.
	Route, RoutePath string
	// Status is that of the answer, 0 if there was none: the client or the upstream has gone.
	Status int
	// Cut says that the answer was not sent whole, Gone that it is since the client has gone, or did not take it.
	Cut, Gone bool
	// Method, Host, Path and Proto are as they came; Path is without the query, where secrets are.
	Method, Host, Path, Proto string
	// TLS says that it came over TLS.
	TLS                bool
	Client             netip.Addr
	Identity           string
	RequestID, TraceID string
	// Trace is what it is traced as.
	Trace Trace
	// Received and Sent are the bytes of the bodies that have moved.
	Received, Sent int64
	// Total is the time from the head to the end of the answer, Upstream that until the answer's head came from the server, 0 without
	// one, Added that which the gateway itself took until it sent the answer's head on.
	Total, Upstream, Added time.Duration
	// Server is the address of the one that answered, after so many attempts.
	Server   string
	Attempts int
	// Tries are those attempts, of a request that is sampled.
	Tries []Try
	// Err says what went wrong on the way to the upstream.
	Err error
	// Policies are those that were asked.
	Policies []Asked
}

// Asked is what a policy said.
type Asked struct {
	Name    string
	Shadow  bool
	Allowed bool
}

// SetDecision notes what was decided, by whom and of whom, in the memory that r has.
func (r *Record) SetDecision(o policy.Outcome, x *policy.Exchange) {
	r.Outcome, r.Client, r.Identity = o, x.Client, x.Identity
	if x.Route != nil {
		r.Route, r.RoutePath = x.Route.Name, strings.TrimPrefix(x.Route.Path, "=")
	}
	r.Policies = r.Policies[:0]
	for i := range x.Held() {
		var d ratelimit.Decision
		a := Asked{}
		a.Name, a.Shadow, d = x.At(i)
		a.Allowed = d.Allowed
		r.Policies = append(r.Policies, a)
	}
}

// Limited are the names of the policies that refused, or, with shadow, of those that would have.
func (r *Record) Limited(shadow bool) (names []string) {
	for _, p := range r.Policies {
		if !p.Allowed && p.Shadow == shadow {
			names = append(names, p.Name)
		}
	}
	return names
}

// Failed reports whether the upstream, or the way to it, failed the client: an answer of 500 or above to a request that was
// admitted, or none, or half of one. A client that goes by itself was not failed.
func (r *Record) Failed() bool {
	return r.Outcome == policy.Admitted && !r.Gone && (r.Status == 0 || r.Status >= 500 || r.Cut)
}
