package xdp

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// soNetnsCookie is SO_NETNS_COOKIE of asm-generic/socket.h, Linux 5.14.
const soNetnsCookie = 71

// netnsCookie is the kernel's name for the network namespace of this thread.
func netnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was sent
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, soNetnsCookie)
}

// cgroupRoot is where the root of the unified hierarchy is mounted. Where it is not, it is mounted.
func cgroupRoot() (string, error) {
	at, err := mounted("cgroup2")
	if err != nil || at != "" {
		return at, err
	}
	return mount("cgroup2", "/run/weir/cgroup2")
}

// bpfRoot mounts the file system that keeps BPF objects over a directory, unless it is there.
func bpfRoot(dir string) error {
	for at := dir; at != "/"; at = filepath.Dir(at) {
		var fs unix.Statfs_t
		if err := unix.Statfs(at, &fs); err == nil {
			if fs.Type == unix.BPF_FS_MAGIC {
				return nil
			}
		}
	}
	const usual = "/sys/fs/bpf"
	if strings.HasPrefix(dir, usual+"/") {
		_, err := mount("bpf", usual)
		return err
	}
	return fmt.Errorf("keep state in %s: it is on no bpf file system: mount one there (mount -t bpf bpf DIR), or use %s", dir, DefaultPinDir)
}

func mount(kind, at string) (string, error) {
	if err := os.MkdirAll(at, 0o700); err != nil {
		return "", fmt.Errorf("mount %s: %w", kind, err)
	}
	if err := unix.Mount(kind, at, kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return "", fmt.Errorf("mount %s on %s: %w", kind, at, err)
	}
	return at, nil
}

// mounted is where a file system is mounted first, empty if it is nowhere.
func mounted(kind string) (string, error) {
	f, err := os.Open("/proc/self/mounts")
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

// syncookies is the sysctl of this thread's network namespace that says when the kernel makes SYN
// cookies.
const syncookies = "/proc/sys/net/ipv4/tcp_syncookies"

// forceCookies has the kernel make cookies of all SYNs, until restore puts back what was.
func forceCookies() (restore func() error, err error) {
	was, err := os.ReadFile(syncookies)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", syncookies, err)
	}
	if strings.TrimSpace(string(was)) == "2" {
		return func() error { return nil }, nil
	}
	if err := os.WriteFile(syncookies, []byte("2"), 0o600); err != nil {
		return nil, fmt.Errorf("let the kernel make cookies: %w: set net.ipv4.tcp_syncookies to 2, or xdp.cookies to off", err)
	}
	return func() error {
		if err := os.WriteFile(syncookies, was, 0o600); err != nil {
			return fmt.Errorf("put %s back to %s: %w", syncookies, strings.TrimSpace(string(was)), err)
		}
		return nil
	}, nil
}

// Now is CLOCK_MONOTONIC, nanoseconds: the program's clock.
func Now() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil { // never
		return 0
	}
	return uint64(ts.Nano()) //nolint:gosec // since boot
}
