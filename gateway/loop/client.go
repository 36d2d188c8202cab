package loop

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"weir/edge/http1"
	"weir/gateway/policy"
	"weir/gateway/upstream"
	"weir/internal/sockets"
	"weir/internal/wheel"

	"github.com/panjf2000/gnet/v2"
)

// state is what a client waits for.
type state uint8

const (
	stateHead    state = iota // a head, or it idles
	stateAsking               // the shared store
	stateDialing              // a conn to a server
	stateAnswer               // the head of an answer
	stateBody                 // the rest of the answer
	stateTunnel               // both sides have changed to another protocol
	stateSkip                 // the rest of a body that nobody wants
	stateLinger               // the client to have read its last answer
	stateClosed
)

// client is a client's conn.
type client struct {
	gc     gnet.Conn
	l      *loop
	state  state
	paused bool
	begun  bool // a request has begun on it
	inNext bool // next runs
	shut   bool // our side is ended
	stalls int  // of its last answer, in a row
	waits  int  // bytes of it that wait
	timer  wheel.Timer[expirer]
	peer   netip.AddrPort
	ex     *exchange      // nil between two requests
	bound  string         // the identity that the conn was last bound to
	local  netip.AddrPort // known with that
}

// preface begins a conn of HTTP/2: RFC 9113, section 3.4.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Timer is for the loop's wheel.
func (c *client) Timer() *wheel.Timer[expirer] { return &c.timer }

// onClient takes in a client's conn.
func (l *loop) onClient(gc gnet.Conn) {
	c := &client{gc: gc, l: l, peer: peerOf(gc)}
	gc.SetContext(c)
	l.clients[c] = struct{}{}
	l.server.conns.Add(1)
	if l.server.deps.Proxied(c.peer.Addr()) {
		c.decline(true)
		return
	}
	if !l.server.deps.Admit(c.peer.Addr()) {
		c.peer = netip.AddrPort{} // it is not to be released
		c.abort()
		return
	}
	l.wheel.Arm(c, l.server.cfg.HeadTimeout)
}

// onTraffic is called when bytes have come.
func (c *client) onTraffic() {
	switch c.state {
	case stateHead:
		c.next()
	case stateAnswer, stateBody:
		c.sendBody()
	case stateTunnel:
		c.tunnel()
	case stateSkip:
		c.skip()
	case stateAsking, stateDialing:
		if c.gc.InboundBuffered() > lowWater {
			c.pause()
		}
	case stateLinger:
		_, _ = c.gc.Discard(c.gc.InboundBuffered())
	}
}

// next begins the requests that have come, one after another.
func (c *client) next() {
	if c.inNext {
		return
	}
	c.inNext = true
	defer func() { c.inNext = false }()
	for c.state == stateHead && c.ex == nil {
		b, _ := c.gc.Peek(-1)
		if len(b) == 0 {
			return
		}
		if !c.begun && b[0] == 'P' && bytes.HasPrefix(b[:min(len(b), len(preface))], []byte(preface[:min(len(b), len(preface))])) {
			if len(b) >= len(preface) {
				c.decline(false)
			}
			return
		}
		if !c.head(b) {
			return
		}
	}
}

// head begins the request whose head is at the start of b; false if it is not whole, or the conn goes no further.
func (c *client) head(b []byte) bool {
	l := c.l
	e := l.exchange()
	e.head = append(e.head[:0], b[:min(len(b), l.limits.MaxHeadBytes)]...)
	n, err := e.req.Parse(e.head, l.limits)
	if errors.Is(err, http1.ErrShort) {
		l.put(e)
		if c.begun { // it idled until now
			c.begun = false
			l.wheel.Arm(c, l.server.cfg.HeadTimeout)
		}
		return false
	}
	c.begun = true
	e.begun = l.now
	c.ex = e
	if err != nil {
		c.malformed(err)
		return false
	}
	if c.declines(e) {
		c.ex = nil
		l.put(e)
		c.decline(false)
		return false
	}
	e.close = e.req.Close || l.server.draining.Load()
	e.describe(c.peer.Addr(), l.shard)
	g := l.server.current.Load()
	e.x.Later, e.x.Shard = true, l.shard
	o := g.Rules.Open(l.ticks(), &e.q, &e.x)
	if o == policy.Admitted || o == policy.Ask {
		e.up = g.Upstream(e.x.Route)
		if cfg := &e.up.Config; cfg.TLS != nil || cfg.Protocol != 0 {
			c.ex = nil
			l.put(e)
			c.decline(false)
			return false
		}
		if o == policy.Admitted {
			o = e.x.Decide()
		}
	}
	_, _ = c.gc.Discard(n)
	e.startBody()
	switch o {
	case policy.Ask:
		c.ask()
	default:
		c.decided(o)
	}
	return c.state == stateHead
}

