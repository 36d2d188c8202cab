package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"weir/gateway/policy"
)

// rewrite is ReverseProxy's Rewrite: what the upstream is asked. RoundTrip names the server.
func (h *Handler) rewrite(p *httputil.ProxyRequest) {
	c, _ := p.In.Context().Value(callKey{}).(*call) //nolint:errcheck // requests come from ServeHTTP alone
	route := c.exchange.Route
	p.Out.URL = target(p.In.URL, c.request.Path, route)
	p.Out.Host = p.In.Host
	fields := p.Out.Header
	h.setForwarded(p, c)
	fields.Del(h.cfg.IdentityField)
	if c.exchange.Identity != "" {
		fields.Set(h.cfg.IdentityField, policy.FieldSafe(c.exchange.Identity))
	}
	if key, bearer, hides := c.exchange.HidesCredentials(); hides {
		fields.Del(key)
		if bearer {
			fields.Del("Authorization")
		}
	}
	fields.Del("Expect") // the body is sent on as it comes, and is asked for by that
	fields.Set("X-Request-Id", c.record.RequestID)
	if t := &c.record.Trace; t.On() {
		fields.Set("Traceparent", string(t.Parentage()))
		if !t.Continued {
			fields.Del("Tracestate")
			fields.Del("Baggage")
		}
	}
	if _, set := fields["User-Agent"]; !set {
		fields.Set("User-Agent", "") // net/http would say its own
	}
}

// target is the URL that is asked for, path and query as they came.
func target(in *url.URL, path string, route *policy.Route) *url.URL {
	u := &url.URL{Scheme: "http", RawQuery: in.RawQuery, ForceQuery: in.ForceQuery}
	if route.StripPath {
		path = policy.StripPath(route, path)
	}
	if decoded, err := url.PathUnescape(path); err == nil && strings.HasPrefix(path, "/") {
		u.Path, u.RawPath = decoded, path
	} else { // of OPTIONS *
		u.Path = path
	}
	return u
}

// setForwarded tells the upstream who the client is. What clients that are no trusted proxies said of it is left out.
func (h *Handler) setForwarded(p *httputil.ProxyRequest, c *call) {
	fields := p.Out.Header
	trusted := c.exchange.Trusted()
	peer := c.request.Peer.Unmap().String()
	proto, host := "http", p.In.Host
	if p.In.TLS != nil {
		proto = "https"
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		fields.Del(name)
	}
	before := ""
	if trusted {
		if before = strings.Join(p.In.Header["X-Forwarded-For"], ", "); before != "" {
			before += ", "
		}
		if v := p.In.Header.Get("X-Forwarded-Proto"); v != "" {
			proto = v
		}
		if v := p.In.Header.Get("X-Forwarded-Host"); v != "" {
			host = v
		}
	}
	fields.Set("X-Forwarded-For", before+peer)
	fields.Set("X-Forwarded-Proto", proto)
	fields.Set("X-Forwarded-Host", host)
	fields.Set("X-Real-Ip", c.exchange.Client.String())
}

var _ http.Handler = (*Handler)(nil)
