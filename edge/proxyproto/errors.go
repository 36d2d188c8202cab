package proxyproto

import "errors"

// ErrShort says that the header has not ended yet.
var ErrShort = errors.New("more bytes are needed")

// What a header can do wrong. All mean the same to who receives one: the sender is no proxy, or
// not configured as one.
var (
	ErrSignature = errors.New("it does not begin with a PROXY header: have the proxy send one")
	ErrLine      = errors.New("the line is not PROXY TCP4|TCP6 source destination port port, or PROXY UNKNOWN")
	ErrTooLong   = errors.New("the header is too long")
	ErrVersion   = errors.New("the version of the binary header is not 2")
	ErrCommand   = errors.New("the command is neither LOCAL nor PROXY")
	ErrFamily    = errors.New("the address family or transport is not assigned")
	ErrTooShort  = errors.New("the header is shorter than the addresses of its family")
)
