package loop

import (
	"net/http"
	"strconv"

	"weir/edge/http1"
	"weir/gateway/policy"
)

// bodyPart is the next part of the body as it is sent on, of what has come; discardPart takes it off. ok is false if the request
// has ended for it.
func (c *client) bodyPart() (raw []byte, ok bool) {
	e := c.ex
	if c.gc.InboundBuffered() == 0 || e.body.Done() {
		return nil, true
	}
	b, _ := c.gc.Peek(-1)
	raw, n, _, err := e.body.Raw(b)
	if err != nil {
		c.badBody(err)
		return nil, false
	}
	c.l.part = n
	e.received += int64(len(raw))
	return raw, true
}

func (c *client) discardPart() {
	if c.l.part > 0 {
		_, _ = c.gc.Discard(c.l.part)
	}
}

// badBody ends a request whose body is malformed, or too long.
func (c *client) badBody(err error) {
	e := c.ex
	e.rec.Err = errBody
	e.close = true
	status, detail := http.StatusBadRequest, "the body of the request cannot be read"
	if http1.StatusOf(err) == http.StatusRequestEntityTooLarge {
		e.rec.Err = nil
		e.rec.Outcome = policy.TooLarge
		status, detail = http.StatusRequestEntityTooLarge, "the body is longer than the route takes"
	}
	c.fail(status, detail)
}

// sendBody sends on what has come of the body.
func (c *client) sendBody() {
	e := c.ex
	for e != nil && c.ex == e && !e.body.Done() && c.gc.InboundBuffered() > 0 {
		o := e.conn
		if o.gc.OutboundBuffered() > highWater {
			c.pause()
			c.l.block(o.gc, c)
			return
		}
		raw, ok := c.bodyPart()
		if !ok {
			return
		}
		if len(raw) > 0 && !o.write(raw) {
			return
		}
		c.discardPart()
		if c.state == stateAnswer {
			c.l.wheel.Arm(o, e.up.Config.AnswerTimeout) // it begins at the request's end
			c.awaitBody()
		} else {
			c.l.wheel.Arm(c, e.x.Route.IdleTimeout)
		}
	}
	if e != nil && c.ex == e && e.body.Done() && c.gc.InboundBuffered() > lowWater {
		c.pause() // what comes is the next request's
	}
}

// sendBody sends to the client what has come of the answer's body, behind head.
func (o *origin) sendBody(head []byte) {
	c := o.client
	l, e := c.l, c.ex
	for {
		b, _ := o.gc.Peek(-1)
		part, n, err := o.part(b)
		if err != nil {
			o.cut()
			return
		}
		out := part
		if len(head) > 0 || !e.raw {
			out = e.appendPart(head, part)
			l.out, head = out, nil
		}
		e.sent += int64(len(part))
		if e.answer.Done() { // whoever has the answer may come again at once
			e.x.End(l.ticks(), e.received, e.sent)
		}
		if len(out) > 0 && !c.write(out) {
			return
		}
		if n > 0 {
			_, _ = o.gc.Discard(n)
		}
		if e.answer.Done() {
			o.answered()
			return
		}
		if len(out) > 0 {
			l.wheel.Arm(c, e.x.Route.IdleTimeout)
		}
		if c.gc.OutboundBuffered() > highWater {
			o.pause()
			l.block(c.gc, o)
			return
		}
		if o.gc.InboundBuffered() == 0 {
			return
		}
	}
}

// part is the next part of the body, of what has come; n is how long it is with what frames it.
func (o *origin) part(b []byte) (part []byte, n int, err error) {
	e := o.client.ex
	if len(b) == 0 || e.answer.Done() {
		return nil, 0, nil
	}
	if e.raw {
		part, n, _, err = e.answer.Raw(b)
	} else {
		part, n, _, err = e.answer.Next(b)
	}
	return part, n, err
}

// appendPart appends a part of the body as the client is to have it.
func (e *exchange) appendPart(to, part []byte) []byte {
	if e.raw || e.framing != http1.FramingChunked {
		return append(to, part...)
	}
	if len(part) == 0 {
		return to
	}
	to = strconv.AppendInt(to, int64(len(part)), 16)
	to = append(append(to, "\r\n"...), part...)
	return append(to, "\r\n"...)
}
