package ws

import "errors"

// ErrShort says that the bytes end before the header or frame does. Nothing was consumed.
var ErrShort = errors.New("more bytes are needed")

// What a frame can do wrong. Each ends the conn with the code of [CloseCodeOf].
var (
	ErrReservedBits   = errors.New("a reserved bit is set where no agreed extension has it")
	ErrReservedOpCode = errors.New("the op code is reserved")
	ErrNotMasked      = errors.New("a client must mask its frames")
	ErrMasked         = errors.New("a server must not mask its frames")
	ErrLengthForm     = errors.New("the length is not in its shortest form")
	ErrLengthSign     = errors.New("the top bit of the length is set")
	ErrControlLong    = errors.New("a control frame has more than 125 bytes")
	ErrControlPart    = errors.New("a control frame is fragmented")
	ErrContinuation   = errors.New("a continuation without a message to continue")
	ErrInterrupted    = errors.New("a new message before the last one ended")
	ErrFrameTooLarge  = errors.New("the frame is too large")
	ErrTooLarge       = errors.New("the message is too large")
	ErrEmptyFragments = errors.New("the message has too many empty fragments")
	ErrDeflate        = errors.New("a compressed message is not DEFLATE")
	ErrClosePayload   = errors.New("a close frame's payload has one byte")
	ErrCloseCode      = errors.New("the close code may not be sent")
	ErrCloseUTF8      = errors.New("the close reason is not UTF-8")
)

// Close codes that this package's errors map to (RFC 6455 section 7.4.1).
const (
	CodeProtocolError = 1002
	CodeInvalidUTF8   = 1007
	CodeTooLarge      = 1009
)

// frameErrors is the one table from errors to close codes.
var frameErrors = []struct {
	err  error
	code uint16
}{
	{ErrReservedBits, CodeProtocolError},
	{ErrReservedOpCode, CodeProtocolError},
	{ErrNotMasked, CodeProtocolError},
	{ErrMasked, CodeProtocolError},
	{ErrLengthForm, CodeProtocolError},
	{ErrLengthSign, CodeProtocolError},
	{ErrControlLong, CodeProtocolError},
	{ErrControlPart, CodeProtocolError},
	{ErrContinuation, CodeProtocolError},
	{ErrInterrupted, CodeProtocolError},
	{ErrFrameTooLarge, CodeTooLarge},
	{ErrTooLarge, CodeTooLarge},
	{ErrEmptyFragments, CodeTooLarge},
	// RFC 7692 names no code for a message that cannot be inflated. Its section 7.2.2 says what
	// such a message is made of, so another one breaks the protocol: 1002. 1007 is for what a
	// message says once it is inflated.
	{ErrDeflate, CodeProtocolError},
	{ErrClosePayload, CodeProtocolError},
	{ErrCloseCode, CodeProtocolError},
	{ErrCloseUTF8, CodeInvalidUTF8},
}

// CloseCodeOf is the close code and reason to answer a decoding error with; a protocol error
// without a reason for an error that is not of this package.
func CloseCodeOf(err error) (code uint16, reason string) {
	for _, e := range frameErrors {
		if errors.Is(err, e.err) {
			return e.code, e.err.Error()
		}
	}
	return CodeProtocolError, ""
}
