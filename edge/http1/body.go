package http1

import "math"

// Framing is how the end of a body is told.
type Framing uint8

// The framings of RFC 9112 section 6.
const (
	FramingNone    Framing = iota // there is no body
	FramingLength                 // by Content-Length
	FramingChunked                // by a chunk of size 0, and trailers
	FramingClose                  // by the end of the connection; of answers only
)

// Body goes over the bytes of one message's body as they come, cut anywhere, and says which they are. It
// keeps none and copies none. There are three ways to go over a body, and a body may be gone over by each
// in turn: [Body.Next] yields the payload, [Body.Raw] the bytes to send on as they are framed, [Body.Skip]
// counts those of the body. The zero value is the body of a message without one.
type Body struct {
	left    int64  // payload to come: of the length, of the chunk, or below the bound
	room    int64  // payload that may still come in chunks
	excess  int64  // what chunk lines had beyond their due
	line    int    // bytes of the chunk line, or of the trailers
	names   uint64 // those of notInTrailers that the trailer's name may still be
	at      int    // bytes of the trailer's name
	fields  int    // trailers
	digits  uint8  // of the chunk's size
	framing Framing
	state   bodyState
	err     error
}

// Start readies d for a body. length is that of FramingLength, bytes. maxBytes bounds the payload;
// 0 is no bound.
func (d *Body) Start(f Framing, length, maxBytes int64) {
	*d = Body{framing: f, room: maxBytes}
	if maxBytes == 0 {
		d.room = math.MaxInt64
	}
	switch f {
	case FramingLength:
		if d.state, d.left = stateData, length; length == 0 {
			d.state = stateDone
		}
		if length < 0 || length > d.room {
			d.err = ErrBodyTooLarge
		}
	case FramingChunked:
		d.state = stateSizeFirst
	case FramingClose:
		d.state, d.left = stateUntilClose, d.room
	}
}

// Done reports whether the body has ended. One that ends with the connection ends in [Body.EOF].
func (d *Body) Done() bool { return d.state == stateDone && d.err == nil }

// Trailers is the number of trailer fields so far. Nothing but [Body.Skip] lets them through.
func (d *Body) Trailers() int { return d.fields }

// Next goes on at the start of b: n bytes belong to the body, of which data, a part of b, is payload and
// the rest says how it is framed. Unless it is done or fails n is not 0 for a b that is not empty: call it
// with b[n:] until done, or until n is len(b). What follows a body that is done is not of this message.
// After an error, which it returns from then on, the connection is of no use.
func (d *Body) Next(b []byte) (data []byte, n int, done bool, err error) {
	for n < len(b) && d.state > stateUntilClose && d.err == nil {
		if !d.step(b[n]) {
			return nil, n, false, d.err
		}
		n++
	}
	data = d.take(b[n:])
	return data, n + len(data), d.Done(), d.err
}

// Raw is Next for who sends the body on framed as it came: raw, a part of b, is what to send, which is
// payload and chunk lines; chunk extensions and trailers are left out (RFC 9112 sections 7.1.1 and 7.1.2).
// With an error raw may be what came before it.
func (d *Body) Raw(b []byte) (raw []byte, n int, done bool, err error) {
	for n < len(b) && d.err == nil && d.leavesOut(b[n]) {
		if d.step(b[n]) {
			n++
		}
	}
	start := n
	for n < len(b) && d.err == nil && d.state != stateDone && !d.leavesOut(b[n]) {
		if d.state <= stateUntilClose {
			n += len(d.take(b[n:]))
		} else if d.step(b[n]) {
			n++
		}
	}
	return b[start:n], n, d.Done(), d.err
}

// Skip is Next for who only has to know how many bytes at the start of b belong to the body, with all that
// frames it.
func (d *Body) Skip(b []byte) (n int, done bool, err error) {
	for {
		_, k, done, err := d.Next(b[n:])
		if n += k; done || err != nil || n == len(b) {
			return n, done, err
		}
	}
}

// EOF says that the connection has ended. [ErrCutShort]: the body has not.
func (d *Body) EOF() error {
	if d.state == stateUntilClose {
		d.state = stateDone
	}
	if d.err == nil && d.state != stateDone {
		d.err = ErrCutShort
	}
	return d.err
}

// take is the payload at the start of b.
func (d *Body) take(b []byte) []byte {
	if d.state != stateData && d.state != stateUntilClose || d.err != nil {
		return nil
	}
	n := int(min(d.left, int64(len(b))))
	d.left -= int64(n)
	switch {
	case d.state == stateUntilClose:
		if n < len(b) {
			d.err = ErrBodyTooLarge
		}
	case d.left > 0:
	case d.framing == FramingChunked:
		d.state = stateDataCR
	default:
		d.state = stateDone
	}
	return b[:n]
}
