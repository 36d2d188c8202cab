//go:build linux

package xdp

import (
	"os"
	"testing"

	"weir/bpf/bpftest"

	"go.uber.org/goleak"
)

// TestMain fails the package if it leaves goroutines or the descriptors of programs, maps, links
// or namespaces behind. Started as the holder of an interface it is that instead.
func TestMain(m *testing.M) {
	if iface := os.Getenv(holdVariable); iface != "" {
		hold(iface)
		return
	}
	goleak.VerifyTestMain(bpftest.Left{M: m})
}
