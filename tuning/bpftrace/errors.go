package bpftrace

import "errors"

// Errors of this package, to be tested for with [errors.Is].
var (
	// ErrSession: there is no session of that name.
	ErrSession = errors.New("no such session")
	// ErrParams: a parameter is missing, out of range, or not one of the session's.
	ErrParams = errors.New("wrong parameters")
	// ErrMissing: bpftrace is not installed.
	ErrMissing = errors.New("bpftrace is not installed: apt-get install bpftrace")
	// ErrNotPermitted: the process is not root.
	ErrNotPermitted = errors.New("bpftrace needs root: run it with sudo")
	// ErrKernel: the kernel lacks a probe of the session, or refuses it.
	ErrKernel = errors.New("the kernel has not what the session needs")
	// ErrSymbols: the binary has none of the functions that the session looks at.
	ErrSymbols = errors.New("the binary has not what the session needs")
	// ErrScript: bpftrace does not take the script, as one older than 0.17 would not.
	ErrScript = errors.New("this bpftrace does not take the script: it is for bpftrace 0.17 and newer")
	// ErrHung: bpftrace neither began in time, nor ended when it was told to, and was killed.
	ErrHung = errors.New("bpftrace hung and was killed")
)
