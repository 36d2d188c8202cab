package baseline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"weir/bpf/rights"

	"github.com/cilium/ebpf"
)

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types baseline baseline.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.

// FrameBytes is the length of the packets of [Rewind]: Ethernet, IPv4, and TCP with one option
// of four bytes.
const FrameBytes = 58

// ErrNotPermitted says that the process lacks CAP_BPF, CAP_NET_ADMIN or CAP_PERFMON.
var ErrNotPermitted = errors.New("not permitted")

// load loads the programs and maps that objs names, with the variables set.
func load(objs any, vars map[string]any, change func(*ebpf.CollectionSpec)) error {
	spec, err := loadBaseline()
	if err != nil {
		return fmt.Errorf("read the baseline programs: %w", err)
	}
	for name, value := range vars {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s of the baseline programs: %w", name, err)
		}
	}
	if change != nil {
		change(spec)
	}
	err = spec.LoadAndAssign(objs, nil)
	if rights.Refused(err) {
		return fmt.Errorf("load a baseline program: %w: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: %w", ErrNotPermitted, err)
	}
	if err != nil {
		return fmt.Errorf("load a baseline program: %w", err)
	}
	return nil
}

// Drop drops every packet and does nothing else.
func Drop() (*Runner, error) {
	var objs struct {
		Drop *ebpf.Program `ebpf:"drop"`
	}
	if err := load(&objs, nil, nil); err != nil {
		return nil, err
	}
	return &Runner{prog: objs.Drop, own: []io.Closer{objs.Drop}}, nil
}

// Spray runs target on an IPv4 packet with a random source, each time anew: repeated, it is a
// flood from 1<<bits sources, 10.0.0.0 and up, or for more than 24 bits from anywhere. Bits is 0
// to 32. Its cost above the target's is that of Spray with [Drop]. The target stays the caller's.
func Spray(target *ebpf.Program, bits int) (*Runner, error) {
	if bits < 0 || bits > 32 {
		return nil, fmt.Errorf("spray 1<<%d sources: want 0 to 32 bits", bits)
	}
	mask := uint32(1<<bits - 1)
	var objs struct {
		Spray  *ebpf.Program `ebpf:"spray"`
		Target *ebpf.Map     `ebpf:"target"`
	}
	vars := map[string]any{baselineVarSourceMask: mask, baselineVarSourceBase: 10 << 24 &^ mask}
	if err := load(&objs, vars, nil); err != nil {
		return nil, err
	}
	return calling(objs.Spray, objs.Target, target)
}

// Rewind makes the packet anew each time before it runs target, which may change all of it but
// its length. A packet has [FrameBytes]. The target stays the caller's.
func Rewind(target *ebpf.Program, packet []byte) (*Runner, error) {
	if len(packet) != FrameBytes {
		return nil, fmt.Errorf("rewind a packet of %d bytes: want %d", len(packet), FrameBytes)
	}
	var frame [(FrameBytes + 7) / 8]uint64
	padded := make([]byte, 8*len(frame))
	copy(padded, packet)
	for i := range frame {
		frame[i] = binary.LittleEndian.Uint64(padded[8*i:])
	}
	var objs struct {
		Rewind *ebpf.Program `ebpf:"rewind"`
		Target *ebpf.Map     `ebpf:"target"`
	}
	if err := load(&objs, map[string]any{baselineVarFrame: frame}, nil); err != nil {
		return nil, err
	}
	return calling(objs.Rewind, objs.Target, target)
}

// calling is a program that calls another through a map.
func calling(prog *ebpf.Program, through *ebpf.Map, target *ebpf.Program) (*Runner, error) {
	r := &Runner{prog: prog, own: []io.Closer{prog, through}}
	if err := through.Put(uint32(0), target); err != nil {
		err = fmt.Errorf("call the program under test: both must take packets of several buffers, or neither: %w", err)
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Quota is so many packets at a rate, as xdp_weir has it: ticks of 1/16 ns between two, and how
// far ahead of the clock a source may be.
type Quota struct{ Interval, Limit uint64 }

// LRU holds each source to a quota of packets, by the arithmetic of xdp_weir on the kernel's LRU
// hash of so many entries.
func LRU(entries int, q Quota) (*Runner, error) {
	var objs struct {
		LRU      *ebpf.Program `ebpf:"lru_gcra"`
		Arrivals *ebpf.Map     `ebpf:"arrivals"`
		Verdicts *ebpf.Map     `ebpf:"verdicts"`
	}
	vars := map[string]any{baselineVarQuotaInterval: q.Interval, baselineVarQuotaLimit: q.Limit}
	err := load(&objs, vars, func(spec *ebpf.CollectionSpec) {
		spec.Maps[baselineMapArrivals].MaxEntries = uint32(entries) //nolint:gosec // the kernel bounds it
	})
	if err != nil {
		return nil, err
	}
	return &Runner{prog: objs.LRU, own: []io.Closer{objs.LRU, objs.Arrivals, objs.Verdicts}}, nil
}

// Least reads the clock and one word of the source's entry of a table, and drops every packet: what
// no limiter on such a table can go below. It has so many sets of xdp_weir's size, a power of two.
func Least(sets int) (*Runner, error) {
	var objs struct {
		Least *ebpf.Program `ebpf:"least"`
		Table *ebpf.Map     `ebpf:"table"`
	}
	err := load(&objs, map[string]any{baselineVarTableMask: uint32(sets - 1)}, func(spec *ebpf.CollectionSpec) { //nolint:gosec // the kernel bounds it
		spec.Maps[baselineMapTable].MaxEntries = uint32(sets) //nolint:gosec // the kernel bounds it
	})
	if err != nil {
		return nil, err
	}
	return &Runner{prog: objs.Least, own: []io.Closer{objs.Least, objs.Table}}, nil
}

// Window holds each source to so many packets in a second, on each CPU apart, by a per-CPU hash
// of so many entries.
func Window(entries int, packets uint64) (*Runner, error) {
	var objs struct {
		Window   *ebpf.Program `ebpf:"fixed_window"`
		Windows  *ebpf.Map     `ebpf:"windows"`
		Verdicts *ebpf.Map     `ebpf:"verdicts"`
	}
	err := load(&objs, map[string]any{baselineVarWindowPackets: packets}, func(spec *ebpf.CollectionSpec) {
		spec.Maps[baselineMapWindows].MaxEntries = uint32(entries) //nolint:gosec // the kernel bounds it
	})
	if err != nil {
		return nil, err
	}
	return &Runner{prog: objs.Window, own: []io.Closer{objs.Window, objs.Windows, objs.Verdicts}}, nil
}
