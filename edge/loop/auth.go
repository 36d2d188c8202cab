package loop

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/broker"
	"weir/edge/http1"
	"weir/internal/sockets"
	"weir/token"
)

// What a browser, which cannot set Authorization for a WebSocket, offers as subprotocols: one that the answer names,
// without which it would close the conn again, and beside it the token.
const (
	subprotocol      = "weir"
	subprotocolToken = "weir.token." // and the token
)

// closeTokenExpired is a WebSocket's close code, of those that RFC 6455, section 7.4.2, leaves to applications: the
// client is to connect again, with another token.
const closeTokenExpired = 4401

const textTokenExpired = "the token has expired: connect again with a new one"

var expiredEvent = []byte("event: expired\ndata: {\"message\":\"" + textTokenExpired + "\"}\n\n")

// Binder is told which connection is whose, as the kernel may charge an identity for it. Its methods are called on event
// loops: they wait for nothing. Addresses are those of the socket, IPv4 where they are mapped: behind a proxy, its own.
type Binder interface {
	// Bind is called once the token of a conn was accepted; in a process that takes over for each conn anew.
	Bind(local, remote netip.AddrPort, identity, class string)
	// Unbind is called when such a conn has closed, but not when it has gone to another process.
	Unbind(local, remote netip.AddrPort)
}

// who is whom a conn's token names. Not the token itself, which is forgotten once it was checked.
type who struct {
	subject, class string
	until          int64 // seconds since 1970, leeway included
	local          netip.AddrPort
}

var (
	errSeveralTokens = &httpError{status: http.StatusBadRequest, text: "several tokens that differ: send one, by Authorization, Sec-WebSocket-Protocol or ?token="}
	errNoSubprotocol = &httpError{status: http.StatusBadRequest, text: "the subprotocol weir is missing beside weir.token.…: offer both, as the answer cannot name a token"}
	errNoToken       = &httpError{status: http.StatusUnauthorized, reason: ReasonUnauthorized, text: "a token is needed: send one by Authorization: Bearer, as the subprotocol weir.token.… beside weir, or by ?token=", header: challenge("")}
	errForbidden     = &httpError{status: http.StatusForbidden, reason: ReasonForbidden, text: "a topic is asked for that this edge does not let clients subscribe to: see edge.anonymous_topics"}
	errTooManyChecks = &httpError{status: http.StatusServiceUnavailable, reason: ReasonRefusedChecks, text: "too many tokens wait to be checked: try again after the seconds in Retry-After, or another edge", header: retryAfter("1")}
	errIdentityFull  = &httpError{status: http.StatusTooManyRequests, reason: ReasonRefusedIdentity, text: "the token's subject holds all the connections to this edge that it may: close one, or try again later", header: retryAfter("5")}
)

// challenge is the WWW-Authenticate of RFC 6750, section 3.
func challenge(params string) []http1.Field {
	return []http1.Field{{Name: []byte("WWW-Authenticate"), Value: []byte(`Bearer realm="weir"` + params)}}
}

// refusedToken is what a client is told of a token that was not taken: nothing that the token has.
func refusedToken(err error) *httpError {
	why := token.Explain(err)
	if errors.Is(why, token.ErrNoKeys) {
		return &httpError{status: http.StatusServiceUnavailable, reason: ReasonNoTokenKeys, text: why.Error(), header: retryAfter("5")}
	}
	params := fmt.Sprintf(`, error="invalid_token", error_description="%s"`, why)
	return &httpError{status: http.StatusUnauthorized, reason: ReasonUnauthorized, text: why.Error() + ": connect with a new one", header: challenge(params)}
}

// findToken leaves the request's token in o, if it has one; that of its query is there already. It also notes whether
// the client takes our subprotocol.
func (l *loop) findToken(o *opening, r *http1.Request) error {
	if o.stream {
		return l.findBearer(o, r)
	}
	offered := ""
	for _, f := range r.Fields {
		if !bytes.EqualFold(f.Name, []byte("Sec-WebSocket-Protocol")) {
			continue
		}
		for part := range bytes.SplitSeq(f.Value, []byte(",")) {
			name := string(bytes.Trim(part, " \t"))
			text, isToken := strings.CutPrefix(name, subprotocolToken)
			switch {
			case name == subprotocol:
				o.protocol = subprotocol
			case isToken && offered != "" && offered != text:
				return errSeveralTokens
			case isToken:
				offered = text
			}
		}
	}
	if l.cfg.Tokens == nil {
		return nil
	}
	if offered != "" && o.protocol == "" {
		return errNoSubprotocol
	}
	if err := o.addToken(offered); err != nil {
		return err
	}
	return l.findBearer(o, r)
}

