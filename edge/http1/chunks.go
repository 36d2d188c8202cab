package http1

import "bytes"

// Limits of what frames chunks. Those that net/http has are no lower.
const (
	maxChunkBytes     = 1 << 48
	maxSizeDigits     = 16  // leading zeros count
	maxChunkLineBytes = 256 // with extensions
	// maxExcessBytes bounds what all chunk lines of a body have beyond 16 bytes and twice their chunk's size,
	// each: a sender may send byte by byte, but not hide a flood in extensions.
	maxExcessBytes   = 8 << 10
	maxTrailerBytes  = 2 << 10
	maxTrailerFields = 16
)

// bodyState is where in a body the next byte is. Those up to stateUntilClose take no steps.
type bodyState uint8

const (
	stateDone bodyState = iota
	stateData
	stateUntilClose
	stateSizeFirst // RFC 9112 section 7.1
	stateSize
	stateExtNameFirst // section 7.1.1
	stateExtName
	stateExtValueFirst
	stateExtValue
	stateExtQuoted
	stateExtEscaped
	stateExtEnd
	stateSizeLF
	stateDataCR
	stateDataLF
	stateTrailerFirst // section 7.1.2
	stateTrailerName
	stateTrailerValue
	stateTrailerLF
	stateEndLF
)

// step takes one byte of what frames chunks. It returns false, with d.err set, if it may not be there.
func (d *Body) step(c byte) bool {
	switch {
	case d.state <= stateSizeLF:
		if d.line++; d.line > maxChunkLineBytes {
			d.err = ErrChunkLine
			break
		}
		if d.state <= stateSize {
			d.stepSize(c)
		} else {
			d.stepExtension(c)
		}
	case d.state <= stateDataLF:
		d.stepDataEnd(c)
	default:
		if d.line++; d.line > maxTrailerBytes {
			d.err = ErrTrailersTooLarge
			break
		}
		d.stepTrailer(c)
	}
	return d.err == nil
}

func (d *Body) stepSize(c byte) {
	v := unhex(c)
	switch {
	case v <= 15:
		if d.digits++; d.digits > maxSizeDigits || d.left > maxChunkBytes>>4 {
			d.err = ErrChunkSize
			return
		}
		d.state, d.left = stateSize, d.left<<4|int64(v)
	case d.state == stateSizeFirst:
		d.err = ErrChunkSize
	case c == ';':
		d.state = stateExtNameFirst
	case c == '\r':
		d.state = stateSizeLF
	default:
		d.err = ErrChunkSize
	}
}

// stepExtension is chunk-ext without the white space that its grammar calls bad, and the end of the line.
func (d *Body) stepExtension(c byte) {
	isToken, ends := classes[c]&tokenByte != 0, false
	switch d.state {
	case stateExtNameFirst, stateExtName:
		switch {
		case isToken:
			d.state = stateExtName
		case d.state == stateExtName && c == '=':
			d.state = stateExtValueFirst
		default:
			ends = d.state == stateExtName
			d.failUnless(ends, ErrChunkExtension)
		}
	case stateExtValueFirst, stateExtValue:
		switch {
		case isToken:
			d.state = stateExtValue
		case d.state == stateExtValueFirst && c == '"':
			d.state = stateExtQuoted
		default:
			ends = d.state == stateExtValue
			d.failUnless(ends, ErrChunkExtension)
		}
	case stateExtQuoted:
		switch c {
		case '"':
			d.state = stateExtEnd
		case '\\':
			d.state = stateExtEscaped
		default:
			d.failUnless(classes[c]&valueByte != 0, ErrChunkExtension)
		}
	case stateExtEscaped:
		d.state = stateExtQuoted
		d.failUnless(classes[c]&valueByte != 0, ErrChunkExtension)
	case stateExtEnd:
		ends = true
	case stateSizeLF:
		d.failUnless(c == '\n', ErrLineEnd)
		d.startChunk()
	}
	switch {
	case !ends:
	case c == ';':
		d.state = stateExtNameFirst
	case c == '\r':
		d.state = stateSizeLF
	default:
		d.err = ErrChunkExtension
	}
}

