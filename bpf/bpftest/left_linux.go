package bpftest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Left runs a package's tests, and fails it if they leave descriptors of programs, maps, links, perf events, statistics or network
// namespaces open. It is for goleak.VerifyTestMain, which looks at goroutines.
type Left struct{ M *testing.M }

// Run implements goleak.TestingM.
func (l Left) Run() int {
	code := l.M.Run()
	for _, left := range OpenDescriptors() {
		fmt.Fprintln(os.Stderr, "left open:", left)
		code = max(code, 1)
	}
	return code
}

// OpenDescriptors are what the descriptors of this process that are of such things say.
func OpenDescriptors() (open []string) {
	all, _ := filepath.Glob("/proc/self/fd/*") // the pattern is right
	for _, path := range all {
		to, err := os.Readlink(path)
		if err == nil && (strings.Contains(to, "bpf") || strings.Contains(to, "perf_event") || strings.HasPrefix(to, "net:")) {
			open = append(open, to)
		}
	}
	return open
}
