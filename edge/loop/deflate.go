package loop

import (
	"bytes"

	"weir/edge/http1"
	"weir/edge/ws"
)

// extensionsField is the header field of RFC 6455 section 11.3.2, which may come several times.
var extensionsField = []byte("Sec-WebSocket-Extensions")

// agreeDeflate is the answer to the request's first acceptable offer of permessage-deflate, "" if it
// has none: an offer that cannot be taken is never an error. It does not alias the request.
func (l *loop) agreeDeflate(r *http1.Request) string {
	if l.cfg.Compression == CompressionOff {
		return ""
	}
	for _, f := range r.Fields {
		if !bytes.EqualFold(f.Name, extensionsField) {
			continue
		}
		if answer := ws.AcceptDeflate(f.Value); answer != "" {
			return answer
		}
	}
	return ""
}

// inflate is a compressed message in the loop's scratch, where it lives until the next one.
func (c *conn) inflate(message []byte) ([]byte, error) {
	b, err := ws.Inflate(c.loop.inflated[:0], message, c.loop.cfg.MaxMessageBytes)
	c.loop.inflated = b[:0]
	return b, err
}

// appendMessage appends a message to this conn alone as one frame, compressed if that was agreed
// on and pays.
func (c *conn) appendMessage(dst []byte, op ws.OpCode, message []byte) []byte {
	if c.decoder.Deflate {
		if b, ok := ws.AppendDeflated(dst, op, message); ok {
			return b
		}
	}
	return ws.AppendFrame(dst, op, message)
}
