package loop

import (
	"bytes"

	"weir/edge/tlsconn"
)

// maxSealed bounds what a loop keeps to seal the next batch in.
const maxSealed = 1 << 20

// records is the record layer of a TLS conn; nil for a conn in plain text.
type records struct {
	layer *tlsconn.Records
	// in is plain text that was not taken yet. It is the loop's while a callback runs, if lent.
	in   []byte
	lent bool
}

// inKernel stands for the record layers of all conns that have it in the kernel: such a conn is read
// and written as one in plain text is.
var inKernel = &records{}

// inProcess reports whether what comes and goes passes through r.
func (r *records) inProcess() bool { return r != nil && r != inKernel }

// layer names the conn's record layer in reports, "" if it is in plain text.
func (c *conn) layer() string {
	switch c.tls {
	case nil:
		return ""
	case inKernel:
		return "kernel"
	}
	return "process"
}

// buffered is how many bytes came and were not taken.
func (c *conn) buffered() int {
	if c.tls.inProcess() {
		return len(c.tls.in)
	}
	n := c.gc.InboundBuffered()
	if c.aside&asideBytes != 0 {
		n += len(c.loop.carried[c])
	}
	return n
}

// peek is what buffered counts. It lives until the callback returns.
func (c *conn) peek() []byte {
	if c.tls.inProcess() {
		return c.tls.in
	}
	b, err := c.gc.Peek(-1)
	if err != nil {
		b = nil
	}
	if c.aside&asideBytes == 0 {
		return b
	}
	carried := append(c.loop.carried[c], b...)
	c.loop.carried[c] = carried
	if len(b) > 0 {
		_, _ = c.gc.Discard(len(b))
	}
	return carried
}

// discard takes n of the bytes that peek gave.
func (c *conn) discard(n int) {
	if c.aside&asideBytes != 0 && n > 0 {
		carried := c.loop.carried[c]
		if n < len(carried) {
			c.loop.carried[c] = carried[n:]
			return
		}
		n -= len(carried)
		c.forgetCarried()
	}
	switch {
	case n == 0: // all, for gnet
	case c.tls.inProcess():
		c.tls.in = c.tls.in[n:]
	default:
		_, _ = c.gc.Discard(n)
	}
}

func (c *conn) forgetCarried() {
	if c.aside&asideBytes != 0 {
		delete(c.loop.carried, c)
		c.aside &^= asideBytes
	}
}

// outstanding is how many bytes wait here for the socket.
func (c *conn) outstanding() int { return c.gc.OutboundBuffered() }

// received looks at what has come. Called by gnet on the loop.
func (c *conn) received() {
	if !c.tls.inProcess() {
		c.onTraffic()
		return
	}
	r, l := c.tls, c.loop
	b, err := c.gc.Peek(-1)
	if err != nil {
		return
	}
	plain, err := r.layer.Open(l.opened[:0], b)
	l.opened = plain[:0]
	if r.lent = len(r.in) == 0; r.lent {
		r.in = plain
	} else {
		r.in = append(r.in, plain...)
	}
	if len(b) > 0 {
		_, _ = c.gc.Discard(len(b))
	}
	c.sendSealed(r.layer.Reply())
	if len(r.in) > 0 {
		c.onTraffic()
	}
	if err != nil {
		c.recordsEnded(err)
	}
	switch {
	case len(r.in) == 0 || c.state == stateClosed:
		r.in = nil
	case r.lent:
		r.in = bytes.Clone(r.in)
	}
	r.lent = false
}

// recordsEnded ends a conn whose client has said that it is done, or whose records are wrong.
func (c *conn) recordsEnded(err error) {
	switch {
	case c.state >= stateClosing:
		c.abort(c.reason)
	case tlsconn.IsEnd(err):
		c.finish(ReasonPeerGone)
	default:
		c.abort(ReasonTLSError)
	}
}

// seal sends b in records.
func (c *conn) seal(b []byte) {
	l := c.loop
	sealed, err := c.tls.layer.Seal(l.sealed[:0], b)
	if l.sealed = sealed[:0]; cap(sealed) > maxSealed {
		l.sealed = nil
	}
	if err != nil {
		c.abort(ReasonTLSError)
		return
	}
	_, _ = c.gc.Write(sealed) // a failing write has closed the conn, by onClose
}

// sendSealed sends what the record layer made by itself, unless the client does not read that.
func (c *conn) sendSealed(b []byte) {
	if c.state == stateClosed || len(b) == 0 {
		return
	}
	if pending := c.outstanding(); pending > 0 && pending+len(b) > c.loop.cfg.MaxPendingBytes {
		c.abort(ReasonSlowConsumer)
		return
	}
	_, _ = c.gc.Write(b)
}

// endWrite ends our side of the connection, once all that was written is with the kernel.
func (c *conn) endWrite() {
	if c.tls.inProcess() {
		c.sendSealed(c.tls.layer.SealEnd(c.loop.sealed[:0]))
	}
	if c.state == stateClosed || c.outstanding() > 0 {
		return
	}
	if c.tls == inKernel {
		tlsconn.SendEnd(c.gc.Fd())
	}
	shutdownWrite(c.gc.Fd())
}

// closedBy notes what gnet closed a conn for, if that says more than that its client is gone.
func (c *conn) closedBy(err error) {
	if c.tls != inKernel || err == nil || c.state >= stateClosing {
		return
	}
	if tlsconn.Ended(c.gc.Fd(), err) {
		tlsconn.SendEnd(c.gc.Fd())
	} else {
		c.endWith(ReasonTLSError)
	}
}
