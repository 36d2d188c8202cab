package loop

import (
	"context"
	"net"
	"net/http"

	"weir/edge/http1"
	"weir/gateway/upstream"
	"weir/gateway/way"
	"weir/internal/wheel"

	"github.com/panjf2000/gnet/v2"
)

// origin is a conn to a server.
type origin struct {
	gc     gnet.Conn
	l      *loop
	server *upstream.Server
	client *client // nil while it idles
	idle   *idle   // where it idles; nil once it has ended
	timer  wheel.Timer[expirer]
	ends   bool // it ends with the answer
	paused bool
	closed bool
}

// Timer is for the loop's wheel.
func (o *origin) Timer() *wheel.Timer[expirer] { return &o.timer }

// forward gives the request to a server.
func (c *client) forward() {
	l, e := c.l, c.ex
	server, err := e.up.Pool.Pick(l.now, way.HashKey(&e.x), &e.tried)
	if err != nil {
		e.rec.Err = err
		c.fail(http.StatusServiceUnavailable, "no upstream server has room for the request")
		return
	}
	e.server, e.attempt = server, l.now
	e.rec.Attempts++
	e.rec.Server = server.Address()
	e.rec.Try(l.now, e.rec.Server)
	if o := l.takeIdle(server); o != nil {
		c.take(o)
		return
	}
	c.state = stateDialing
	if l.dialing >= maxDialing {
		l.wait(c, server)
		return
	}
	l.dial(c, e, server)
}

// dial opens a conn by a goroutine, whose end is told to the client that wants it, if it still does.
func (l *loop) dial(c *client, e *exchange, server *upstream.Server) {
	l.dialing++
	timeout := e.up.Config.ConnectTimeout
	address := server.Address()
	o := &origin{l: l, server: server, client: c, idle: l.idleOf(server)}
	e.conn = o
	go func() {
		conn, err := net.DialTimeout("tcp", address, timeout)
		if err == nil {
			var opened <-chan gnet.RegisteredResult
			if opened, err = l.el.Enroll(gnet.NewContext(context.Background(), o), conn); err == nil {
				err = (<-opened).Err
			} else {
				_ = conn.Close()
			}
		}
		_ = l.do(func() {
			l.dialing--
			if err != nil {
				l.forget(o)
				o.unreachable(err)
			}
			l.dialNext(server)
		})
	}()
}

// onConnected takes in a conn that was dialed.
func (l *loop) onConnected(gc gnet.Conn, o *origin) {
	o.gc = gc
	if c := o.client; c != nil && c.ex != nil && c.ex.conn == o {
		c.send(o)
		return
	}
	_ = l.el.Close(gc) // whoever wanted it has gone
}

// unreachable ends a conn that could not be opened.
func (o *origin) unreachable(err error) {
	c := o.client
	if c == nil || c.state != stateDialing || c.ex == nil || c.ex.conn != o {
		return
	}
	e := c.ex
	e.conn = nil
	e.answered = o.l.now
	e.rec.Err = err
	e.give(o.l, upstream.ConnectFailed)
	if c.mayRetry() {
		c.forward()
		return
	}
	c.fail(http.StatusBadGateway, "the upstream gave no answer that can be read")
}

// give gives a server's slot back.
func (e *exchange) give(l *loop, o upstream.Outcome) {
	if s := e.server; s != nil {
		e.server = nil
		s.Done(l.now, o, l.now.Sub(e.attempt))
		e.rec.Tried(l.now, o.Failure())
	}
}

// mayRetry asks the budget for another attempt.
func (c *client) mayRetry() bool {
	e := c.ex
	return e.rec.Attempts < e.up.Pool.Attempts() && e.up.Pool.MayRetry(c.l.now)
}

// send sends the request on a conn, with what has come of its body.
func (c *client) send(o *origin) {
	l, e := c.l, c.ex
	if !c.appendRequest() {
		return
	}
	c.state = stateAnswer
	l.wheel.Arm(o, e.up.Config.AnswerTimeout)
	out := l.out
	for len(out) < 16<<10 && !e.body.Done() {
		raw, ok := c.bodyPart()
		if !ok {
			return
		}
		if len(raw) == 0 {
			break
		}
		out = append(out, raw...)
		c.discardPart()
	}
	l.out = out
	if !o.write(out) {
		return
	}
	c.awaitBody()
	c.resume()
	c.sendBody()
}

// awaitBody arms the client's timer by what is to come next: the rest of its body, or the answer.
func (c *client) awaitBody() {
	e := c.ex
	rest := e.x.Route.Timeout - c.l.now.Sub(e.begun)
	if !e.body.Done() {
		rest = min(rest, e.x.Route.IdleTimeout)
	}
	c.l.wheel.Arm(c, rest)
}