func (e *exchange) startBody() {
	most := int64(0)
	if e.x.Route != nil && e.x.Route.MaxBody > 0 {
		most = e.x.Route.MaxBody
	}
	e.body.Start(e.req.Framing(), e.req.ContentLength, most)
}

// declines reports whether a request is net/http's.
func (c *client) declines(e *exchange) bool {
	r := &e.req
	if r.Expect100 || r.Trailers {
		return true
	}
	return r.Upgrade != nil && !bytes.EqualFold(r.Upgrade, []byte("websocket"))
}

// ask has a token checked, or the shared store decide, by a goroutine.
func (c *client) ask() {
	l, e := c.l, c.ex
	c.state = stateAsking
	l.wheel.Disarm(c)
	checks, most := 0, maxAsking
	if e.x.Checks() {
		checks, most = 1, maxChecking
	}
	if l.asking >= maxAsking || l.checking+checks > most {
		c.refuse(e.x.GiveUp())
		return
	}
	l.asking++
	l.checking += checks
	go func() {
		o := ask(&e.x)
		_ = l.do(func() {
			l.asking--
			l.checking -= checks
			if c.state == stateClosed { // it waited for this to be given back
				e.rec.SetDecision(o, &e.x)
				e.rec.Err, e.rec.Cut, e.rec.Gone = errClientGone, true, true
				e.finish(l, 0, 0)
				l.put(e)
				return
			}
			c.resume()
			c.decided(o)
		})
	}()
}

// decided goes on by what was decided.
func (c *client) decided(o policy.Outcome) {
	e := c.ex
	e.rec.SetDecision(o, &e.x)
	c.nameRequest()
	if trace := c.l.server.deps.Hooks.Trace; trace != nil {
		trace(&e.rec, e.q.Fields, e.x.Trusted())
		if e.rec.Trace.On() {
			e.rec.TraceID = view(e.rec.Trace.ID())
		}
	}
	c.bind(e)
	if decided := c.l.server.deps.Hooks.Decided; decided != nil {
		decided(c.l.ticks(), &e.x, o, c.peer)
	}
	if o != policy.Admitted {
		c.refuse(o)
		return
	}
	c.l.wheel.Arm(c, e.x.Route.Timeout)
	e.asked = c.l.clock()
	c.forward()
}

// bind says whose the conn is, if that is another one than before.
func (c *client) bind(e *exchange) {
	bind := c.l.server.deps.Hooks.Bind
	if bind == nil || e.x.Identity == "" || e.x.Identity == c.bound || e.x.Trusted() {
		return
	}
	c.bound = e.x.Identity // a string of the rules' or of a token's claims: it is not lent
	c.local = sockets.LocalAddr(c.gc.Fd())
	bind(c.local, c.peer, c.bound, e.x.Class())
}

// nameRequest takes the request's id from a trusted proxy, or makes one.
func (c *client) nameRequest() {
	e := c.ex
	if v, ok := e.req.Get("X-Request-Id"); ok && len(v) > 0 && len(v) <= len(e.requestID) && e.x.Trusted() {
		e.rec.RequestID = view(e.requestID[:copy(e.requestID[:], v)])
		return
	}
	c.l.requestID(e.requestID[:])
	e.rec.RequestID = view(e.requestID[:requestIDBytes])
}

// id is the request's.
func (e *exchange) id() []byte { return e.requestID[:len(e.rec.RequestID)] }

// finish ends what an exchange has taken, and tells of it.
func (e *exchange) finish(l *loop, status int, ended time.Duration) {
	r := &e.rec
	r.Status, r.Received, r.Sent, r.Total = status, e.received, e.sent, ended
	if !e.asked.IsZero() && !e.answered.IsZero() {
		r.Upstream = e.answered.Sub(e.asked)
	}
	if !e.first.IsZero() {
		r.Added = e.first.Sub(e.begun) - r.Upstream
	}
	e.x.End(l.ticks(), e.received, e.sent)
	if observe := l.server.deps.Hooks.Observe; observe != nil && e.rec.Begun != (time.Time{}) {
		observe(r)
	}
}

// done ends the exchange whose answer is on its way whole, and has the conn go on or end.
func (c *client) done() {
	l, e := c.l, c.ex
	e.finish(l, e.status, l.clock().Sub(e.begun))
	goesOn := !e.close && !l.server.draining.Load()
	switch {
	case !e.body.Done() && goesOn && e.left() <= maxSkip:
		c.state, e.skipping = stateSkip, true
		c.l.wheel.Arm(c, l.server.cfg.HeadTimeout)
		c.resume()
		c.skip()
		return
	case !e.body.Done():
		goesOn = false
	}
	c.ex = nil
	l.put(e)
	if !goesOn {
		c.linger()
		return
	}
	c.state = stateHead
	l.wheel.Arm(c, l.server.cfg.KeepAlive)
	c.resume()
	c.next()
}

