package xdp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"

	"weir/bpf/rights"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// bpfXDPHasFrags is BPF_F_XDP_HAS_FRAGS: the program takes packets of several buffers.
const bpfXDPHasFrags = 1 << 5

// Spec is the program with the table's size and the client's prefixes set: a pure function of
// cfg, the features to use and the hash's seed, the same on every machine. The error is that of
// [Config.Validate].
func Spec(cfg Config, f Features, seed [2]uint64) (*ebpf.CollectionSpec, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure XDP: %w", err)
	}
	cfg = cfg.Defaults()
	spec, err := loadWeir()
	if err != nil {
		return nil, fmt.Errorf("read xdp_weir: %w", err)
	}
	cpus := uint32(possibleCPUs()) //nolint:gosec // positive
	spec.Maps[weirMapUnproved].MaxEntries = cpus
	spec.Maps[weirMapEscalations].MaxEntries = uint32(cfg.Escalations) //nolint:gosec // Validate bounds it
	if f.Frags {
		spec.Programs[weirProgXdpWeir].Flags |= bpfXDPHasFrags
	}
	return spec, shape(spec, cfg, seed, map[string]any{
		weirVarHasFrags:    flag(f.Frags),
		weirVarHasCookies:  flag(f.Cookies),
		weirVarCoarseClock: flag(cfg.Clock == ClockCoarse),
		weirVarSketches:    cpus,
	})
}

// connsSpec is [Spec] for the programs that watch connections.
func connsSpec(cfg Config, f Features, seed [2]uint64, netns uint64) (*ebpf.CollectionSpec, error) {
	spec, err := loadConns()
	if err != nil {
		return nil, fmt.Errorf("read conns_watch: %w", err)
	}
	return spec, shape(spec, cfg, seed, map[string]any{
		connsVarNetnsCookie: netns,
		connsVarHasCbFlags:  flag(f.CallbackFlags),
	})
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// shape sets what both objects share, and the variables given.
func shape(spec *ebpf.CollectionSpec, cfg Config, seed [2]uint64, vars map[string]any) error {
	sets := uint32(cfg.Slots / slotsPerSet) //nolint:gosec // Validate bounds it
	spec.Maps[weirMapQuotaState].MaxEntries = sets
	spec.Maps[weirMapBindings].MaxEntries = uint32(cfg.Bindings) //nolint:gosec // Validate bounds it
	vars[weirVarHashSeed] = seed
	vars[weirVarSetMask] = sets - 1
	vars[weirVarIpv4Bits] = uint32(cfg.IPv4PrefixBits) //nolint:gosec // Validate bounds it
	vars[weirVarIpv6Bits] = uint32(cfg.IPv6PrefixBits) //nolint:gosec // Validate bounds it
	for name, value := range vars {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s of xdp_weir: %w", name, err)
		}
	}
	return nil
}

// Program is xdp_weir in the kernel. Make it with [Load]. Its methods may be called from any
// goroutine; after Close they return errors that wrap [os.ErrClosed].
type Program struct {
	cfg       Config
	log       *slog.Logger
	features  Features
	proofless bool // why says
	why       error
	objs      weirObjects
	conns     *watcher
	pins      *pinned // nil if state is not kept

	seed  [2]uint64
	table *ebpf.Memory

	told
	word weirPolicy // by wordMu; all but what was told changes under mu alone

	mu        sync.Mutex // what follows, and the writes that go with it
	closed    bool
	adopted   bool
	away      bool // the pinned state may be another program's
	link      link.Link
	how       AttachMode
	fallback  error // why how is generic though native was asked for
	listening bool
	policy    Policy
	lists     [generations][2]*ebpf.Map
}

// Load puts the program into the kernel, in ModeOff and without a quota. Nothing runs it before
// [Program.Attach]. With Config.Pin it takes over the state that an earlier one left, which goes
// on meanwhile. Errors wrap [ErrNotPermitted], [ErrNoInterface], [ErrKernel],
// [ErrIncompatible], or [errors.ErrUnsupported] where there is no XDP. A *FieldError says what is
// wrong with cfg.
func Load(cfg Config, log *slog.Logger) (*Program, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("load xdp_weir: %w: XDP is a part of Linux: run weir there, or set xdp.enabled to off", errors.ErrUnsupported)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure XDP: %w", err)
	}
	cfg = cfg.Defaults()
	ifc, err := findInterface(cfg.Interface)
	if err != nil {
		return nil, err
	}
	f, err := probe(cfg, ifc.MTU)
	if err != nil {
		return nil, err
	}
	return loadWith(cfg, f, nil, log)
}

