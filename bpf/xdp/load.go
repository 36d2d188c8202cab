package xdp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Spec is the program with the table's size and the client's prefixes set: the same on every
// machine but for the hash's seed.
func Spec(cfg Config, seed [2]uint64) (*ebpf.CollectionSpec, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure XDP: %w", err)
	}
	cfg = cfg.Defaults()
	spec, err := loadWeir()
	if err != nil {
		return nil, fmt.Errorf("read xdp_weir: %w", err)
	}
	sets := uint32(cfg.Slots / slotsPerSet) //nolint:gosec // Validate bounds it
	spec.Maps[weirMapQuotaState].MaxEntries = sets
	for name, value := range map[string]any{
		weirVarHashSeed: seed,
		weirVarSetMask:  sets - 1,
		weirVarIpv4Bits: uint32(cfg.IPv4PrefixBits), //nolint:gosec // Validate bounds it
		weirVarIpv6Bits: uint32(cfg.IPv6PrefixBits), //nolint:gosec // Validate bounds it
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s of xdp_weir: %w", name, err)
		}
	}
	return spec, nil
}

// Program is xdp_weir in the kernel. Its methods may be called from any goroutine.
type Program struct {
	cfg  Config
	log  *slog.Logger
	objs weirObjects

	mu    sync.Mutex
	link  link.Link
	how   AttachMode
	epoch uint32
	mode  Mode
	allow map[netip.Prefix]bool
	table *ebpf.Memory
}

// Load puts the program into the kernel, in ModeOff and without a quota. Errors wrap
// [ErrNotPermitted], [ErrNoInterface] or [ErrKernel].
func Load(cfg Config, log *slog.Logger) (*Program, error) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	seed := [2]uint64{binary.LittleEndian.Uint64(raw[:8]), binary.LittleEndian.Uint64(raw[8:])}
	spec, err := Spec(cfg, seed)
	if err != nil {
		return nil, err
	}
	p := &Program{cfg: cfg.Defaults(), log: log, allow: map[netip.Prefix]bool{}}
	if _, err := findInterface(cfg.Interface); err != nil {
		return nil, err
	}
	if err := spec.LoadAndAssign(&p.objs, nil); err != nil {
		return nil, explainLoad(err)
	}
	if p.table, err = p.objs.QuotaState.Memory(); err != nil {
		return nil, errors.Join(fmt.Errorf("map the table of clients: %w: use Linux 5.5 or newer: %w", ErrKernel, err), p.Close())
	}
	if err := p.writePolicy(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func explainLoad(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("load xdp_weir: %w: run as root, or with CAP_BPF and CAP_NET_ADMIN: %w", ErrNotPermitted, err)
	}
	var ve *ebpf.VerifierError
	if errors.As(err, &ve) || errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("load xdp_weir: %w: use Linux 5.12 or newer (docs/HOSTS.md): %w", ErrKernel, err)
	}
	return fmt.Errorf("load xdp_weir: %w", err)
}

func findInterface(name string) (*net.Interface, error) {
	ifc, err := net.InterfaceByName(name)
	if err == nil {
		return ifc, nil
	}
	var names []string
	if all, err := net.Interfaces(); err == nil {
		for _, i := range all {
			names = append(names, i.Name)
		}
	}
	return nil, fmt.Errorf("guard %s: %w: name one of %s as xdp.interface", name, ErrNoInterface, strings.Join(names, ", "))
}

// Attach puts the program on the interface and returns how. Errors wrap [ErrBusy] or
// [ErrNoNative].
func (p *Program) Attach() (AttachMode, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ifc, err := findInterface(p.cfg.Interface)
	if err != nil {
		return "", err
	}
	if p.link != nil {
		return p.how, nil
	}
	if p.cfg.Attach != AttachGeneric {
		if p.link, err = p.attach(ifc, link.XDPDriverMode); err == nil {
			p.how = AttachNative
			return p.how, nil
		}
		if errors.Is(err, ErrBusy) {
			return "", err
		}
		if p.cfg.Attach == AttachNative {
			return "", fmt.Errorf("attach xdp_weir to %s: %w: set xdp.attach to auto or generic, or use a NIC of docs/HOSTS.md: %w", ifc.Name, ErrNoNative, err)
		}
		p.log.Info("generic xdp, since the driver has no native one", "iface", ifc.Name, "err", err)
	}
	if p.link, err = p.attach(ifc, link.XDPGenericMode); err != nil {
		return "", err
	}
	p.how = AttachGeneric
	return p.how, nil
}

