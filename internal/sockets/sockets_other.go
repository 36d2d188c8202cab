//go:build !linux

package sockets

import (
	"errors"
	"net/netip"
)

// LocalAddr is not known.
func LocalAddr(int) netip.AddrPort { return netip.AddrPort{} }

// PollerOf fails: there is no epoll.
func PollerOf(int) (int, error) { return -1, errors.ErrUnsupported }

// Pause fails.
func Pause(int, int, bool) error { return errors.ErrUnsupported }

// Resume fails.
func Resume(int, int, bool) error { return errors.ErrUnsupported }

// Unwatch does nothing.
func Unwatch(int, int) {}

// Watch fails.
func Watch(int, int) error { return errors.ErrUnsupported }

// ListenersOf fails.
func ListenersOf(int) ([]int, error) { return nil, errors.ErrUnsupported }

// Send sends nothing.
func Send(int, []byte) int { return 0 }
