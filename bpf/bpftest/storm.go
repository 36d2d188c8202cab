package bpftest

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types storm storm.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.

// StormConfig configures [Storm].
type StormConfig struct {
	// Step is the time between two packets, on the map of the clock.
	Step time.Duration
	// Every is how many packets there are for one of a client's, Clients how many clients there
	// are: 10.0.0.0 and up, in turn. All other packets have random sources, 128.0.0.0 and up.
	Every, Clients int
}

// Storm is a program that runs target on a test's IPv4 packet with another source each time, and
// moves the clock on: an array of one value, nanoseconds.
func Storm(tb testing.TB, target *ebpf.Program, clock *ebpf.Map, cfg StormConfig) *ebpf.Program {
	tb.Helper()
	spec, err := loadStorm()
	if err != nil {
		tb.Fatal(err)
	}
	for name, value := range map[string]any{stormVarStepNs: uint64(cfg.Step), stormVarEvery: uint32(cfg.Every), stormVarClients: uint32(cfg.Clients)} { //nolint:gosec // a test's
		if err := spec.Variables[name].Set(value); err != nil {
			tb.Fatal(err)
		}
	}
	takeFrags(spec)
	var objs struct {
		Storm  *ebpf.Program `ebpf:"storm"`
		Target *ebpf.Map     `ebpf:"target"`
	}
	if err := spec.LoadAndAssign(&objs, &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{stormMapTestNs: clock}}); err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		_ = objs.Storm.Close()
		_ = objs.Target.Close()
	})
	if err := objs.Target.Put(uint32(0), target); err != nil {
		tb.Fatal(err)
	}
	return objs.Storm
}

// takeFrags has programs take packets of several buffers where the kernel knows such: programs that
// call each other must agree on it, and xdp_weir has it in tests.
func takeFrags(spec *ebpf.CollectionSpec) {
	const hasFrags = 1 << 5 // BPF_F_XDP_HAS_FRAGS
	if features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen) != nil {
		return
	}
	for _, p := range spec.Programs {
		p.Flags |= hasFrags
	}
}
