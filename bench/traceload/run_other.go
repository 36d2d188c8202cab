//go:build !linux

package traceload

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Run is a load on Linux.
func Run(io.Reader, io.Writer) error {
	return fmt.Errorf("make events to trace: %w", errors.ErrUnsupported)
}

// CPUTime is known on Linux.
func CPUTime() (time.Duration, error) {
	return 0, fmt.Errorf("read CPU time: %w", errors.ErrUnsupported)
}
