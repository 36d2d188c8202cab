//go:build !linux

package tuning

import "errors"

// ClockSynchronized is not known here.
func ClockSynchronized() (bool, error) { return false, errors.ErrUnsupported }
