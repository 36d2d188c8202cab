//go:build !linux

package mounts

import "errors"

// Cgroup2 is of Linux.
func Cgroup2() (string, error) { return "", errors.ErrUnsupported }

// BPF is of Linux.
func BPF(string) error { return errors.ErrUnsupported }

// Tracing is of Linux.
func Tracing() error { return errors.ErrUnsupported }