// findBearer looks at the field Authorization. Schemes other than Bearer are for somebody else on the way.
func (l *loop) findBearer(o *opening, r *http1.Request) error {
	value, _ := r.Get("Authorization")
	text, ok := token.Bearer(string(value))
	if l.cfg.Tokens == nil || !ok {
		return nil
	}
	return o.addToken(text)
}

// addToken takes a token that the request has; an empty one is none.
func (o *opening) addToken(text string) error {
	if text == "" {
		return nil
	}
	if o.token != "" && o.token != text {
		return errSeveralTokens
	}
	o.token = text
	return nil
}

// anonymous reports whether clients without a token are let in.
func (c *Config) anonymous() bool {
	return c.Anonymous == AnonymousOn || c.Anonymous == AnonymousAuto && c.Tokens == nil
}

// mayOpen says why a request may not be answered by whom claims name; nil for a client without a token. Of a token
// that does not say which topics, those of anonymous clients are, whether there are such or not.
func (l *loop) mayOpen(o *opening, claims *token.Claims) error {
	if claims != nil && claims.Subscribe != nil {
		for _, t := range o.topics {
			if !claims.MaySubscribe(t) {
				return forbidden(t)
			}
		}
		return nil
	}
	if claims == nil && !l.cfg.anonymous() {
		return errNoToken
	}
	for _, t := range o.topics {
		if slices.ContainsFunc(l.cfg.AnonymousTopics, func(a broker.Pattern) bool { return a.Covers(t) }) {
			continue
		}
		switch {
		case claims != nil:
			return forbidden(t)
		case l.cfg.Tokens != nil:
			return errNoToken
		}
		return errForbidden
	}
	return nil
}

// forbidden is RFC 6750, section 3.1.
func forbidden(t broker.Pattern) *httpError {
	return &httpError{
		status: http.StatusForbidden, reason: ReasonForbidden,
		text:   fmt.Sprintf("the token does not allow to subscribe to %q: ask for what it allows, or get another", string(t)),
		header: challenge(`, error="insufficient_scope"`),
	}
}

// identify makes a conn w's, which was counted as one of its identity.
func (c *conn) identify(w *who) {
	c.loop.identified[c] = w
	c.aside |= asideWho
	if b := c.loop.cfg.Binder; b != nil {
		w.local = sockets.LocalAddr(c.gc.Fd())
		b.Bind(w.local, addrPort(c.gc.RemoteAddr()), w.subject, w.class)
	}
}

// who is whom the conn's token names; nil if it had none.
func (c *conn) who() *who {
	if c.aside&asideWho == 0 {
		return nil
	}
	return c.loop.identified[c]
}

// forgetWho gives back what the conn's identity has of it.
func (c *conn) forgetWho() {
	w := c.who()
	if w == nil {
		return
	}
	c.loop.server.identities.Release(w.subject)
	if b := c.loop.cfg.Binder; b != nil && c.reason != ReasonHandedOver {
		b.Unbind(w.local, addrPort(c.gc.RemoteAddr()))
	}
	delete(c.loop.identified, c)
	c.aside &^= asideWho
}

// arm sets the deadline of a conn that is served to d from now, or to the end of its token if that comes first. The
// end is by the wall clock, so it is looked at anew each time.
func (c *conn) arm(d time.Duration) {
	if w := c.who(); w != nil {
		d = min(d, time.Until(time.Unix(w.until, 0)))
	}
	c.loop.wheel.arm(c, d)
}

// outlived reports whether the conn's token has ended.
func (c *conn) outlived() bool {
	w := c.who()
	return w != nil && time.Now().Unix() >= w.until
}

// endOfToken ends a conn whose token has. Its client can resume with a new one.
func (c *conn) endOfToken() {
	if c.state == stateStream {
		c.write(expiredEvent)
		c.finish(ReasonTokenExpired)
		return
	}
	c.closeWith(ReasonTokenExpired, closeTokenExpired, textTokenExpired)
}
