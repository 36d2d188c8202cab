//go:build !linux

package xdp

import (
	"errors"
	"fmt"
)

// Occupants are the XDP programs on an interface: only Linux has them.
func Occupants(iface string) ([]Occupant, error) {
	return nil, fmt.Errorf("look for XDP programs on %s: %w: run it on Linux", iface, errors.ErrUnsupported)
}
