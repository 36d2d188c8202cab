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
	l.lines = c.appendForwarded(l.lines[:0])
	c.hideFromUpstream()
	l.onward = http1.Onward{Without: l.without, Lines: l.lines, Framing: e.req.Framing(), Length: e.req.ContentLength, Upgrade: e.req.Upgrade != nil}
	if !route.KeepHost {
		l.host = append(l.host[:0], e.server.Name()...)
		l.onward.Host = l.host
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

// appendForwarded appends the lines that tell the upstream who the client is. What of them is a client's own was parsed, so that it
// has no line ends.
func (c *client) appendForwarded(b []byte) []byte {
	e := c.ex
	b = append(b, "X-Forwarded-For: "...)
	proto, host := plain, e.req.Host
	if e.x.Trusted() {
		for i := range e.req.Fields {
			if f := &e.req.Fields[i]; len(f.Value) > 0 && foldEqual(f.Name, "X-Forwarded-For") {
				b = append(append(b, f.Value...), ", "...)
			}
		}
		if v, ok := e.req.Get("X-Forwarded-Proto"); ok && len(v) > 0 {
			proto = v
		}
		if v, ok := e.req.Get("X-Forwarded-Host"); ok && len(v) > 0 {
			host = v
		}
	}
	start := len(b)
	b = c.peer.Addr().AppendTo(b)
	peer := b[start:]
	b = append(append(b, "\r\nX-Forwarded-Proto: "...), proto...)
	b = append(append(b, "\r\nX-Forwarded-Host: "...), host...)
	b = append(b, "\r\nX-Real-Ip: "...)
	if e.x.Client == c.peer.Addr() {
		b = append(b, peer...)
	} else {
		b = e.x.Client.AppendTo(b)
	}
	b = append(append(b, "\r\nX-Request-Id: "...), e.id()...)
	if e.rec.Trace.On() {
		b = append(append(b, "\r\ntraceparent: "...), e.rec.Trace.Parentage()...)
	}
	if e.x.Identity != "" {
		b = append(append(append(b, "\r\n"...), c.l.server.cfg.IdentityField...), ": "...)
		b = append(b, policy.FieldSafe(e.x.Identity)...)
	}
	return append(b, "\r\n"...)
}

var plain = []byte("http")
