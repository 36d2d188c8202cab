//go:build !linux

package floor

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
)

// Run is on Linux alone: it waits with epoll.
func Run(netip.AddrPort, string, *os.File, io.Writer) error {
	return fmt.Errorf("run the floor: %w", errors.ErrUnsupported)
}
