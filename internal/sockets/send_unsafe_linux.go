package sockets

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSend is the most that [Send] takes, bytes: so much takes the kernel some 10 us.
const maxSend = 16 << 10

// Send sends of b what a non-blocking socket takes at once, and says how much that is: 0 too if there is an error, which whoever
// then writes by other means gets. It is write(2) without what that is for files, and without telling Go's scheduler, as it does not
// wait: together a twentieth of what a loop's write of a short message costs.
func Send(fd int, b []byte) int {
	if len(b) == 0 || len(b) > maxSend {
		return 0
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n) //nolint:gosec // at most len(b)
}
