package bpftest

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types spray spray.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.

// Spray is a program that runs target on a test's IPv4 packet with a random source of as many
// as 1<<bits, 10.0.0.0 and up, each time: repeated, it is a flood from all of them. Bits is 0 to
// 24. Its cost above the target's is that of Spray with [Drop].
func Spray(tb testing.TB, target *ebpf.Program, bits int) *ebpf.Program {
	tb.Helper()
	spec, err := loadSpray()
	if err != nil {
		tb.Fatal(err)
	}
	if features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen) == nil { // as xdp_weir has it
		spec.Programs[sprayProgSpray].Flags |= 1 << 5 // BPF_F_XDP_HAS_FRAGS
		spec.Programs[sprayProgDrop].Flags |= 1 << 5
	}
	if err := spec.Variables[sprayVarSourceMask].Set(uint32(1)<<bits - 1); err != nil {
		tb.Fatal(err)
	}
	var objs struct {
		Spray  *ebpf.Program `ebpf:"spray"`
		Target *ebpf.Map     `ebpf:"target"`
	}
	if err := spec.LoadAndAssign(&objs, nil); err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		_ = objs.Spray.Close()
		_ = objs.Target.Close()
	})
	if err := objs.Target.Put(uint32(0), target); err != nil {
		tb.Fatalf("spray: both programs must take packets of several buffers, or neither: %v", err)
	}
	return objs.Spray
}

// Drop is a program that drops every packet and does nothing else: the baseline.
func Drop(tb testing.TB) *ebpf.Program {
	tb.Helper()
	spec, err := loadSpray()
	if err != nil {
		tb.Fatal(err)
	}
	if features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen) == nil { // as Spray
		spec.Programs[sprayProgDrop].Flags |= 1 << 5
	}
	var objs struct {
		Drop *ebpf.Program `ebpf:"drop"`
	}
	if err := spec.LoadAndAssign(&objs, nil); err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() { _ = objs.Drop.Close() })
	return objs.Drop
}
