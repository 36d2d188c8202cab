package xdp

import (
	"fmt"
	"os"
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
