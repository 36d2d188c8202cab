//go:build !linux

package queues

import (
	"errors"
	"fmt"
)

func linkOf(string) (int, map[string]uint64, error) {
	return 0, nil, fmt.Errorf("%w: run it on Linux", errors.ErrUnsupported)
}

func driverOf(string) (string, map[string]uint64, error) {
	return "", nil, fmt.Errorf("%w: run it on Linux", errors.ErrUnsupported)
}
