package replay

import "errors"

// Errors of this package, to be tested for with [errors.Is].
var (
	// ErrNoLine says that no line of the logs could be read as a request.
	ErrNoLine = errors.New("no line is a request")
	// ErrNoKey says that logs do not have what a policy tells clients apart by.
	ErrNoKey = errors.New("the log does not have what the policy's key is made of")
	// ErrNoSeconds says that a policy of concurrent requests needs to know how long they took.
	ErrNoSeconds = errors.New("the log does not say how long requests took")
	// ErrBadConfig is wrapped by every other error about a Config.
	ErrBadConfig = errors.New("bad replay")
)
