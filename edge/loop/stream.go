package loop

// expiredStream is the ping of a stream. Its client answers nothing, but its kernel acknowledges: the
// comment is the ping, and an acknowledgement of any byte within PongTimeout the pong. So a client that is
// gone without a FIN, or that reads nothing, is known without waiting for TCP to give up.
func (c *conn) expiredStream() {
	cfg := &c.loop.cfg
	acked, all, ok := acknowledged(c.gc.Fd())
	if c.pinged && ok && !all && acked == c.pending {
		c.finish(ReasonPongTimeout)
		return
	}
	if c.pinged {
		c.heard()
		return
	}
	c.pending, c.pinged = acked, ok
	next := cfg.PingInterval
	if ok {
		next = cfg.PongTimeout
	}
	c.arm(next)
	c.Deliver(streamComment, 0)
}