func (p *Program) attach(ifc *net.Interface, flags link.XDPAttachFlags) (link.Link, error) {
	l, err := link.AttachXDP(link.XDPOptions{Program: p.objs.XdpWeir, Interface: ifc.Index, Flags: flags})
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EEXIST):
		return nil, fmt.Errorf("attach xdp_weir to %s: %w: stop the weir or the firewall that put it there (bpftool net show dev %s), or set xdp.enabled to off: %w", ifc.Name, ErrBusy, ifc.Name, err)
	default:
		return nil, fmt.Errorf("attach xdp_weir to %s: %w", ifc.Name, err)
	}
}

// How is how the program is attached, empty if it is not.
func (p *Program) How() AttachMode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.how
}

// Interface is the name of the interface guarded.
func (p *Program) Interface() string { return p.cfg.Interface }

// Slots is the number of clients the table holds.
func (p *Program) Slots() int { return p.cfg.Slots }

// SetMode switches the mode by one map write.
func (p *Program) SetMode(m Mode) error {
	if _, ok := modeNames[m]; !ok {
		return fmt.Errorf("mode %d: want off, shadow or enforce", m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.mode
	p.mode = m
	if err := p.writePolicy(); err != nil {
		p.mode = before
		return err
	}
	return nil
}

// Mode is the mode set last.
func (p *Program) Mode() Mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode
}

// writePolicy is the one write that switches mode and epoch. p.mu is held, or p is new.
func (p *Program) writePolicy() error {
	err := p.objs.CurrentPolicy.Put(uint32(0), weirPolicy{Mode: uint32(p.mode), Epoch: p.epoch})
	if err != nil {
		return fmt.Errorf("write the policy of xdp_weir: %w", err)
	}
	return nil
}

// SetClass sets the quota of a class, 0 to 15.
func (p *Program) SetClass(id int, c Class) error {
	if id < 0 || id >= int(p.objs.Classes.MaxEntries()) {
		return fmt.Errorf("class %d: want 0 to %d", id, p.objs.Classes.MaxEntries()-1)
	}
	if err := p.objs.Classes.Put(uint32(id), weirClass{ //nolint:gosec // bounded above
		Interval: c.Interval, Tolerance: c.Tolerance,
		TotalInterval: c.TotalInterval, TotalTolerance: c.TotalTolerance,
	}); err != nil {
		return fmt.Errorf("write class %d of xdp_weir: %w", id, err)
	}
	return nil
}

// ReplaceAllow makes the allow list exactly these prefixes. Clients already in the table are
// looked up anew.
func (p *Program) ReplaceAllow(prefixes []netip.Prefix) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := map[netip.Prefix]bool{}
	for _, x := range prefixes {
		want[x.Masked()] = true
	}
	for x := range want {
		if p.allow[x] {
			continue
		}
		err := p.objs.Lists.Put(prefixOf(x), weirListed{Flags: slotAllowed})
		if errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("allow %s: %w: merge prefixes, it holds %d: %w", x, ErrListFull, p.objs.Lists.MaxEntries(), err)
		}
		if err != nil {
			return fmt.Errorf("allow %s: %w", x, err)
		}
		p.allow[x] = true
	}
	for x := range p.allow {
		if want[x] {
			continue
		}
		if err := p.objs.Lists.Delete(prefixOf(x)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("no longer allow %s: %w", x, err)
		}
		delete(p.allow, x)
	}
	p.epoch = (p.epoch + 1) & math.MaxUint32
	return p.writePolicy()
}

// slotAllowed mirrors SLOT_ALLOWED of bpf/include/abi.h.
const slotAllowed = 1

// Close detaches the program and gives its maps up. Idempotent.
func (p *Program) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	if p.link != nil {
		if err := p.link.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach xdp_weir from %s: %w", p.cfg.Interface, err))
		}
		p.link, p.how = nil, ""
	}
	if err := p.objs.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close xdp_weir: %w", err))
	}
	return errors.Join(errs...)
}
