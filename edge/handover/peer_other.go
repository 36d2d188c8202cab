//go:build !linux

package handover

import (
	"errors"
	"os"
)

// Peer is not there: descriptors are handed over on Linux alone.
type Peer struct{}

// Pair fails.
func Pair() (*Peer, *os.File, error) { return nil, nil, errors.ErrUnsupported }

// Inherited fails.
func Inherited(int) (*Peer, error) { return nil, errors.ErrUnsupported }

// PID is 0.
func (*Peer) PID() int { return 0 }

// Close does nothing.
func (*Peer) Close() error { return nil }

// Send fails.
func (*Peer) Send(Kind, any, ...int) error { return errors.ErrUnsupported }

// Receive fails.
func (*Peer) Receive() (*Message, error) { return nil, errors.ErrUnsupported }

// Message is not there.
type Message struct {
	Kind        Kind
	Descriptors []int
}

// Decode fails.
func (*Message) Decode(any) error { return errors.ErrUnsupported }

// Close does nothing.
func (*Message) Close() {}
