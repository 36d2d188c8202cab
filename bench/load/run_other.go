//go:build !linux

package load

import (
	"errors"
	"fmt"
	"io"
)

// Run is on Linux alone: it holds its conns on epoll.
func Run(io.Reader, io.Writer) error {
	return fmt.Errorf("run a load generator: %w", errors.ErrUnsupported)
}

// Monotonic is on Linux alone.
func Monotonic() int64 { return 0 }
