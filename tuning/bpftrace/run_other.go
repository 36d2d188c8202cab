//go:build !linux

package bpftrace

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Run fails: bpftrace is Linux's.
func Run(_ context.Context, name string, p Params, _ io.Writer) error {
	s, err := find(name)
	if err != nil {
		return err
	}
	if err := s.check(p); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w: run it on Linux", name, errors.ErrUnsupported)
}
