package access

import (
	"net/netip"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"
)

// Record is a request that has ended.
type Record struct {
	// Begun is when its head had come.
	Begun   time.Time
	Outcome policy.Outcome
	// Route is the route's name, empty without one.
	Route string
	// Status is that of the answer, 0 if there was none: the client or the upstream has gone.
	Status int
	// Method, Host, Path and Proto are as they came; Path is without the query, where secrets are.
	Method, Host, Path, Proto string
	Client                    netip.Addr
	Identity                  string
	RequestID, TraceID        string
	// Received and Sent are the bytes of the bodies that have moved.
	Received, Sent int64
	// Total is the time from the head to the end of the answer, Upstream that until the answer's head came from the server, 0 without
	// one, Added that which the gateway itself took until it sent the answer's head on.
	Total, Upstream, Added time.Duration
	// Server is the address of the one that answered, after so many attempts.
	Server   string
	Attempts int
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

// SetPolicies notes what the policies of an exchange said, in the memory that r has.
func (r *Record) SetPolicies(x *policy.Exchange) {
	r.Policies = r.Policies[:0]
	for i := range x.Held() {
		var d ratelimit.Decision
		a := Asked{}
		a.Name, a.Shadow, d = x.At(i)
		a.Allowed = d.Allowed
		r.Policies = append(r.Policies, a)
	}
}
