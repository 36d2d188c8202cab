//go:build !linux

package httpload

import (
	"errors"
	"fmt"
	"io"
)

// Run is on Linux alone: it holds its conns on epoll.
func Run(io.Reader, io.Writer) error {
	return fmt.Errorf("run a load generator: %w", errors.ErrUnsupported)
}
