package loop

import (
	"net/http"

	"weir/edge/http1"
	"weir/gateway/policy"
)

// appendRequest makes the head that is sent on, in l.out.
func (c *client) appendRequest() bool {
	l, e := c.l, c.ex
	route := e.x.Route
	l.extra = c.appendForwarded(l.extra[:0])
	c.hideFromUpstream()
	l.onward = http1.Onward{Without: l.without, Extra: l.extra, Framing: e.req.Framing(), Length: e.req.ContentLength, Upgrade: e.req.Upgrade != nil}
	if !route.KeepHost {
		l.told = append(l.told[:0], e.server.Name()...)
		l.onward.Host = l.told
	}
	path := e.req.Path
	if route.StripPath {
		e.req.Path = policy.StripPath(route, path)
	}
	out, err := http1.AppendRequestHead(l.out[:0], &e.req, &l.onward)
	e.req.Path = path
	if err != nil {
		e.rec.Err = err
		c.fail(http.StatusBadGateway, "the request cannot be sent on")
		return false
	}
	l.out = out
	return true
}

// hideFromUpstream fills in the last of l.without: what of the request's own fields goes no further.
func (c *client) hideFromUpstream() {
	l, e := c.l, c.ex
	last := l.without[len(l.without)-5:]
	clear(last)
	if key, bearer, hides := e.x.HidesCredentials(); hides {
		last[0] = key
		if bearer {
			last[1] = "Authorization"
		}
	}
	if t := &e.rec.Trace; t.On() {
		last[2] = "traceparent"
		if !t.Continued {
			last[3], last[4] = "tracestate", "baggage"
		}
	}
}

var (
	traceparent    = []byte("traceparent")
	forwardedFor   = []byte("X-Forwarded-For")
	forwardedProto = []byte("X-Forwarded-Proto")
	forwardedHost  = []byte("X-Forwarded-Host")
	realIP         = []byte("X-Real-Ip")
	plain          = []byte("http")
)

// appendForwarded appends what tells the upstream who the client is.
func (c *client) appendForwarded(to []http1.Field) []http1.Field {
	e := c.ex
	proto, host := plain, e.req.Host
	before := e.addresses[0][:0]
	if e.x.Trusted() {
		for _, f := range e.req.Fields {
			if len(f.Name) == len(forwardedFor) && foldEqual(f.Name, "X-Forwarded-For") && len(f.Value) > 0 {
				before = append(append(before, f.Value...), ", "...)
			}
		}
		if v, ok := e.req.Get("X-Forwarded-Proto"); ok && len(v) > 0 {
			proto = v
		}
		if v, ok := e.req.Get("X-Forwarded-Host"); ok && len(v) > 0 {
			host = v
		}
	}
	e.addresses[0] = c.peer.Addr().AppendTo(before)
	e.addresses[1] = e.x.Client.AppendTo(e.addresses[1][:0])
	to = append(to,
		http1.Field{Name: forwardedFor, Value: e.addresses[0]}, http1.Field{Name: forwardedProto, Value: proto},
		http1.Field{Name: forwardedHost, Value: host}, http1.Field{Name: realIP, Value: e.addresses[1]},
		http1.Field{Name: requestIDName, Value: e.id()})
	if e.rec.Trace.On() {
		to = append(to, http1.Field{Name: traceparent, Value: e.rec.Trace.Parentage()})
	}
	if e.x.Identity != "" {
		e.addresses[2] = append(e.addresses[2][:0], policy.FieldSafe(e.x.Identity)...)
		to = append(to, http1.Field{Name: c.l.identityName, Value: e.addresses[2]})
	}
	return to
}