// loadWith is Load with the features known. change, if there is one, changes the spec: in tests.
func loadWith(cfg Config, f Features, change func(*ebpf.CollectionSpec) error, log *slog.Logger) (p *Program, err error) {
	p = &Program{cfg: cfg, log: log, features: f}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	p.seed = [2]uint64{binary.LittleEndian.Uint64(raw[:8]), binary.LittleEndian.Uint64(raw[8:])}
	if cfg.Pin {
		if p.pins, err = openPins(cfg); err != nil {
			return nil, err
		}
		defer p.pins.close()
		if p.pins.found {
			p.seed, p.adopted = p.pins.seed, true
		}
	}
	spec, err := Spec(cfg, f, p.seed)
	if err == nil && change != nil {
		err = change(spec)
	}
	if err != nil {
		return nil, err
	}
	if err := spec.LoadAndAssign(&p.objs, &ebpf.CollectionOptions{MapReplacements: p.pins.replacements(spec)}); err != nil {
		return nil, explainLoad(err)
	}
	err = p.start()
	if err == nil && !p.adopted {
		err = p.Replace(Policy{})
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// start reads or pins the state, and watches connections.
func (p *Program) start() (err error) {
	if p.table, err = p.objs.QuotaState.Memory(); err != nil {
		return fmt.Errorf("map the table of clients: %w: use Linux 5.5 or newer: %w", ErrKernel, err)
	}
	if p.adopted {
		if err := p.objs.CurrentPolicy.Lookup(uint32(0), &p.word); err != nil {
			return fmt.Errorf("read the policy of the pinned state: %w", err)
		}
	}
	err = p.watch()
	if err == nil {
		err = p.startTold()
	}
	if err != nil {
		return err
	}
	if p.adopted {
		next := p.word
		next.Samples = 0 // whoever listened has gone
		return p.writeWord(next)
	}
	if p.pins == nil {
		return nil
	}
	if err := p.pins.pin(p.state()); err != nil {
		return err
	}
	return p.pins.finish(p.cfg, p.seed)
}

// state is the maps that are pinned, but for those of the watcher.
func (p *Program) state() map[string]*ebpf.Map {
	o := &p.objs
	return map[string]*ebpf.Map{
		weirMapBindings: o.Bindings, weirMapClassLabels: o.ClassLabels, weirMapEscalations: o.Escalations,
		weirMapClasses: o.Classes, weirMapCpuPurses: o.CpuPurses, weirMapCurrentPolicy: o.CurrentPolicy, weirMapEvents: o.Events, weirMapListHeads: o.ListHeads,
		weirMapListsV4: o.ListsV4, weirMapListsV6: o.ListsV6, weirMapPolicyRules: o.PolicyRules, weirMapPools: o.Pools,
		weirMapQuotaState: o.QuotaState, weirMapSampled: o.Sampled, weirMapSamples: o.Samples, weirMapSieges: o.Sieges,
		weirMapStamps: o.Stamps, weirMapUnproved: o.Unproved, weirMapVerdictStats: o.VerdictStats,
	}
}

// reload loads xdp_weir once more, on the same maps and without an expected attach type: for a link
// that was made with such a program. p.mu is held.
func (p *Program) reload() error {
	spec, err := Spec(p.cfg, p.features, p.seed)
	if err != nil {
		return err
	}
	spec.Programs[weirProgXdpWeir].AttachType = ebpf.AttachNone
	var again struct {
		XdpWeir *ebpf.Program `ebpf:"xdp_weir"`
	}
	if err := spec.LoadAndAssign(&again, &ebpf.CollectionOptions{MapReplacements: p.state()}); err != nil {
		return explainLoad(err)
	}
	old := p.objs.XdpWeir
	p.objs.XdpWeir = again.XdpWeir
	return old.Close()
}

func explainLoad(err error) error {
	if rights.Refused(err) {
		return fmt.Errorf("load xdp_weir: %w: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: %w", ErrNotPermitted, err)
	}
	if _, isVerifier := errors.AsType[*ebpf.VerifierError](err); isVerifier || errors.Is(err, ebpf.ErrNotSupported) {
		return &loadError{fmt.Errorf("load xdp_weir: %w: use Linux 5.15 or newer (docs/HOSTS.md): %w", ErrKernel, err)}
	}
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return fmt.Errorf("load xdp_weir: %w: %w", ErrIncompatible, err)
	}
	return fmt.Errorf("load xdp_weir: %w", err)
}

// Raw is the program itself, for those below bpf/ that run it on packets of their own.
func (p *Program) Raw() *ebpf.Program { return p.objs.XdpWeir }

// Adopted reports whether the program took over the state that an earlier one left pinned.
func (p *Program) Adopted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.adopted
}

// Features are those that the program uses.
func (p *Program) Features() Features { return p.features }

// Proofless is why sources get slots without proof; nil if they do not.
func (p *Program) Proofless() error { return p.why }

// Close gives the program's descriptors up. Unless its state is pinned it is detached with that:
// traffic passes. Idempotent.
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
	if p.conns != nil {
		errs = append(errs, p.conns.close())
	}
	for _, lists := range p.lists {
		for _, l := range lists {
			if l != nil {
				errs = append(errs, l.Close())
			}
		}
	}
	p.use.Lock()
	defer p.use.Unlock()
	p.gone = true
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