// left is how much of the body is known to come, or 0.
func (e *exchange) left() int64 {
	if e.req.Chunked {
		return 0
	}
	return e.req.ContentLength - e.received
}

// skip reads what nobody wants of a body, a bounded part.
func (c *client) skip() {
	e := c.ex
	for c.gc.InboundBuffered() > 0 && !e.body.Done() {
		b, _ := c.gc.Peek(-1)
		n, _, err := e.body.Skip(b)
		e.received += int64(n)
		if n > 0 {
			_, _ = c.gc.Discard(n)
		}
		if err != nil || e.received > maxSkip {
			c.l.put(e)
			c.ex = nil
			c.linger()
			return
		}
	}
	if !e.body.Done() {
		return
	}
	c.l.put(e)
	c.ex = nil
	c.state = stateHead
	c.l.wheel.Arm(c, c.l.server.cfg.KeepAlive)
	c.next()
}

// expired is called when the client's time is over.
func (c *client) expired() {
	switch c.state {
	case stateAnswer, stateDialing:
		e := c.ex
		if c.state == stateAnswer && !e.body.Done() && c.l.now.Sub(e.begun) < e.x.Route.Timeout {
			e.rec.Err, e.close = errBody, true
			c.fail(http.StatusBadRequest, "the body of the request cannot be read")
			return
		}
		e.rec.Err = errAnswerLate
		e.answered = c.l.now
		e.give(c.l, upstream.TimedOut)
		c.fail(http.StatusGatewayTimeout, "the upstream did not answer in time")
	case stateBody:
		if c.gc.OutboundBuffered() == 0 { // it is the upstream that stands still
			c.ex.rec.Err = errCut
			c.ex.give(c.l, upstream.TimedOut)
		}
		c.abort()
	case stateLinger:
		c.lingerOn()
	case stateClosed:
	default:
		c.abort()
	}
}

// linger has the client read its last answer before the conn is closed: one that is closed with bytes unread is reset, and the
// answer with it.
func (c *client) linger() {
	if c.state == stateClosed {
		return
	}
	c.state = stateLinger
	c.resume()
	_, _ = c.gc.Discard(c.gc.InboundBuffered())
	c.waits = c.gc.OutboundBuffered() + 1
	c.lingerOn()
}

// lingerOn is called every linger while the client takes what waits for it, and once more then.
func (c *client) lingerOn() {
	waits := c.gc.OutboundBuffered()
	switch {
	case waits == 0 && c.shut:
		c.abort()
		return
	case waits == 0:
		shutdownWrite(c.gc.Fd())
		c.shut = true
	case waits >= c.waits:
		if c.stalls++; c.stalls > maxStalls {
			c.abort()
			return
		}
	default:
		c.stalls = 0
	}
	c.waits = waits
	c.l.wheel.Arm(c, linger)
}

// abort closes the conn.
func (c *client) abort() {
	if c.state != stateClosed {
		_ = c.l.el.Close(c.gc)
	}
}

// onClose is the end of every client's conn, whatever closed it.
func (c *client) onClose() {
	was := c.state
	if was == stateClosed {
		return
	}
	c.state = stateClosed
	l := c.l
	delete(l.clients, c)
	l.wheel.Disarm(c)
	l.unblock(c)
	l.server.conns.Add(-1)
	if c.peer.IsValid() {
		l.server.deps.Release(c.peer.Addr())
	}
	if unbind := l.server.deps.Hooks.Unbind; unbind != nil && c.bound != "" {
		unbind(c.local, c.peer)
	}
	e := c.ex
	c.ex = nil
	if e == nil || was == stateAsking { // the goroutine has it
		return
	}
	c.cancel(e)
	if !e.skipping {
		if e.status != http.StatusSwitchingProtocols { // a tunnel ends so
			e.rec.Cut = true
			if e.rec.Err == nil {
				e.rec.Err, e.rec.Gone = errClientGone, true
			}
		}
		e.finish(l, e.status, l.now.Sub(e.begun))
	}
	l.put(e)
}

func (c *client) pause() {
	if !c.paused {
		c.paused = true
	}
	c.l.pause(c.gc)
}

// resume has the client read again, and what waits looked at.
func (c *client) resume() {
	if !c.paused || c.state == stateClosed {
		return
	}
	c.paused = false
	c.l.unpause(c.gc)
	if c.gc.InboundBuffered() > 0 && (c.state == stateAnswer || c.state == stateBody || c.state == stateTunnel) {
		c.onTraffic()
	}
}
