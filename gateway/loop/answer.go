package loop

import (
	"errors"
	"math/rand/v2"
	"net/http"

	"weir/edge/http1"
	"weir/gateway/policy"
	"weir/internal/sockets"

	"github.com/panjf2000/gnet/v2"
)

// refuse answers in place of an upstream.
func (c *client) refuse(o policy.Outcome) {
	l, e := c.l, c.ex
	l.lines = e.x.AppendTold(l.lines[:0])
	l.lines = e.appendOurs(e.x.AppendRefusal(l.lines, o, rand.Uint32())) //nolint:gosec // it spreads clients, and is no secret
	body := len(l.lines)
	l.lines = e.x.AppendBody(l.lines, o)
	e.rec.Outcome = o
	c.respond(o.Status(), l.lines[:body], l.lines[body:])
}

// fail answers for an upstream that did not, and closes what there is to it.
func (c *client) fail(status int, detail string) {
	l, e := c.l, c.ex
	c.cancel(e)
	if !e.first.IsZero() { // half of an answer is there: what is cut must not look whole
		c.abort()
		return
	}
	l.lines = e.x.AppendTold(l.lines[:0])
	if status == http.StatusServiceUnavailable {
		l.lines = append(l.lines, "Retry-After: 1\r\n"...)
	}
	l.lines = e.appendOurs(l.lines)
	body := len(l.lines)
	l.lines = policy.AppendProblem(l.lines, status, detail)
	c.respond(status, l.lines[:body], l.lines[body:])
}

// malformed answers a head that is no HTTP, or could be read in two ways.
func (c *client) malformed(why error) {
	l, e := c.l, c.ex
	c.ex = nil
	l.put(e)
	status := http1.StatusOf(why)
	l.server.deps.Malformed(c.peer.Addr(), status, why)
	l.lines = policy.AppendProblem(l.lines[:0], status, why.Error())
	l.out = http1.AppendResponse(l.out[:0], status, policy.ContentType, nil, l.lines)
	_, _ = c.gc.Write(l.out)
	c.linger()
}

// respond writes a whole answer of ours, whose head has the lines.
func (c *client) respond(status int, lines, body []byte) {
	l, e := c.l, c.ex
	if e.badBody() {
		e.close = true
	}
	l.reason = append(l.reason[:0], http.StatusText(status)...)
	l.response = http1.Response{Status: status, Reason: l.reason, Fields: l.response.Fields[:0], ContentLength: -1}
	l.onward = http1.Onward{Lines: lines, Framing: http1.FramingLength, Length: int64(len(body)), Close: e.close, KeepAlive: e.req.HTTP10}
	out, err := http1.AppendResponseHead(l.out[:0], &l.response, &l.onward)
	if err != nil { // all of it is ours
		panic(err)
	}
	if e.q.Method != http.MethodHead {
		out = append(out, body...)
		e.sent = int64(len(body))
	}
	l.out = out
	e.status, e.first = status, l.clock()
	e.x.End(l.ticks(), e.received, e.sent) // whoever has the answer may come again at once
	if !c.write(l.out) {
		return
	}
	c.done()
}

// badBody reports whether where the request's body ends is not known, or not worth waiting for.
func (e *exchange) badBody() bool {
	_, _, _, err := e.body.Next(nil)
	return err != nil || !e.body.Done() && (e.req.Chunked || e.left() > maxSkip)
}

// write sends to the client; false if that closed the conn.
func (c *client) write(b []byte) bool {
	return c.state != stateClosed && write(c.gc, b) && c.state != stateClosed // the write may close it
}

// write sends what the socket takes, and has the rest wait in the conn's buffer; false if there is an error, by which the conn is closed.
func write(gc gnet.Conn, b []byte) bool {
	if gc.OutboundBuffered() == 0 {
		if b = b[sockets.Send(gc.Fd(), b):]; len(b) == 0 {
			return true
		}
	}
	_, err := gc.Write(b)
	return err == nil
}

// appendOurs appends what the head of each answer of ours says besides: what the body is, and the request's id.
func (e *exchange) appendOurs(b []byte) []byte {
	b = append(b, "Content-Type: "+policy.ContentType+"\r\n"...)
	if len(e.rec.RequestID) > 0 {
		b = e.appendID(b)
	}
	return b
}

func (e *exchange) appendID(b []byte) []byte {
	return append(append(append(b, "X-Request-Id: "...), e.id()...), "\r\n"...)
}

// onHead sends on the head of an answer, with what has come of its body.
func (o *origin) onHead() {
	c := o.client
	l, e := c.l, c.ex
	r := &l.response
	n, ok := o.parseHead(r)
	if !ok {
		return
	}
	e.answered = l.now
	e.rec.Answered(r.Status)
	framing, err := r.Framing(e.req.Method)
	if err != nil || r.Status == http.StatusSwitchingProtocols && (r.Upgrade == nil || e.req.Upgrade == nil) {
		o.broken()
		return
	}
	if c.retries(r.Status) {
		return
	}
	o.ends = o.ends || r.Close
	e.status = r.Status
	e.answer.Start(framing, r.ContentLength, 0)
	e.frame(framing)
	l.lines = e.x.AppendTold(l.lines[:0])
	without := replaced[:1]
	if len(l.lines) > 0 {
		without = replaced
	}
	l.lines = e.appendID(l.lines)
	isTunnel := r.Status == http.StatusSwitchingProtocols
	l.onward = http1.Onward{
		Without: without, Lines: l.lines, Framing: e.framing, Length: r.ContentLength, Upgrade: isTunnel,
		Close: e.close && !isTunnel, KeepAlive: e.req.HTTP10,
	}
	out, err := http1.AppendResponseHead(l.out[:0], r, &l.onward)
	if err != nil {
		o.broken()
		return
	}
	l.out = out
	_, _ = o.gc.Discard(n)
	e.first = l.clock()
	l.wheel.Hold(o)
	l.wheel.Arm(c, e.x.Route.IdleTimeout)
	if isTunnel {
		c.state = stateTunnel
		if c.write(l.out) {
			o.tunnel()
			c.tunnel()
		}
		return
	}
	c.state = stateBody
	o.sendBody(l.out)
}

// parseHead is the head of the answer, of n bytes, behind interim ones, which are the hop's; not ok if it has not come, or is none.
func (o *origin) parseHead(r *http1.Response) (n int, ok bool) {
	for {
		b, _ := o.gc.Peek(-1)
		n, err := r.Parse(b, o.l.answers)
		switch {
		case errors.Is(err, http1.ErrShort):
			return 0, false
		case err != nil:
			o.broken()
			return 0, false
		case r.Status >= 200 || r.Status == http.StatusSwitchingProtocols:
			return n, true
		}
		_, _ = o.gc.Discard(n)
	}
}

// replaced are fields of an answer that are ours to say; the first is always.
var replaced = []string{"X-Request-Id", "RateLimit", "RateLimit-Policy", "X-RateLimit-*"}

// frame says how the body is sent on: as it comes, if the client can read that.
func (e *exchange) frame(from http1.Framing) {
	e.framing, e.raw = from, true
	switch {
	case from == http1.FramingChunked && e.req.HTTP10:
		e.framing, e.raw, e.close = http1.FramingClose, false, true
	case from == http1.FramingClose && !e.req.HTTP10:
		e.framing, e.raw = http1.FramingChunked, false
	case from == http1.FramingClose:
		e.close = true
	}
}
