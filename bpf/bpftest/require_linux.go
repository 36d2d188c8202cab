package bpftest

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Require skips the test if the kernel is older than the version that brought the feature, or
// the process is not root. With REQUIRE_BPF=1 in the environment, as in CI, it fails instead:
// a skip cannot hide a bug.
func Require(tb testing.TB, version, feature string) {
	tb.Helper()
	skip := tb.Skipf
	if os.Getenv("REQUIRE_BPF") == "1" {
		skip = tb.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("%s needs root", feature)
	}
	if !Since(tb, version) {
		skip("%s came with Linux %s, this is %s", feature, version, release(tb))
	}
}

// Since reports whether the kernel is of the version, as "5.15", or newer.
func Since(tb testing.TB, version string) bool {
	tb.Helper()
	have := release(tb)
	var major, minor, wantMajor, wantMinor int
	if _, err := fmt.Sscanf(have, "%d.%d", &major, &minor); err != nil {
		tb.Fatalf("read kernel version %q: %v", have, err)
	}
	if _, err := fmt.Sscanf(version, "%d.%d", &wantMajor, &wantMinor); err != nil {
		tb.Fatalf("read version %q: %v", version, err)
	}
	return major > wantMajor || major == wantMajor && minor >= wantMinor
}

func release(tb testing.TB) string {
	tb.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		tb.Fatalf("uname: %v", err)
	}
	return unix.ByteSliceToString(u.Release[:])
}
