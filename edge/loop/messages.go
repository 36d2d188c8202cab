package loop

import (
	"errors"

	"weir/edge/ws"
)

// Close codes of RFC 6455 section 7.4.1, and from the registry it opens.
const (
	closeNormal         = 1000
	closeGoingAway      = 1001
	closeInvalidUTF8    = 1007
	closePolicy         = 1008
	closeTooLarge       = 1009
	closeServiceRestart = 1012
	closeTryLater       = 1013
)

var (
	pingFrame     = ws.AppendFrame(nil, ws.OpPing, nil)
	streamComment = []byte(":\n\n")
)

// echo is the state of a conn on /echo: the message that its fragments make so far.
type echo struct {
	op         ws.OpCode
	compressed bool
	buf        []byte
}

// readFrames takes the whole frames that have come. Of the pings among them the newest is
// answered (RFC 6455 section 5.5.3 allows that), so that a run of pings costs one write.
func (c *conn) readFrames() {
	if n := c.buffered(); n == 0 || n < int(c.need) {
		return
	}
	b := c.peek()
	c.heard()
	used, pings := 0, 0
	pong := c.loop.pong[:0]
	for c.state == stateMessages {
		f, n, err := c.decoder.Next(b[used:], &c.loop.limits)
		if err != nil {
			c.need = 0
			if errors.Is(err, ws.ErrShort) {
				c.need = wantedBytes(b[used:])
			} else {
				c.closeProtocol(err)
			}
			break
		}
		used += n
		if f.OpCode == ws.OpPing {
			pong = append(pong[:0], f.Payload...)
			pings++
			continue
		}
		c.takeFrame(f)
	}
	if pings > 0 && c.state == stateMessages {
		c.loop.stats.pings.Add(uint64(pings)) //nolint:gosec // a count, never negative
		c.loop.scratch = ws.AppendFrame(c.loop.scratch[:0], ws.OpPong, pong)
		c.reply(c.loop.scratch)
	}
	if c.state == stateMessages {
		c.discard(used)
	}
}

// wantedBytes is how many bytes must be buffered before the frame at the start of b is whole,
// 0 if its header is not whole either.
func wantedBytes(b []byte) uint32 {
	h, n, err := ws.ParseHeader(b)
	if err != nil {
		return 0
	}
	return uint32(int64(n) + h.Length) //nolint:gosec // the decoder refused what is over MaxMessageBytes
}

func (c *conn) takeFrame(f ws.Frame) {
	switch f.OpCode {
	case ws.OpPong:
	case ws.OpClose:
		c.takeClose(f.Payload)
	default:
		if c.open == nil {
			c.closeWith(ReasonNotAllowed, closePolicy, "this door only sends: publish with POST /api/publish")
			return
		}
		c.takeEcho(f)
	}
}

// takeClose answers the client's close frame with its own code (RFC 6455 section 5.5.1).
func (c *conn) takeClose(payload []byte) {
	code, _, err := ws.ParseClose(payload)
	if err != nil {
		c.closeProtocol(err)
		return
	}
	if len(payload) == 0 {
		code = closeNormal
	}
	c.closeWith(ReasonClientClosed, code, "")
}

func (c *conn) closeProtocol(err error) {
	code, text := ws.CloseCodeOf(err)
	reason := ReasonProtocolError
	switch code {
	case closeTooLarge:
		reason = ReasonTooLarge
	case closeInvalidUTF8:
		reason = ReasonInvalidUTF8
	}
	c.closeWith(reason, code, text)
}

// takeEcho answers a message with itself once its last fragment is there.
func (c *conn) takeEcho(f ws.Frame) {
	e := c.open.echo
	message := f.Payload
	if f.OpCode != ws.OpContinuation {
		e.op, e.compressed = f.OpCode, f.Compressed
	}
	if f.OpCode == ws.OpContinuation || !f.Fin {
		e.buf = append(e.buf, f.Payload...)
		message = e.buf
	}
	if !f.Fin {
		return
	}
	e.buf = nil
	if e.compressed {
		var err error
		if message, err = c.inflate(message); err != nil {
			c.closeProtocol(err)
			return
		}
	}
	if e.op == ws.OpText && !ws.ValidText(message) {
		c.closeWith(ReasonInvalidUTF8, closeInvalidUTF8, "a text message must be UTF-8")
		return
	}
	c.loop.scratch = c.appendMessage(c.loop.scratch[:0], e.op, message)
	c.reply(c.loop.scratch)
}

// reply writes what the client asked for, unless it does not read its answers.
func (c *conn) reply(b []byte) {
	if pending := c.outstanding(); pending > 0 && pending+len(b) > c.loop.cfg.MaxPendingBytes {
		c.closeSlow()
		return
	}
	c.write(b)
}
