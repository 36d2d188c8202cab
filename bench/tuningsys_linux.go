package bench

import (
	"errors"
	"fmt"

	"weir/tuning/host"

	"golang.org/x/sys/unix"
)

// openSysfs opens the sysfs of the calling thread's network namespace, mounted nowhere (fsopen(2), Linux 5.2): nothing
// is left behind however the process ends.
func openSysfs() (tree *host.Tree, err error) {
	context, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open a sysfs of the network namespace: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(context)) }()
	if err := unix.FsconfigCreate(context); err != nil {
		return nil, fmt.Errorf("make a sysfs of the network namespace: %w", err)
	}
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mount a sysfs of the network namespace: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }() // the tree has its own
	return host.OpenTree(fmt.Sprintf("/proc/thread-self/fd/%d", fd))
}
