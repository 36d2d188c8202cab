package bpftest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"weir/bpf/netlab"
)

// namespacePrefix begins the names of tests' namespaces; the pid of their maker and a number
// follow.
const namespacePrefix = "weirtest-"

// Namespace is a network namespace for the test, removed at its end. What a killed test left is
// removed first.
func Namespace(tb testing.TB) *netlab.Namespace {
	tb.Helper()
	left, err := filepath.Glob("/run/netns/" + namespacePrefix + "*")
	if err != nil {
		tb.Fatal(err)
	}
	used := map[int]bool{}
	for _, path := range left {
		pid, n, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), namespacePrefix), "-")
		if i, err := strconv.Atoi(n); err == nil && pid == strconv.Itoa(os.Getpid()) {
			used[i] = true
			continue
		}
		if _, err := os.Stat("/proc/" + pid); os.IsNotExist(err) {
			_ = netlab.Cleanup(filepath.Base(path)) // another test may do the same
		}
	}
	i := 0
	for used[i] {
		i++
	}
	n, err := netlab.New(fmt.Sprintf("%s%d-%d", namespacePrefix, os.Getpid(), i))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	return n
}
