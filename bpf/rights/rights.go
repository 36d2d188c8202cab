// Package rights tells what a process may not do to the kernel from what the kernel cannot do.
package rights

import (
	"errors"
	"os"

	"github.com/cilium/ebpf"
)

// Refused says whether objects could not be loaded since this process lacks a capability, or as the
// kernel's policy forbids it. cilium/ebpf finds out what the kernel has by trying it, so that a try that is refused
// reads as a feature that is missing: then the process's own capabilities say which of the two it was.
func Refused(err error) bool {
	if _, isVerifier := errors.AsType[*ebpf.VerifierError](err); isVerifier {
		return false
	}
	return errors.Is(err, os.ErrPermission) || errors.Is(err, ebpf.ErrNotSupported) && !mayLoad()
}
