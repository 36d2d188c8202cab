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
	valid      int // bytes of buf that were found to be UTF-8
	ahead      ahead
}

// ahead is how far a text frame was looked at that is not whole yet.
type ahead struct {
	seen int    // bytes of its payload
	cut  []byte // the rune that they end in the middle of
}

// maxPongs bounds the pings of one read that are answered each, for clients that count; of those past it
// the newest is (RFC 6455 section 5.5.3 allows that of all), so that a flood of pings is not one of pongs.
const maxPongs = 16

// pongs are the answers to a run of pings.
type pongs struct {
	frames  []byte
	n, last int // how many, and where the last begins
}

func (p *pongs) add(payload []byte) {
	if p.n < maxPongs {
		p.n, p.last = p.n+1, len(p.frames)
	}
	p.frames = ws.AppendFrame(p.frames[:p.last], ws.OpPong, payload)
}

// readFrames takes the whole frames that have come. A run of pings costs one write.
func (c *conn) readFrames() {
	if n := c.buffered(); n == 0 || n < int(c.need) {
		return
	}
	b := c.peek()
	used := 0
	c.loop.pongs = pongs{frames: c.loop.pongs.frames[:0]}
	for c.state == stateMessages {
		f, n, err := c.decoder.Next(b[used:], &c.loop.limits)
		if err != nil {
			c.need = 0
			if errors.Is(err, ws.ErrShort) {
				c.need = wantedBytes(b[used:])
				c.lookAhead(b[used:])
			} else {
				c.closeProtocol(err)
			}
			break
		}
		used += n
		c.takeFrame(f)
	}
	c.answerPings()
	if used > 0 && c.state == stateMessages {
		c.heard() // a part of a frame is no sign of life: it can be made to last for hours
		c.discard(used)
	}
}

// lookAhead ends the conn as soon as the part of a text that has come of a frame shows that it cannot become
// UTF-8. Each byte is unmasked for that once; that it is there is looked at some bytes at a time, so that a
// long frame is not copied anew for each that comes.
func (c *conn) lookAhead(b []byte) {
	if c.open == nil || c.need == 0 {
		return
	}
	e := c.open.echo
	h, n, err := ws.ParseHeader(b)
	if err != nil || !e.isText(h) {
		return
	}
	a := &e.ahead
	if a.seen == 0 && h.OpCode == ws.OpContinuation {
		a.cut = append(a.cut, e.buf[e.valid:]...)
	}
	text := ws.AppendUnmasked(a.cut, b[n+a.seen:], h.Mask, a.seen)
	a.seen = len(b) - n
	whole, ok := ws.ValidTextPrefix(text)
	if !ok {
		c.closeInvalidText()
		return
	}
	a.cut = append(a.cut[:0], text[whole:]...)
	c.need = min(c.need, uint32(len(b)+max(1, len(b)/16))) //nolint:gosec // below MaxMessageBytes
}

// isText reports whether the frame of a header is of a text message that is not compressed.
func (e *echo) isText(h ws.Header) bool {
	if h.OpCode == ws.OpContinuation {
		return e.op == ws.OpText && !e.compressed
	}
	return h.OpCode == ws.OpText && h.Rsv == 0
}

// answerPings sends the pongs that are due: before the answer to what stands behind the pings.
func (c *conn) answerPings() {
	p := &c.loop.pongs
	if p.n > 0 && c.state == stateMessages {
		c.reply(p.frames)
	}
	*p = pongs{frames: p.frames[:0]}
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
	case ws.OpPing:
		c.loop.stats.pings.Add(1)
		c.loop.pongs.add(f.Payload)
	case ws.OpPong:
		c.loop.stats.pongs.Add(1)
	case ws.OpClose:
		if c.answerPings(); c.state == stateMessages {
			c.takeClose(f.Payload)
		}
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
	e.ahead = ahead{}
	message := f.Payload
	if f.OpCode != ws.OpContinuation {
		e.op, e.compressed, e.valid = f.OpCode, f.Compressed, 0
	}
	if f.OpCode == ws.OpContinuation || !f.Fin {
		e.buf = append(e.buf, f.Payload...)
		message = e.buf
	}
	if !f.Fin {
		c.checkText()
		return
	}
	if c.answerPings(); c.state != stateMessages {
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
	if e.op == ws.OpText && !ws.ValidText(message[e.valid:]) {
		c.closeInvalidText()
		return
	}
	c.loop.scratch = c.appendMessage(c.loop.scratch[:0], e.op, message)
	c.reply(c.loop.scratch)
}

// checkText ends the conn as soon as a fragment shows that the text cannot become UTF-8. A compressed one
// is looked at when it is inflated.
func (c *conn) checkText() {
	e := c.open.echo
	if e.op != ws.OpText || e.compressed {
		return
	}
	n, ok := ws.ValidTextPrefix(e.buf[e.valid:])
	if e.valid += n; !ok {
		c.closeInvalidText()
	}
}

func (c *conn) closeInvalidText() {
	c.closeWith(ReasonInvalidUTF8, closeInvalidUTF8, "a text message must be UTF-8")
}

// reply writes what the client asked for, unless it does not read its answers.
func (c *conn) reply(b []byte) {
	if pending := c.outstanding(); pending > 0 && pending+len(b) > c.loop.cfg.MaxPendingBytes {
		c.closeSlow()
		return
	}
	c.write(b)
}
