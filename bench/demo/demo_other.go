//go:build !linux

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Run is on Linux alone: it makes network namespaces.
func Run(context.Context, Config, io.Writer) (*Summary, error) {
	return nil, fmt.Errorf("run the demo: %w", errors.ErrUnsupported)
}
