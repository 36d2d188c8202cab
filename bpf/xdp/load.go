package xdp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Spec is the program with the table's size and the client's prefixes set: a pure function of
// cfg and the hash's seed, the same on every machine. The error is that of [Config.Validate].
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

// Program is xdp_weir in the kernel. Make it with [Load]. Its methods may be called from any
// goroutine; after Close they return errors that wrap [os.ErrClosed].
type Program struct {
	cfg  Config
	log  *slog.Logger
	objs weirObjects

	table *ebpf.Memory

	mu       sync.Mutex // what follows, and the writes that go with it
	closed   bool
	link     link.Link
	how      AttachMode
	fallback error // why how is generic though native was asked for
	policy   weirPolicy
	classes  map[int]Class
	allow    map[netip.Prefix]bool
}

// Load puts the program into the kernel, in ModeOff and without a quota. Nothing runs it before
// [Program.Attach]. Errors wrap [ErrNotPermitted], [ErrNoInterface], [ErrKernel], or
// [errors.ErrUnsupported] where there is no XDP. A *FieldError says what is wrong with cfg.
func Load(cfg Config, log *slog.Logger) (*Program, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("load xdp_weir: %w: XDP is a part of Linux: run weir there, or set xdp.enabled to off", errors.ErrUnsupported)
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	seed := [2]uint64{binary.LittleEndian.Uint64(raw[:8]), binary.LittleEndian.Uint64(raw[8:])}
	spec, err := Spec(cfg, seed)
	if err != nil {
		return nil, err
	}
	if _, err := findInterface(cfg.Interface); err != nil {
		return nil, err
	}
	return loadSpec(cfg.Defaults(), spec, log)
}

func loadSpec(cfg Config, spec *ebpf.CollectionSpec, log *slog.Logger) (*Program, error) {
	p := &Program{cfg: cfg, log: log, classes: map[int]Class{}, allow: map[netip.Prefix]bool{}}
	err := spec.LoadAndAssign(&p.objs, nil)
	if err != nil {
		return nil, explainLoad(err)
	}
	if p.table, err = p.objs.QuotaState.Memory(); err != nil {
		return nil, errors.Join(fmt.Errorf("map the table of clients: %w: use Linux 5.5 or newer: %w", ErrKernel, err), p.Close())
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

// Close detaches the program and gives its maps up: traffic passes. Idempotent.
func (p *Program) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var errs []error
	if p.link != nil {
		if err := p.link.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach xdp_weir from %s: %w", p.cfg.Interface, err))
		}
		p.link, p.how, p.fallback = nil, "", nil
	}
	if err := p.objs.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close xdp_weir: %w", err))
	}
	return errors.Join(errs...)
}

// open is nil before Close. p.mu is held.
func (p *Program) open(action string) error {
	if p.closed {
		return fmt.Errorf("%s: xdp_weir: %w", action, os.ErrClosed)
	}
	return nil
}
