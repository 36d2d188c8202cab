//go:build !linux

package steer

import "fmt"

// Steer is not there: the program is Linux's.
type Steer struct{}

// New fails.
func New(int, int) (*Steer, error) {
	return nil, fmt.Errorf("load steer: %w: it needs Linux", ErrKernel)
}

// Place fails.
func (*Steer) Place(int, int, int) error { return ErrKernel }

// Attach fails.
func (*Steer) Attach(int) error { return ErrKernel }

// Close does nothing.
func (*Steer) Close() error { return nil }
