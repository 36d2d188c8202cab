package hooks

import (
	"errors"
	"fmt"
	"os"

	"weir/bpf/rights"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
)

// Hook is a part of the kernel's BPF that weir uses.
type Hook struct {
	Name string
	// Lost is what weir does without if it is not there, Since the release of Linux that has it, as "5.15", Option what that has to be
	// built with, "" if it does not matter.
	Lost, Since, Option string
	// Guard says that quotas in XDP need it.
	Guard bool
	// Err is why it is not there, nil if it is. It wraps ErrMissing, ErrForbidden or ErrPrivileges.
	Err error
}

// Errors of hooks, to be tested for with [errors.Is].
var (
	// ErrMissing: the kernel does not have it.
	ErrMissing = errors.New("the kernel does not have it")
	// ErrForbidden: it is not permitted, though others are: by lockdown, or another security module.
	ErrForbidden = errors.New("the kernel forbids it, though it lets others be loaded: lockdown, or another security module")
	// ErrPrivileges: nothing is permitted.
	ErrPrivileges = errors.New("this process may load no BPF programs")
)

// Names of hooks.
const (
	// Frags is that of packets of several buffers.
	Frags = "xdp on packets of several buffers"
	// typesName is the one that needs no privileges.
	typesName = "BTF, the kernel's types"
)

const (
	// hasFrags is BPF_F_XDP_HAS_FRAGS, mappable BPF_F_MMAPABLE of linux/bpf.h.
	hasFrags = 1 << 5
	mappable = 1 << 10
	// statsRunTime is BPF_STATS_RUN_TIME of linux/bpf.h.
	statsRunTime = 0
	ringBytes    = 1 << 16
)

// probe is a hook and how it is tried.
type probe struct {
	Hook
	try func() error
}

// probes are all, what quotas need first.
func probes() []probe {
	const trace = "weir trace "
	return []probe{
		{Hook{Name: "xdp with compare-and-swap", Lost: "the quotas in XDP", Since: "5.15", Guard: true}, loads(ebpf.ProgramSpec{Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Instructions: swap()})},
		{Hook{Name: "arrays mapped into memory", Lost: "the quotas in XDP: the table of clients is one", Since: "5.5", Guard: true}, makes(ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1, Flags: mappable})},
		{Hook{Name: Frags, Lost: "native XDP on jumbo frames", Since: "5.18"}, loads(ebpf.ProgramSpec{Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Flags: hasFrags})},
		{Hook{Name: "SYN cookies in xdp", Lost: "answers to SYNs over their budget: they are dropped", Since: "6.0", Option: "CONFIG_SYN_COOKIES=y"}, helper(ebpf.XDP, asm.FnTcpRawGenSyncookieIpv4)},
		{Hook{Name: typesName, Lost: "proof of the return path, all of weir trace but xdp", Since: "5.4", Option: "CONFIG_DEBUG_INFO_BTF=y"}, types},
		{Hook{Name: "sockops", Lost: "proof of the return path, connections counted, " + trace + "write", Since: "5.15", Option: "CONFIG_CGROUP_BPF=y"}, helper(ebpf.SockOps, asm.FnGetNetnsCookie)},
		{Hook{Name: "iter/tcp", Lost: "connections older than weir counted, " + trace + "rtt and write", Since: "5.9"}, loads(ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "tcp"})},
		{Hook{Name: "tp_btf", Lost: trace + "read, runq, softirq and stall", Since: "5.5"}, loads(ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_switch"})},
		{Hook{Name: "tracepoint", Lost: trace + "accept and stall", Since: "4.7"}, loads(ebpf.ProgramSpec{Type: ebpf.TracePoint})},
		{Hook{Name: "sk_reuseport", Lost: "a worker's connections on its own CPUs: the kernel spreads them by its hash", Since: "4.19"}, loads(ebpf.ProgramSpec{Type: ebpf.SkReuseport, AttachType: ebpf.AttachSkReuseportSelect})},
		{Hook{Name: "ring buffer", Lost: "weir quota events and explain, the stacks of " + trace + "stall", Since: "5.8"}, makes(ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: ringBytes})},
		{Hook{Name: "time of programs", Lost: trace + "xdp, and what a tracer costs", Since: "5.8"}, stats},
	}
}

// Probe tries all, in a fixed order. It takes some milliseconds, and the first time in a process some hundred for the kernel's types.
func Probe() []Hook {
	_ = rlimit.RemoveMemlock() // before Linux 5.11 it bounds what can be loaded; without the right to lift it that is found out below
	var all []Hook
	permitted := false
	for _, p := range probes() {
		h := p.Hook
		h.Err = p.try()
		permitted = permitted || h.Err == nil && p.Name != typesName
		all = append(all, h)
	}
	for i := range all {
		all[i].Err = explain(all[i].Err, permitted)
	}
	return all
}

// explain says what an error of the kernel's means, permitted whether it has let anything be loaded. That a refusal by policy
// leaves no word of the verifier's is not told by all kernels: what else works says it.
func explain(err error, permitted bool) error {
	refused := errors.Is(err, os.ErrPermission) || rights.Refused(err)
	switch {
	case err == nil:
		return nil
	case refused && permitted:
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	case refused:
		return fmt.Errorf("%w: %w", ErrPrivileges, err)
	}
	return fmt.Errorf("%w: %w", ErrMissing, err)
}

// loads tries a program, which returns 0 if the spec has none.
func loads(spec ebpf.ProgramSpec) func() error {
	return func() error {
		spec.License = "GPL"
		if spec.Instructions == nil {
			spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
		}
		prog, err := ebpf.NewProgramWithOptions(&spec, ebpf.ProgramOptions{LogDisabled: true})
		if err != nil {
			return err
		}
		return prog.Close()
	}
}

// swap is a program that needs compare-and-swap.
func swap() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R0, 0),
		asm.StoreMem(asm.R10, -8, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R1, 1),
		asm.CmpXchg.Mem(asm.R10, asm.R1, asm.DWord, -8),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
}

func makes(spec ebpf.MapSpec) func() error {
	return func() error {
		m, err := ebpf.NewMap(&spec)
		if err != nil {
			return err
		}
		return m.Close()
	}
}

func helper(of ebpf.ProgramType, f asm.BuiltinFunc) func() error {
	return func() error { return features.HaveProgramHelper(of, f) }
}

func types() error {
	_, err := btf.LoadKernelSpec()
	return err
}

func stats() error {
	on, err := ebpf.EnableStats(statsRunTime)
	if err != nil {
		return err
	}
	return on.Close()
}
