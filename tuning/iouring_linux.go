package tuning

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ringParams is struct io_uring_params of linux/io_uring.h: flags, features and offsets, of which the kernel fills in what it
// has.
type ringParams struct {
	entries, completions, flags, thread, idle, features, other uint32
	_                                                          [3]uint32
	_                                                          [80]byte // offsets
}

// setUpRing makes a ring of one entry and gives it up.
func setUpRing() (features uint32, err error) {
	var p ringParams
	// The kernel reads and writes p during the call alone.
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return 0, errno
	}
	return p.features, unix.Close(int(fd))
}

// ExamineIOUring says whether this process may use io_uring. weir does not: it is for what else is to run here.
func ExamineIOUring() Finding {
	features, err := setUpRing()
	return ringFinding(features, err)
}

func ringFinding(features uint32, err error) Finding {
	f := Finding{Check: "io_uring", Level: OK, Found: fmt.Sprintf("available, features %#x; weir does not need it", features)}
	const none = "not available; weir does not need it"
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOSYS):
		f.Found, f.Why, f.Mend = none, "the kernel was built without it, or is older than 5.1", "boot a kernel with CONFIG_IO_URING=y, if a program here needs it"
	case errors.Is(err, os.ErrPermission):
		f.Found, f.Why, f.Mend = none, "kernel.io_uring_disabled or seccomp forbids it", "sysctl kernel.io_uring_disabled, or the container's seccomp profile, if a program here needs it"
	default:
		f.Found, f.Why = none, err.Error()
	}
	return f
}
