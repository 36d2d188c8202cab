//go:build !linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// Namespace is a network namespace: only Linux has them.
type Namespace struct{ Name string }

// End is one end of a veth pair.
type End struct {
	In        *Namespace
	Interface string
	Addrs     []netip.Prefix
}

func unsupported(action string) error {
	return fmt.Errorf("%s: %w: run it on Linux", action, errors.ErrUnsupported)
}

// New wraps [errors.ErrUnsupported], as all functions here.
func New(name string) (*Namespace, error) {
	return nil, unsupported("make network namespace " + name)
}

// Do wraps [errors.ErrUnsupported].
func (n *Namespace) Do(func() error) error { return unsupported("enter network namespace " + n.Name) }

// DialContext wraps [errors.ErrUnsupported].
func (n *Namespace) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, unsupported("enter network namespace " + n.Name)
}

// MAC wraps [errors.ErrUnsupported].
func (n *Namespace) MAC(string) (net.HardwareAddr, error) {
	return nil, unsupported("enter network namespace " + n.Name)
}

// Counters are an interface's.
type Counters struct{ Received, RxDropped, Sent, TxDropped uint64 }

// Counters wraps [errors.ErrUnsupported].
func (n *Namespace) Counters(name string) (Counters, error) {
	return Counters{}, unsupported("count packets of " + name)
}

// DefaultRoute wraps [errors.ErrUnsupported].
func (n *Namespace) DefaultRoute(name string, _ netip.Addr) error {
	return unsupported("route through " + name)
}

// SetUp wraps [errors.ErrUnsupported].
func (n *Namespace) SetUp(name string, _ bool) error { return unsupported("bring up " + name) }

// Remove wraps [errors.ErrUnsupported].
func (n *Namespace) Remove(name string) error { return unsupported("remove " + name) }

// SetMTU wraps [errors.ErrUnsupported].
func (n *Namespace) SetMTU(name string, _ int) error { return unsupported("set the MTU of " + name) }

// SetQueue wraps [errors.ErrUnsupported].
func (n *Namespace) SetQueue(name string, _ uint32) error {
	return unsupported("give a queue to " + name)
}

// SetFeatures wraps [errors.ErrUnsupported].
func (n *Namespace) SetFeatures(name string, _ bool, _ ...string) error {
	return unsupported("switch features of " + name)
}

// PassXDP wraps [errors.ErrUnsupported].
func (n *Namespace) PassXDP(name string) (io.Closer, error) {
	return nil, unsupported("attach a program to " + name)
}

// Close does nothing: there is nothing to close.
func (n *Namespace) Close() error { return nil }

// Pair wraps [errors.ErrUnsupported].
func Pair(a, b End) error {
	return unsupported("make veth pair " + a.Interface + " and " + b.Interface)
}

// Cleanup does nothing: nothing can be left.
func Cleanup(string) error { return nil }

// Isolated is never so.
func Isolated() (bool, error) { return false, nil }
