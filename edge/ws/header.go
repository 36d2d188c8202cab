package ws

import (
	"encoding/binary"

	gobwas "github.com/gobwas/ws"
)

// OpCode is the kind of a frame (RFC 6455 section 5.2).
type OpCode = gobwas.OpCode

// The op codes that RFC 6455 defines.
const (
	OpContinuation = gobwas.OpContinuation
	OpText         = gobwas.OpText
	OpBinary       = gobwas.OpBinary
	OpClose        = gobwas.OpClose
	OpPing         = gobwas.OpPing
	OpPong         = gobwas.OpPong
)

const (
	// MaxControlBytes bounds the payload of a control frame (RFC 6455 section 5.5).
	MaxControlBytes = 125
	// MaxHeaderBytes is the longest header: two bytes, a 64-bit length, a mask.
	MaxHeaderBytes = 14

	// rsv1Bit is RSV1 in a frame's first byte, rsv1 in [Header.Rsv]: with permessage-deflate it
	// marks a compressed message (RFC 7692 section 6).
	rsv1Bit = 0x40
	rsv1    = 4

	length16 = 126
	length64 = 127
)

// Header is a frame's header:
//
//	 0               1               2               3
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	|F|R|R|R| opcode|M| length (7)  | length (16 or 64, big-endian) |
//	|I|S|S|S|  (4)  |A|             | if the 7 bits are 126 or 127  |
//	|N|V|V|V|       |S|             |                               |
//	| |1|2|3|       |K|             | then 4 bytes of mask, if MASK |
//	+-+-+-+-+-------+-+-------------+-------------------------------+
type Header struct {
	Fin    bool
	Rsv    byte // the three reserved bits, RSV1 the highest
	OpCode OpCode
	Masked bool
	Mask   [4]byte
	Length int64 // of the payload, bytes, 0 to 2^63-1
}

// ParseHeader reads a header from the start of b; n is its length. It returns [ErrShort] when
// b ends too soon, and an error for a length that is not minimal or has its top bit set
// (RFC 6455 section 5.2). What the header says is otherwise not judged.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) < 2 {
		return Header{}, 0, ErrShort
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = b[0] >> 4 & 7
	h.OpCode = OpCode(b[0] & 0x0f)
	h.Masked = b[1]&0x80 != 0
	n = 2
	switch l := b[1] & 0x7f; l {
	case length16:
		if len(b) < 4 {
			return Header{}, 0, ErrShort
		}
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		if h.Length < length16 {
			return Header{}, 0, ErrLengthForm
		}
		n = 4
	case length64:
		if len(b) < 10 {
			return Header{}, 0, ErrShort
		}
		v := binary.BigEndian.Uint64(b[2:])
		if v>>63 != 0 {
			return Header{}, 0, ErrLengthSign
		}
		if v < 1<<16 {
			return Header{}, 0, ErrLengthForm
		}
		h.Length = int64(v)
		n = 10
	default:
		h.Length = int64(l)
	}
	if h.Masked {
		if len(b) < n+4 {
			return Header{}, 0, ErrShort
		}
		h.Mask = [4]byte(b[n:])
		n += 4
	}
	return h, n, nil
}

// AppendHeader appends the header of an unmasked frame with a payload of length bytes.
func AppendHeader(dst []byte, op OpCode, fin bool, length int) []byte {
	return appendHeader(dst, op, fin, length, 0)
}

func appendHeader(dst []byte, op OpCode, fin bool, length int, maskBit byte) []byte {
	first := byte(op)
	if fin {
		first |= 0x80
	}
	switch {
	case length < length16:
		return append(dst, first, maskBit|byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, first, maskBit|length16), uint16(length))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, maskBit|length64), uint64(length)) //nolint:gosec // a length is never negative
	}
}

// AppendFrame appends a whole unmasked frame, as a server sends it.
func AppendFrame(dst []byte, op OpCode, payload []byte) []byte {
	return append(AppendHeader(dst, op, true, len(payload)), payload...)
}

// AppendMaskedFrame appends a frame as a client sends it. payload is not changed.
func AppendMaskedFrame(dst []byte, op OpCode, fin bool, mask [4]byte, payload []byte) []byte {
	dst = appendHeader(dst, op, fin, len(payload), 0x80)
	dst = append(dst, mask[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	gobwas.Cipher(dst[start:], mask, 0)
	return dst
}

// AppendUnmasked appends a part of a payload, which begins at its byte at, without its mask.
func AppendUnmasked(dst, part []byte, mask [4]byte, at int) []byte {
	start := len(dst)
	dst = append(dst, part...)
	gobwas.Cipher(dst[start:], mask, at)
	return dst
}
