package hooks

import (
	"errors"
	"testing"

	"weir/bpf/bpftest"

	"github.com/cilium/ebpf"
)

// TestBPFHooksOfThisKernel holds the probes to what the tests of weir's programs need: these load here.
func TestBPFHooksOfThisKernel(t *testing.T) {
	bpftest.Require(t, "6.0", "all hooks of weir")
	for _, h := range Probe() {
		if h.Err != nil {
			t.Errorf("%s: %v", h.Name, h.Err)
		}
	}
	if left := bpftest.OpenDescriptors(); len(left) > 0 {
		t.Errorf("left open: %q", left)
	}
}

// TestBPFHookThatIsNot looks for one that no kernel has.
func TestBPFHookThatIsNot(t *testing.T) {
	bpftest.Require(t, "5.15", "iterators")
	err := explain(loads(ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "weir"})(), true)
	if !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}
