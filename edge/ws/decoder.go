package ws

import gobwas "github.com/gobwas/ws"

// Limits bound what a peer may send. They are shared by all conns of a kind.
type Limits struct {
	// MaxFrameBytes bounds one frame's payload, MaxMessageBytes that of all fragments of a
	// message. Bytes, above 0.
	MaxFrameBytes, MaxMessageBytes int
	// RequireMask is true on a server: its clients must mask. On a client it is false: its
	// server must not.
	RequireMask bool
}

// MaxEmptyFragments bounds the fragments of a message that carry no byte, the last one aside: no limit of
// bytes ends a message of them, and each costs as much as one that carries something.
const MaxEmptyFragments = 128

// Frame is one frame with its payload unmasked. The payload aliases the bytes given to
// [Decoder.Next] and lives as long as they do.
type Frame struct {
	OpCode OpCode
	Fin    bool
	// Compressed marks the first frame of a message whose payload, joined over its frames, is for
	// [Inflate].
	Compressed bool
	Payload    []byte
}

// Decoder is what has to be remembered between the frames of one direction of a conn. The
// zero value is ready.
type Decoder struct {
	message int64  // bytes of the open message so far
	empty   uint16 // its fragments without any
	open    bool   // a message was begun and not ended

	// Deflate says that permessage-deflate was agreed on, and WindowBits with which window for the other
	// direction, see [AcceptDeflate]: the decoder needs it not, and has room for it.
	Deflate    bool
	WindowBits uint8
}

// DecoderState is a Decoder as another process takes it up.
type DecoderState struct {
	Message    int64
	Empty      uint16
	Open       bool
	Deflate    bool
	WindowBits uint8
}

// State is d as [Decoder.Restore] takes it.
func (d *Decoder) State() DecoderState {
	return DecoderState{d.message, d.empty, d.open, d.Deflate, d.WindowBits}
}

// Restore makes d what it was.
func (d *Decoder) Restore(s DecoderState) {
	*d = Decoder{message: s.Message, empty: s.Empty, open: s.Open, Deflate: s.Deflate, WindowBits: s.WindowBits}
}

// Next takes the next whole frame from the start of b and unmasks its payload in place; n is
// how many bytes the frame took. It returns [ErrShort], with nothing changed, while b holds
// less than a frame. Any other error ends the conn: it comes as soon as the header shows it,
// before the payload is there, and costs no memory whatever length was declared.
func (d *Decoder) Next(b []byte, lim *Limits) (f Frame, n int, err error) {
	h, n, err := ParseHeader(b)
	if err != nil {
		return Frame{}, 0, err
	}
	if err := d.check(h, lim); err != nil {
		return Frame{}, 0, err
	}
	end := n + int(h.Length)
	if len(b) < end {
		return Frame{}, 0, ErrShort
	}
	payload := b[n:end:end]
	if h.Masked {
		gobwas.Cipher(payload, h.Mask, 0)
	}
	if !h.OpCode.IsControl() {
		d.count(h)
	}
	return Frame{OpCode: h.OpCode, Fin: h.Fin, Compressed: h.Rsv == rsv1, Payload: payload}, end, nil
}

// count notes a frame of a message.
func (d *Decoder) count(h Header) {
	d.message += h.Length
	if h.Length == 0 {
		d.empty++
	}
	if d.open = !h.Fin; h.Fin {
		d.message, d.empty = 0, 0
	}
}

// check judges a header by RFC 6455 sections 5.1 to 5.5, RFC 7692 section 6 and the limits.
func (d *Decoder) check(h Header, lim *Limits) error {
	switch {
	case h.Rsv != 0 && !d.mayCompress(h):
		return ErrReservedBits
	case h.OpCode.IsReserved():
		return ErrReservedOpCode
	case lim.RequireMask && !h.Masked:
		return ErrNotMasked
	case !lim.RequireMask && h.Masked:
		return ErrMasked
	}
	if h.OpCode.IsControl() {
		switch {
		case h.Length > MaxControlBytes:
			return ErrControlLong
		case !h.Fin:
			return ErrControlPart
		}
		return nil
	}
	switch {
	case h.OpCode == OpContinuation && !d.open:
		return ErrContinuation
	case h.OpCode != OpContinuation && d.open:
		return ErrInterrupted
	case h.Length > int64(lim.MaxFrameBytes):
		return ErrFrameTooLarge
	case d.message+h.Length > int64(lim.MaxMessageBytes):
		return ErrTooLarge
	case h.Length == 0 && !h.Fin && d.empty == MaxEmptyFragments:
		return ErrEmptyFragments
	}
	return nil
}

// mayCompress reports whether h is the first frame of a compressed message, the only one that may
// have a reserved bit: RSV1.
func (d *Decoder) mayCompress(h Header) bool {
	return d.Deflate && h.Rsv == rsv1 && (h.OpCode == OpText || h.OpCode == OpBinary)
}
