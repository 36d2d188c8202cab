//go:build !linux

package bench

import (
	"context"
	"errors"
	"fmt"

	"weir/tuning/host"
)

func openSysfs() (*host.Tree, error) {
	return nil, fmt.Errorf("open a sysfs: %w", errors.ErrUnsupported)
}

func (b *backlogBurst) run(context.Context, *Lab) error {
	return fmt.Errorf("connect to a process that stands: %w", errors.ErrUnsupported)
}