// write sends to the server; false if that closed the conn.
func (o *origin) write(b []byte) bool {
	return !o.closed && write(o.gc, b) && !o.closed // the write may close it
}

// onTraffic is called when bytes have come.
func (o *origin) onTraffic() {
	c := o.client
	if c == nil || c.ex == nil || c.ex.conn != o { // nobody has asked it anything
		o.abort()
		return
	}
	switch c.state {
	case stateAnswer:
		o.onHead()
	case stateBody:
		o.sendBody(nil)
	case stateTunnel:
		o.tunnel()
	}
}

// answered ends an exchange whose answer is whole.
func (o *origin) answered() {
	c := o.client
	e := c.ex
	if !e.raw && e.framing == http1.FramingChunked && !c.write(lastChunk) {
		return
	}
	e.conn = nil
	o.client = nil
	e.give(o.l, upstream.OutcomeOf(e.status))
	if o.ends || o.closed || !e.body.Done() {
		o.abort()
	} else {
		c.l.unblock(o)
		o.l.keep(o, &e.up.Config)
	}
	c.l.unblock(c)
	c.done()
}

var lastChunk = []byte("0\r\n\r\n")

// retries reports whether an answer of that status is not sent on, as another server is asked.
func (c *client) retries(status int) bool {
	e := c.ex
	if upstream.OutcomeOf(status) != upstream.GatewayError || e.hasBody() || !way.IsIdempotent(e.q.Method) || !c.mayRetry() {
		return false
	}
	o := e.conn
	e.give(c.l, upstream.GatewayError)
	e.conn, o.client = nil, nil
	o.abort()
	c.forward()
	return true
}

// broken ends an exchange with a server that gave no answer that can be read.
func (o *origin) broken() {
	c := o.client
	e := c.ex
	e.answered = o.l.now
	e.rec.Err = errUpstream
	e.give(o.l, upstream.Broken)
	e.conn, o.client = nil, nil
	o.abort()
	if !e.hasBody() && way.IsIdempotent(e.q.Method) && c.mayRetry() {
		c.forward()
		return
	}
	c.fail(http.StatusBadGateway, "the upstream gave no answer that can be read")
}

// cut ends an exchange whose answer broke off: the client's conn ends with it, so that it does not look whole.
func (o *origin) cut() {
	c := o.client
	c.ex.rec.Err = errCut
	c.ex.give(o.l, upstream.Broken)
	c.abort()
}

// expired is called when the server's time is over.
func (o *origin) expired() {
	c := o.client
	if c == nil {
		o.abort()
		return
	}
	if c.state == stateAnswer {
		if !c.ex.body.Done() { // it is the client that is slow
			o.l.wheel.Arm(o, c.ex.up.Config.AnswerTimeout)
			return
		}
		c.ex.rec.Err = errAnswerLate
		c.ex.answered = o.l.now
		c.ex.give(o.l, upstream.TimedOut)
		c.fail(http.StatusGatewayTimeout, "the upstream did not answer in time")
	}
}

func (o *origin) abort() {
	if !o.closed && o.gc != nil {
		_ = o.l.el.Close(o.gc)
	}
}

// onClose is the end of every conn to a server.
func (o *origin) onClose() {
	if o.closed {
		return
	}
	o.closed = true
	o.l.wheel.Disarm(o)
	o.l.unblock(o)
	o.l.forget(o)
	c := o.client
	if c == nil {
		return
	}
	if c.ex == nil || c.ex.conn != o {
		return
	}
	switch c.state {
	case stateAnswer:
		o.broken()
	case stateBody:
		if c.ex.answer.EOF() == nil {
			o.answered()
		} else {
			o.cut()
		}
	case stateTunnel:
		c.ex.conn = nil
		c.ex.give(o.l, upstream.OK)
		c.linger()
	}
}

// cancel ends what an exchange has of a server.
func (c *client) cancel(e *exchange) {
	o := e.conn
	e.conn = nil
	e.give(c.l, upstream.Canceled)
	if o != nil {
		o.client = nil
		o.abort()
	}
}

func (o *origin) pause() {
	o.paused = true
	o.l.pause(o.gc)
}

// resume has the conn read again, and what waits looked at.
func (o *origin) resume() {
	if !o.paused || o.closed {
		return
	}
	o.paused = false
	o.l.unpause(o.gc)
	if o.gc.InboundBuffered() > 0 {
		o.onTraffic()
	}
}
