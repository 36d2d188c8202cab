//go:build linux

package latency

import (
	"testing"

	"weir/bpf/bpftest"

	"go.uber.org/goleak"
)

// TestMain fails the package if it leaves goroutines, programs, maps or links behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(bpftest.Left{M: m}) }
