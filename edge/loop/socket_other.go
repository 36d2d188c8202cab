//go:build !linux

package loop

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// DescriptorLimit is a guess that every system meets.
func DescriptorLimit() int { return 256 }

func limitUnsent(int, int) {}

func shutdownWrite(int) {}

func sendQueue(int) int { return 0 }

func acknowledged(int) (acked uint32, all, ok bool) { return 0, false, false }

func tcpInfo(int) (TCPInfo, bool) { return TCPInfo{}, false }

// kick is not there: slices of sweeps go on as tasks.
type kick struct{ end net.Conn }

func newKick() (*kick, error) {
	return nil, fmt.Errorf("make a socket pair for an event loop: %w", errors.ErrUnsupported)
}

func (k *kick) again() {}

func (k *kick) close() {}

func sharePort(string, string, syscall.RawConn) error { return errors.ErrUnsupported }
