package steer

import "errors"

// Errors of this package, to be tested for with [errors.Is].
var (
	// ErrNotPermitted: the process lacks CAP_BPF or CAP_NET_ADMIN.
	ErrNotPermitted = errors.New("not permitted")
	// ErrKernel: the kernel lacks what the program needs.
	ErrKernel = errors.New("kernel cannot load steer")
)
