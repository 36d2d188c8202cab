package loop

import (
	"bytes"

	"weir/edge/http1"
	"weir/edge/ws"
)

// extensionsField is the header field of RFC 6455 section 11.3.2, which may come several times.
var extensionsField = []byte("Sec-WebSocket-Extensions")

// agreement is what was agreed on about compression: the answer to the request's first acceptable offer of
// permessage-deflate, and the window that the client has for our messages. The zero value is none.
type agreement struct {
	answer     string
	windowBits uint8
}

// agreeDeflate never fails: an offer that cannot be taken is no error. What it returns does not alias the
// request.
func (l *loop) agreeDeflate(r *http1.Request) agreement {
	if l.cfg.Compression == CompressionOff {
		return agreement{}
	}
	for _, f := range r.Fields {
		if !bytes.EqualFold(f.Name, extensionsField) {
			continue
		}
		if answer, bits := ws.AcceptDeflate(f.Value); answer != "" {
			return agreement{answer, uint8(bits)} //nolint:gosec // 15 at most
		}
	}
	return agreement{}
}

// shared reports whether the client can be sent the compressed events that others are: with a smaller
// window than theirs it gets them as they are.
func (a agreement) shared() bool { return a.windowBits == ws.MaxWindowBits }

// inflate is a compressed message in the loop's scratch, where it lives until the next one.
func (c *conn) inflate(message []byte) ([]byte, error) {
	b, err := ws.Inflate(c.loop.inflated[:0], message, c.loop.cfg.MaxMessageBytes)
	c.loop.inflated = b[:0]
	return b, err
}

// appendMessage appends a message to this conn alone as one frame, compressed if that was agreed
// on, pays, and the client's window has room for all of it.
func (c *conn) appendMessage(dst []byte, op ws.OpCode, message []byte) []byte {
	if c.decoder.Deflate && (c.decoder.WindowBits == ws.MaxWindowBits || len(message) <= 1<<c.decoder.WindowBits) {
		if b, ok := ws.AppendDeflated(dst, op, message); ok {
			return b
		}
	}
	return ws.AppendFrame(dst, op, message)
}
