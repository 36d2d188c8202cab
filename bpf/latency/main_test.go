//go:build linux

package latency

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package if it leaves goroutines, programs, maps or links behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(descriptors{m}) }

type descriptors struct{ m *testing.M }

// Run implements [goleak.TestingM].
func (d descriptors) Run() int {
	code := d.m.Run()
	for _, left := range kernelDescriptors() {
		fmt.Fprintln(os.Stderr, "left open:", left)
		code = max(code, 1)
	}
	return code
}

// kernelDescriptors are of programs, maps, links, perf events and statistics.
func kernelDescriptors() (open []string) {
	all, _ := filepath.Glob("/proc/self/fd/*") // the pattern is right
	for _, path := range all {
		to, err := os.Readlink(path)
		if err == nil && (strings.Contains(to, "bpf") || strings.Contains(to, "perf_event")) {
			open = append(open, to)
		}
	}
	return open
}
