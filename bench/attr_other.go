//go:build !linux

package bench

import "syscall"

func childAttr() *syscall.SysProcAttr { return nil }

// masterAttr does nothing, as childAttr.
func masterAttr() *syscall.SysProcAttr { return nil }
