package flood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"weir/bpf/netlab"
)

// Bounds of a run of the program: its frames are taken in before it returns, 64 at a time, which
// is what a veth's poll takes and well below the 256 that it can queue.
const (
	batchFrames = 64
	freeRun     = 64 * batchFrames // as fast as it goes, between two looks at the context
)

// Flood is ready to send.
type Flood struct {
	cfg   Config
	prog  *ebpf.Program
	made  *ebpf.Map
	maps  []*ebpf.Map
	park  *netlab.Namespace
	stays link.Link
	conns *connector // for KindConnect, instead of a program
}

// Open prepares a flood. Close it.
func Open(cfg Config) (*Flood, error) {
	if _, err := ParseKind(string(cfg.Kind)); err != nil {
		return nil, err
	}
	all, port, err := cfg.families()
	if err != nil {
		return nil, err
	}
	f := &Flood{cfg: cfg}
	err = f.inside(func() error {
		if cfg.Kind == KindConnect {
			f.conns, err = newConnector(all, port)
			return err
		}
		ifc, err := net.InterfaceByName(cfg.Interface)
		if err != nil {
			return fmt.Errorf("flood through %s: %w", cfg.Interface, err)
		}
		templates, err := cfg.templates(all, ends{from: ifc.HardwareAddr, to: cfg.To, port: port, vlan: 42, sequenceSeen: 1 << 20})
		if err != nil {
			return err
		}
		return f.load(all, templates, ifc.Index)
	})
	if err == nil && f.prog != nil {
		err = f.settle()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// opened tells the parking namespaces of one process apart.
var opened atomic.Uint32

// settle attaches the program where no packet comes, in a namespace of its own. The kernel's
// dispatcher of XDP programs (kernel/bpf/dispatcher.c) then knows it as long as f is open;
// otherwise each run would enter and remove it, and wait for two RCU grace periods: some 20 ms
// in which nothing is sent.
func (f *Flood) settle() (err error) {
	if f.park, err = netlab.New(fmt.Sprintf("%s-park%d", f.cfg.In.Name, opened.Add(1))); err != nil {
		return err
	}
	return f.park.Do(func() error {
		lo, err := net.InterfaceByName("lo")
		if err == nil {
			f.stays, err = link.AttachXDP(link.XDPOptions{Program: f.prog, Interface: lo.Index, Flags: link.XDPGenericMode})
		}
		if err != nil {
			return fmt.Errorf("attach the flood's program in %s: %w", f.park.Name, err)
		}
		return nil
	})
}

// inside runs do in the flood's namespace, if that is one made for it.
func (f *Flood) inside(do func() error) error {
	if f.cfg.In == nil {
		return ErrNotIsolated
	}
	return f.cfg.In.Do(func() error {
		isolated, err := netlab.Isolated()
		if err != nil {
			return err
		}
		if !isolated {
			return ErrNotIsolated
		}
		return do()
	})
}

// load loads the program and tells it what to send.
func (f *Flood) load(all [2]family, templates []floodTemplate, ifindex int) error {
	spec, err := loadFlood()
	if err != nil {
		return err
	}
	set := map[string]any{
		floodVarIfindex:       uint32(ifindex),        //nolint:gosec // a small number
		floodVarTemplateCount: uint32(len(templates)), //nolint:gosec // at most maxTemplates
	}
	for i, names := range [2][3]string{
		{floodVarSource4Count, floodVarPrefix4, floodVarPrefix4Free},
		{floodVarSource6Count, floodVarPrefix6, floodVarPrefix6Free},
	} {
		if all[i].spoofed.IsValid() {
			set[names[1]], set[names[2]] = all[i].spread()
		} else {
			set[names[0]] = uint32(len(all[i].sources)) //nolint:gosec // at most maxSources
		}
	}
	for name, value := range set {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s of the flood's program: %w", name, err)
		}
	}
	var objs struct {
		floodMaps
		Flood *ebpf.Program `ebpf:"flood"`
	}
	if err := spec.LoadAndAssign(&objs, nil); err != nil {
		return fmt.Errorf("load the flood's program: %w", err)
	}
	f.prog, f.made = objs.Flood, objs.Made
	f.maps = []*ebpf.Map{objs.Made, objs.Templates, objs.Sources4, objs.Sources6}
	for i := range templates {
		if err := objs.Templates.Put(uint32(i), &templates[i]); err != nil {
			return fmt.Errorf("give the flood a template: %w", err)
		}
	}
	for i, m := range []*ebpf.Map{objs.Sources4, objs.Sources6} {
		for j, a := range all[i].sources {
			if err := m.Put(uint32(j), a.AsSlice()); err != nil { //nolint:gosec // at most maxSources
				return fmt.Errorf("give the flood a source: %w", err)
			}
		}
	}
	return nil
}

// spread is the prefix and a mask of what it leaves free, in words as they are in memory.
func (f family) spread() (prefix, free any) {
	addr := f.spoofed.Addr().AsSlice()
	mask := make([]byte, len(addr))
	for bit := f.spoofed.Bits(); bit < 8*len(addr); bit++ {
		mask[bit/8] |= 0x80 >> (bit % 8)
	}
	if len(addr) == 4 {
		return binary.NativeEndian.Uint32(addr), binary.NativeEndian.Uint32(mask)
	}
	var p, m [4]uint32
	for i := range p {
		p[i], m[i] = binary.NativeEndian.Uint32(addr[4*i:]), binary.NativeEndian.Uint32(mask[4*i:])
	}
	return p, m
}

// Close frees what Open made. Idempotent.
func (f *Flood) Close() error {
	var errs []error
	if f.stays != nil {
		errs = append(errs, f.stays.Close())
		f.stays = nil
	}
	if f.park != nil {
		errs = append(errs, f.park.Close())
	}
	if f.prog != nil {
		errs = append(errs, f.prog.Close())
		f.prog = nil
	}
	for _, m := range f.maps {
		errs = append(errs, m.Close())
	}
	f.maps = nil
	return errors.Join(errs...)
}

// Run sends at a rate, frames or conns a second, or at 0 as fast as it goes, until ctx ends or
// for MaxDuration. One that falls behind its rate does not make up for more than a tenth of a
// second. Not to be called twice at once.
func (f *Flood) Run(ctx context.Context, perSecond int) (r Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	before, err := f.Sent()
	if err != nil {
		return r, err
	}
	err = f.inside(func() error {
		if f.conns != nil {
			return f.conns.run(ctx, f.cfg.In, perSecond)
		}
		return f.send(ctx, perSecond)
	})
	after, errSent := f.Sent()
	r.Sent, r.Failed = after.Sent-before.Sent, after.Failed-before.Failed
	return r, errors.Join(err, errSent)
}

// urgent is the priority (nice) at which frames are sent: a flood from outside does not wait until
// its victim's scheduler has time for it.
const urgent = -20

// send runs the program until ctx ends.
func (f *Flood) send(ctx context.Context, perSecond int) error {
	// On Linux this is for the calling thread, which f.inside locks.
	if unix.Setpriority(unix.PRIO_PROCESS, 0, urgent) == nil {
		defer unix.Setpriority(unix.PRIO_PROCESS, 0, 0) //nolint:errcheck // as it was
	}
	p := newPacer(perSecond)
	defer p.stop()
	for {
		n, ok := p.due(ctx, freeRun)
		if !ok {
			return nil
		}
		if n == 0 {
			continue
		}
		_, err := f.prog.Run(&ebpf.RunOptions{
			Data:      make([]byte, frameBytes),
			Repeat:    uint32(n), //nolint:gosec // at most freeRun
			Flags:     unix.BPF_F_TEST_XDP_LIVE_FRAMES,
			BatchSize: batchFrames,
		})
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("flood with XDP live frames: %w: they need Linux 5.18", err)
		}
		if err != nil {
			return fmt.Errorf("flood with XDP live frames: %w", err)
		}
	}
}

// Sent is what all runs have sent so far. Any goroutine may call it.
func (f *Flood) Sent() (r Result, err error) {
	if f.conns != nil {
		return Result{f.conns.opened.Load(), f.conns.failed.Load()}, nil
	}
	var perCPU []uint64
	if err := f.made.Lookup(uint32(0), &perCPU); err != nil {
		return r, fmt.Errorf("count the flood: %w", err)
	}
	for _, n := range perCPU {
		r.Sent += n
	}
	return r, nil
}
