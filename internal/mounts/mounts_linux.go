package mounts

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Cgroup2 is where the root of the unified hierarchy is mounted. Where it is not, it is mounted.
func Cgroup2() (string, error) {
	at, err := mounted("cgroup2")
	if err != nil || at != "" {
		return at, err
	}
	at = "/run/weir/cgroup2"
	return at, mount("cgroup2", at)
}

// BPF mounts the file system that keeps BPF objects over a directory, unless it is there. Elsewhere than
// below /sys/fs/bpf it has to be there.
func BPF(dir string) error {
	for at := dir; at != "/"; at = filepath.Dir(at) {
		var fs unix.Statfs_t
		if err := unix.Statfs(at, &fs); err == nil && fs.Type == unix.BPF_FS_MAGIC {
			return nil
		}
	}
	const usual = "/sys/fs/bpf"
	if strings.HasPrefix(dir, usual+"/") {
		return mount("bpf", usual)
	}
	return fmt.Errorf("keep state in %s: it is on no bpf file system: mount one there (mount -t bpf bpf DIR), or use %s/weir", dir, usual)
}

// Tracing mounts the file system that has the kernel's tracepoints, unless it is somewhere.
func Tracing() error {
	at, err := mounted("tracefs")
	if err != nil || at != "" {
		return err
	}
	const usual = "/sys/kernel/tracing"
	if _, err := os.Stat(usual); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mount tracefs: the kernel has none: boot one with CONFIG_FTRACE: %w", errors.ErrUnsupported)
	}
	return mount("tracefs", usual)
}

func mount(kind, at string) error {
	err := os.MkdirAll(at, 0o700)
	if err == nil {
		err = unix.Mount(kind, at, kind, 0, "")
	}
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %[1]s: %[3]w: as root: mount -t %[1]s %[1]s %[2]s", kind, at, err)
	}
	return nil
}

// mounted is where a file system is mounted first, as this thread sees it, empty if it is nowhere.
func mounted(kind string) (string, error) {
	f, err := os.Open("/proc/thread-self/mounts")
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", kind, err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 2 && fields[2] == kind {
			return fields[1], nil
		}
	}
	return "", nil
}
