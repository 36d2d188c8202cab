//go:build !linux

package tuning

import "errors"

// ReadClock wraps [errors.ErrUnsupported].
func ReadClock() (Clock, error) { return Clock{}, errors.ErrUnsupported }
