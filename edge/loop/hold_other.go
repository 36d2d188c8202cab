//go:build !linux

package loop

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Held is an address at which nobody listened a moment ago.
type Held struct{ addr *net.TCPAddr }

// Hold finds an address that a setting names, as "edge.listen" does. It is an error if anybody listens
// there.
func Hold(setting, listen string) (*Held, error) {
	ln, err := net.Listen("tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, inUse(setting, listen, err)
	}
	if err != nil {
		return nil, notOurs(setting, listen, err)
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	if err := ln.Close(); err != nil || !ok {
		return nil, fmt.Errorf("listen on %s: %w", listen, err)
	}
	return &Held{addr}, nil
}

// Addr is the address, with the port that was found for 0.
func (h *Held) Addr() *net.TCPAddr { return h.addr }

// Close does nothing.
func (*Held) Close() {}
