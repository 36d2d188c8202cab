package xdp

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
)

// Errors of this package, to be tested for with [errors.Is]. Each comes wrapped in a sentence
// that says what to do.
var (
	// ErrNotPermitted: the process lacks CAP_BPF, CAP_NET_ADMIN or CAP_PERFMON.
	ErrNotPermitted = errors.New("not permitted")
	// ErrNoInterface: there is no interface of that name.
	ErrNoInterface = errors.New("no such interface")
	// ErrBusy: another XDP program is on the interface.
	ErrBusy = errors.New("interface has an XDP program already")
	// ErrNotEthernet: the interface's packets have no Ethernet header, as a tunnel's.
	ErrNotEthernet = errors.New("interface is not Ethernet")
	// ErrNoNative: the driver cannot run the program.
	ErrNoNative = errors.New("driver has no native XDP")
	// ErrKernel: the kernel lacks a feature that the program needs.
	ErrKernel = errors.New("kernel cannot load xdp_weir")
	// ErrListFull: the kernel has no room for so many prefixes.
	ErrListFull = errors.New("the list is too long")
	// ErrFull: the kernel's map has no room for another entry.
	ErrFull = errors.New("there is no room")
	// ErrIncompatible: pinned state does not fit this program or its configuration.
	ErrIncompatible = errors.New("pinned state does not fit")
)

// loadError is why the kernel refused a program: in a line as %v, with all that the verifier said as
// %+v.
type loadError struct{ err error }

func (e *loadError) Error() string { return e.err.Error() }
func (e *loadError) Unwrap() error { return e.err }

// Format implements [fmt.Formatter].
func (e *loadError) Format(f fmt.State, verb rune) {
	_, _ = io.WriteString(f, e.err.Error())
	if ve, ok := errors.AsType[*ebpf.VerifierError](e.err); ok && f.Flag('+') {
		fmt.Fprintf(f, "\n%+v", ve)
	}
	_ = verb // there is one way to print it
}
