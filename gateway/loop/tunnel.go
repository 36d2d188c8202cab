package loop

// tunnel sends on what has come from the client, whatever it is.
func (c *client) tunnel() {
	e := c.ex
	for e != nil && c.ex == e && c.gc.InboundBuffered() > 0 {
		o := e.conn
		if o.gc.OutboundBuffered() > highWater {
			c.pause()
			c.l.block(o.gc, c)
			return
		}
		b, _ := c.gc.Peek(-1)
		n := len(b)
		e.received += int64(n)
		if !o.write(b) {
			return
		}
		_, _ = c.gc.Discard(n)
		c.l.wheel.Arm(c, e.x.Route.IdleTimeout)
	}
}

// tunnel is the same for what has come from the server.
func (o *origin) tunnel() {
	c := o.client
	for !o.closed && o.client == c && o.gc.InboundBuffered() > 0 {
		if c.gc.OutboundBuffered() > highWater {
			o.pause()
			c.l.block(c.gc, o)
			return
		}
		b, _ := o.gc.Peek(-1)
		n := len(b)
		c.ex.sent += int64(n)
		if !c.write(b) {
			return
		}
		_, _ = o.gc.Discard(n)
		c.l.wheel.Arm(c, c.ex.x.Route.IdleTimeout)
	}
}
