//go:build !linux

package flood

import (
	"context"
	"errors"
	"fmt"
)

// Flood is on Linux alone.
type Flood struct{}

// Open wraps [errors.ErrUnsupported].
func Open(Config) (*Flood, error) { return nil, fmt.Errorf("flood: %w", errors.ErrUnsupported) }

// Run wraps [errors.ErrUnsupported].
func (*Flood) Run(context.Context, int) (Result, error) {
	return Result{}, fmt.Errorf("flood: %w", errors.ErrUnsupported)
}

// Sent is nothing.
func (*Flood) Sent() (Result, error) { return Result{}, nil }

// Close does nothing: there is nothing to close.
func (*Flood) Close() error { return nil }
