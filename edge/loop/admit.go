package loop

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"weir/edge/admit"
	"weir/edge/proxyproto"
)

const (
	textPrefixFull = "your network holds all the connections to this edge that it may: close one, or try again later"
	textPrefixRate = "your network opens connections to this edge faster than it may: try again after the seconds in Retry-After"
	textRate       = "this edge takes in no more connections at once: try again after the seconds in Retry-After, or another edge"
)

var errPrefixFull = &httpError{status: http.StatusTooManyRequests, text: textPrefixFull, header: retryAfter("5")}

// refusals are the reasons of what the gate does not let in.
var refusals = [...]CloseReason{
	admit.OverConns:      ReasonRefusedPrefix,
	admit.OverPrefixRate: ReasonRefusedPrefixRate,
	admit.OverRate:       ReasonRefusedRate,
}

// admit asks the gate about a conn whose client is known, and refuses it if that says no.
func (l *loop) admit(c *conn) {
	verdict, wait := l.server.gate.Admit(c.address(), admit.Ticks(time.Since(l.server.start)))
	switch verdict {
	case admit.Admitted:
		c.admitted = true
	case admit.OverConns:
		l.refuse(c, refusals[verdict], errPrefixFull)
	case admit.OverPrefixRate:
		l.refuse(c, refusals[verdict], &httpError{status: http.StatusTooManyRequests, text: textPrefixRate, header: retryAfter(seconds(wait))})
	case admit.OverRate:
		l.refuse(c, refusals[verdict], &httpError{status: http.StatusServiceUnavailable, text: textRate, header: retryAfter(seconds(wait))})
	}
}

// seconds is a time as Retry-After has it: whole, rounded up, at least 1.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// address is what the limits of a conn hold for. It is the same for as long as the conn is counted,
// so that nothing has to be kept to give its place back.
func (c *conn) address() netip.Addr { return c.client().Addr().WithZone("") }

// isProxy reports whether conns of an address begin with a PROXY header.
func (c *Config) isProxy(a netip.Addr) bool {
	return slices.ContainsFunc(c.ProxyProtocol, func(p netip.Prefix) bool { return p.Contains(a) })
}

// proxyClient is whom a PROXY header names; IPv4 where it is mapped.
func proxyClient(h proxyproto.Header) netip.AddrPort {
	return netip.AddrPortFrom(h.Source.Addr().Unmap(), h.Source.Port())
}

// readProxyHeader learns from a PROXY header whom the conn is for, and goes on to its request. What
// is no header gets no answer: who sent it is a proxy, and its client would take it for our own.
func (c *conn) readProxyHeader() {
	buffered := c.buffered()
	if buffered == 0 || buffered < int(c.need) {
		return
	}
	b := c.peek()[:min(buffered, proxyproto.MaxBytes)]
	h, n, err := proxyproto.Parse(b)
	if errors.Is(err, proxyproto.ErrShort) {
		c.need = uint32(n) //nolint:gosec // MaxBytes at most
		return
	}
	if err != nil {
		c.abort(ReasonBadProxyHeader)
		return
	}
	c.discard(n)
	c.need = 0
	if h.Source.IsValid() {
		c.loop.proxied[c] = proxyClient(h)
		c.aside |= asideClient
	}
	c.state = stateHead
	if c.loop.admit(c); c.state == stateHead {
		c.readHead()
	}
}