func (d *Body) failUnless(ok bool, err error) {
	if !ok && d.err == nil {
		d.err = err
	}
}

// startChunk comes after a chunk's line.
func (d *Body) startChunk() {
	d.excess = max(0, d.excess+int64(d.line)+2-16-2*d.left)
	d.failUnless(d.excess <= maxExcessBytes, ErrChunkLine)
	d.failUnless(d.left <= d.room, ErrBodyTooLarge)
	d.room -= d.left
	if d.line, d.digits, d.state = 0, 0, stateData; d.left == 0 {
		d.state = stateTrailerFirst
	}
}

func (d *Body) stepDataEnd(c byte) {
	if d.state == stateDataCR {
		d.failUnless(c == '\r', ErrChunkEnd)
		d.state = stateDataLF
		return
	}
	d.failUnless(c == '\n', ErrChunkEnd)
	d.state = stateSizeFirst
}

func (d *Body) stepTrailer(c byte) {
	switch d.state {
	case stateTrailerFirst:
		if c == '\r' {
			d.state = stateEndLF
			return
		}
		if d.fields++; d.fields > maxTrailerFields {
			d.err = ErrTrailersTooLarge
			return
		}
		d.state, d.at, d.names = stateTrailerName, 0, 1<<len(notInTrailers)-1
		d.stepTrailerName(c)
	case stateTrailerName:
		d.stepTrailerName(c)
	case stateTrailerValue:
		if c == '\r' {
			d.state = stateTrailerLF
			return
		}
		d.failUnless(classes[c]&valueByte != 0, ErrFieldValue)
	case stateTrailerLF:
		d.failUnless(c == '\n', ErrLineEnd)
		d.state = stateTrailerFirst
	case stateEndLF:
		d.failUnless(c == '\n', ErrLineEnd)
		d.state = stateDone
	}
}

// notInTrailers are names that no trailer may have (RFC 9110 section 6.5.1): they frame or route the message,
// say who sent it or how to read it, or are of one hop. One that ends in * stands for all that begin so.
var notInTrailers = [...]string{
	"authorization", "cache-control", "connection", "content-encoding", "content-length", "content-range",
	"content-type", "cookie", "expect", "forwarded", "host", "http2-settings", "if-*", "keep-alive",
	"max-forwards", "origin", "proxy-*", "range", "set-cookie", "te", "trailer", "transfer-encoding",
	"upgrade", "x-forwarded-*", "x-real-ip",
}

// stepTrailerName keeps, in place of the name, which of those that are not allowed it may still be.
func (d *Body) stepTrailerName(c byte) {
	if c == ':' {
		for i, name := range notInTrailers {
			d.failUnless(d.names>>i&1 == 0 || len(name) != d.at, ErrTrailerName)
		}
		d.failUnless(d.at > 0, ErrFieldName)
		d.state = stateTrailerValue
		return
	}
	d.failUnless(classes[c]&tokenByte != 0, ErrFieldName)
	for i, name := range notInTrailers {
		switch {
		case d.names>>i&1 == 0:
		case d.at >= len(name) || name[d.at] != folded[c]:
			d.names &^= 1 << i
		case d.at+2 == len(name) && name[d.at+1] == '*':
			d.failUnless(false, ErrTrailerName)
		}
	}
	d.at++
}

// checkTrailerNames refuses a Trailer header that names what may not be a trailer.
func checkTrailerNames(list []byte) error {
	for len(list) > 0 {
		name, rest, _ := bytes.Cut(list, []byte(","))
		list = rest
		if anyMatches(trim(name), notInTrailers[:]) {
			return ErrTrailerName
		}
	}
	return nil
}

// leavesOut reports whether c, the next byte, is of an extension or a trailer.
func (d *Body) leavesOut(c byte) bool {
	switch d.state {
	case stateSize:
		return c == ';'
	case stateExtNameFirst, stateExtName, stateExtValueFirst, stateExtValue, stateExtQuoted, stateExtEscaped, stateExtEnd, stateTrailerFirst:
		return c != '\r'
	case stateTrailerName, stateTrailerValue, stateTrailerLF:
		return true
	}
	return false
}
