//go:build !linux

package baseline

import (
	"errors"
	"fmt"
	"time"
)

var errNotLinux = fmt.Errorf("run a BPF program: %w: run it on Linux", errors.ErrUnsupported)

func threadTime() (time.Duration, error) { return 0, errNotLinux }
func pin(int) error                      { return errNotLinux }

// CPUs wraps [errors.ErrUnsupported]: only Linux has BPF programs of this kind.
func CPUs() ([]int, error) { return nil, errNotLinux }
