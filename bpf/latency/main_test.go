//go:build linux

package latency

import (
	"os"
	"testing"

	"weir/bpf/bpftest"

	"go.uber.org/goleak"
)

// TestMain fails the package if it leaves goroutines, programs, maps or links behind. Told so, it is a process that reads late.
func TestMain(m *testing.M) {
	if wait := os.Getenv(lateReader); wait != "" {
		readLate(wait)
		return
	}
	goleak.VerifyTestMain(bpftest.Left{M: m})
}
