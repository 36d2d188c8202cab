//go:build linux

package xdp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package if it leaves goroutines or the descriptors of programs, maps, links
// or namespaces behind. Started as the holder of an interface it is that instead.
func TestMain(m *testing.M) {
	if iface := os.Getenv(holdVariable); iface != "" {
		hold(iface)
		return
	}
	goleak.VerifyTestMain(descriptors{m})
}

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

func kernelDescriptors() (open []string) {
	all, _ := filepath.Glob("/proc/self/fd/*") // the pattern is right
	for _, path := range all {
		to, err := os.Readlink(path)
		if err == nil && (strings.Contains(to, "bpf") || strings.HasPrefix(to, "net:")) {
			open = append(open, to)
		}
	}
	return open
}
