package main

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropCapabilities takes capabilities out of all sets of all threads but the bounding one: capabilities are a thread's
// (capabilities(7)), and Go's goroutines run on any. It is not possible in a binary with cgo.
func dropCapabilities(caps []capability) error {
	if len(caps) == 0 {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // 32 capabilities each
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	for _, c := range caps {
		s, bit := &sets[c/32], uint32(1)<<(c%32)
		s.Effective &^= bit
		s.Permitted &^= bit
		s.Inheritable &^= bit
	}
	// The kernel reads both in each thread's call and keeps neither. AllThreadsSyscall keeps what its arguments are converted from, as
	// all functions of package syscall do (unsafe.Pointer, rule 4), so neither moves before it returns.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0)
	if errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return nil
}
