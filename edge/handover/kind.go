package handover

import "errors"

// Errors of this package, to be tested for with [errors.Is].
var (
	// ErrTooLong says that a message is over 64 MiB.
	ErrTooLong = errors.New("a message of a takeover is too long")
	// ErrNobody says that no process serves a socket.
	ErrNobody = errors.New("no weir serves there")
)

// Kind is what a message is.
type Kind uint8
