//go:build !linux

package xdp

import "errors"

func netnsCookie() (uint64, error)        { return 0, errors.ErrUnsupported }
func forceCookies() (func() error, error) { return nil, errors.ErrUnsupported }

// Now is CLOCK_MONOTONIC, nanoseconds: the program's clock.
func Now() uint64 { return 0 }
