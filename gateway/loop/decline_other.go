//go:build !linux

package loop

import (
	"errors"
	"net"
)

// decline closes the conn: descriptors are handed over on Linux alone, where [weir/gateway.WayLoops] is.
func (c *client) decline(bool) { c.abort() }

func shutdownWrite(int) {}

func stopListening(int) {}

func pair() (a, b net.Conn, err error) { return nil, nil, errors.ErrUnsupported }
