package ws

import (
	"encoding/binary"
	"unicode/utf8"
)

// maxReasonBytes is what a close frame has room for behind its code.
const maxReasonBytes = MaxControlBytes - 2

// ParseClose reads a close frame's payload. An empty one is valid and has code 0. reason
// aliases payload.
func ParseClose(payload []byte) (code uint16, reason []byte, err error) {
	switch {
	case len(payload) == 0:
		return 0, nil, nil
	case len(payload) == 1:
		return 0, nil, ErrClosePayload
	}
	code = binary.BigEndian.Uint16(payload)
	reason = payload[2:]
	switch {
	case !maySend(code):
		return 0, nil, ErrCloseCode
	case !utf8.Valid(reason):
		return 0, nil, ErrCloseUTF8
	}
	return code, reason, nil
}

// maySend reports whether an endpoint may put the code into a frame: those that RFC 6455
// section 7.4 or the registry it opens define and do not reserve, and the ranges for
// libraries and applications.
func maySend(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}

// AppendClose appends an unmasked close frame. A reason longer than 123 bytes is cut between
// two runes.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if len(reason) > maxReasonBytes {
		cut := maxReasonBytes
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	dst = AppendHeader(dst, OpClose, true, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}

// ValidText reports whether a whole text message is UTF-8 (RFC 6455 section 8.1).
func ValidText(message []byte) bool { return utf8.Valid(message) }

// ValidTextPrefix is the length of the whole runes that the beginning of a text message has; ok is false if no
// bytes to come can make it UTF-8.
func ValidTextPrefix(b []byte) (n int, ok bool) {
	// A rune that is cut has at most the last three bytes.
	n = len(b)
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if at := len(b) - back; utf8.RuneStart(b[at]) {
			if !utf8.FullRune(b[at:]) {
				n = at
			}
			break
		}
	}
	return n, utf8.Valid(b[:n])
}
