//go:build !linux

package loop

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/panjf2000/gnet/v2"
)

// predecessor is not there: descriptors are handed over on Linux alone.
type predecessor struct {
	hello       hello
	tlsListener *net.TCPListener
}

func (*predecessor) dummyListeners(int) []string { return nil }

// TakeOver fails.
func (*Server) TakeOver(context.Context) error {
	return fmt.Errorf("take over: it needs Linux: %w", errors.ErrUnsupported)
}

func (*Server) take(context.Context) error { return errors.ErrUnsupported }

type takeovers struct{}

func (*Server) openTakeovers() *takeovers { return nil }

func (*Server) serveTakeovers(context.Context, *takeovers) {}

func (*loop) onArrival(gnet.Conn, *handed) {}

// Listeners fails.
func (*Server) Listeners() ([]int, error) { return nil, errors.ErrUnsupported }
