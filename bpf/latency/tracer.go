package latency

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/bpf/rights"
	"weir/internal/mounts"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// statsRunTime is BPF_STATS_RUN_TIME of include/uapi/linux/bpf.h.
const statsRunTime = 0

// Names of maps and variables that tracers share.
const (
	mapHists       = runqMapHists
	mapCounts      = stallMapCounts
	mapStalls      = stallMapStalls
	varTgids       = runqVarTgids
	varTgidCount   = runqVarTgidCount
	varPorts       = runqVarPorts
	varPortCount   = runqVarPortCount
	varSampleEvery = runqVarSampleEvery
)

// Tracer counts in the kernel until it is closed. Make it with [Open]. Its methods may be called from
// any goroutine; after Close they return errors that wrap [os.ErrClosed].
type Tracer struct {
	about     About
	opened    time.Time
	functions goFunctions // of what Open has read

	mu      sync.Mutex // what follows
	closed  bool
	failed  error // it could not be kept in its budget
	coll    *ebpf.Collection
	links   []link.Link
	meter   *meter // nil if nobody takes the time of programs
	assumes bool   // their time is not known, but assumed to be taken
	taken   usage
	every   uint32 // one in so many events is followed
	walk    *link.Iter
	walked  walked
	ring    *ringbuf.Reader
	perCPU  []runqHist
	numbers []uint64

	clock           statsClock    // before it is governed
	ended, governed chan struct{} // nil if it has no budget
}

// Open puts a tracer into the kernel, where it counts at once. Errors wrap [ErrUnknown],
// [ErrNotPermitted], or [ErrKernel] as a *HookError; a *FieldError says what is wrong with cfg.
func Open(name string, cfg Config) (*Tracer, error) {
	about, err := find(name)
	if err != nil {
		return nil, err
	}
	if err := cfg.Validate(name); err != nil {
		return nil, fmt.Errorf("trace %s: %w", name, err)
	}
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("trace %s: %w: run it on Linux", name, errors.ErrUnsupported)
	}
	t := &Tracer{about: about, opened: time.Now(), every: 1}
	err = t.start(cfg)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Tracer) start(cfg Config) (err error) {
	if err := t.load(cfg); err != nil {
		return err
	}
	t.walked.budget = cfg.Budget
	if t.meter == nil {
		return nil
	}
	now := time.Now()
	if err := t.meter.settle(now); err != nil {
		return fmt.Errorf("trace %s: %w", t.about.Name, err)
	}
	t.meter.mark(now) // what it takes is from here on
	if cfg.Budget > 0 {
		t.ended, t.governed = make(chan struct{}), make(chan struct{})
		go t.govern(cfg.Budget)
	}
	return nil
}

// load puts the tracer's programs into the kernel.
func (t *Tracer) load(cfg Config) (err error) {
	if cfg.Cost || t.about.Name == XDP {
		if err := t.measure(cfg.Budget); errors.Is(err, ErrNotPermitted) {
			return err
		} else if err != nil {
			return t.explain("BPF_ENABLE_STATS", err)
		}
	}
	if t.about.spec == nil {
		return nil
	}
	spec, err := t.spec(cfg)
	if err != nil {
		return err
	}
	if t.coll, err = ebpf.NewCollection(spec); err != nil {
		return t.explain(missing(spec), err)
	}
	if err := t.attach(spec, cfg); err != nil {
		return err
	}
	if m := t.coll.Maps[mapStalls]; m != nil {
		if t.ring, err = ringbuf.NewReader(m); err != nil {
			return fmt.Errorf("trace %s: %w", t.about.Name, err)
		}
	}
	return nil
}

// spec is the tracer's object, with what is to be traced set in it.
func (t *Tracer) spec(cfg Config) (*ebpf.CollectionSpec, error) {
	spec, err := t.about.spec()
	if err != nil {
		return nil, fmt.Errorf("read the object of tracer %s: %w", t.about.Name, err)
	}
	var tgids [MaxPIDs]uint32
	var ports [MaxPorts]uint16
	for i, pid := range cfg.PIDs {
		tgids[i] = uint32(pid) //nolint:gosec // Validate bounds it
	}
	copy(ports[:], cfg.Ports)
	vars := map[string]any{
		varTgids: tgids, varTgidCount: uint32(len(cfg.PIDs)), //nolint:gosec // Validate bounds it
		varPorts: ports, varPortCount: uint32(len(cfg.Ports)), //nolint:gosec // Validate bounds it
	}
	if t.about.Stalls {
		vars[stallVarThreshold] = uint64(cfg.Threshold) //nolint:gosec // Validate bounds it
		vars[stallVarFewerTicks] = fewerTicks(cfg.Threshold, tickOfKernel())
	}
	if t.about.Stalls && cfg.Threshold == 0 {
		for _, name := range hooksOfCode() {
			delete(spec.Programs, name)
		}
	}
	if cfg.Empty {
		for _, p := range spec.Programs {
			if p.AttachType == ebpf.AttachTraceIter { // it is at no hook, and has sockets come to those
				continue
			}
			p.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}
			if p.Type != ebpf.SockOps {
				p.Instructions[0] = asm.Mov.Imm(asm.R0, 0)
			}
		}
	}
	for name, value := range vars {
		if v := spec.Variables[name]; v != nil { // a tracer that does not filter by it has none
			if err := v.Set(value); err != nil {
				return nil, fmt.Errorf("set %s of tracer %s: %w", name, t.about.Name, err)
			}
		}
	}
	return spec, nil
}

// attach has the programs run. Those that note a time come before or after those that take it: what is
// missed by that is not counted.
func (t *Tracer) attach(spec *ebpf.CollectionSpec, cfg Config) (err error) {
	for _, p := range spec.Programs {
		if p.Type == ebpf.TracePoint {
			if err := mounts.Tracing(); err != nil {
				return t.explain("tracefs", err)
			}
			break
		}
	}
	for name, p := range spec.Programs {
		var l link.Link
		switch {
		case p.Type == ebpf.Kprobe: // a uprobe
			err = t.attachGo(name, cfg.PIDs)
			if !t.about.Go && errors.Is(err, ErrNotGo) {
				continue // it says the less of such a process
			}
			if errors.Is(err, ErrNotGo) {
				return fmt.Errorf("trace %s: %w", t.about.Name, err)
			}
		case p.Type == ebpf.Tracing && p.AttachType == ebpf.AttachTraceIter:
			t.walk, err = link.AttachIter(link.IterOptions{Program: t.coll.Programs[name]})
		case p.Type == ebpf.Tracing:
			l, err = link.AttachTracing(link.TracingOptions{Program: t.coll.Programs[name]})
		case p.Type == ebpf.TracePoint:
			group, event, _ := strings.Cut(p.AttachTo, "/")
			l, err = link.Tracepoint(group, event, t.coll.Programs[name], nil)
			if errors.Is(err, os.ErrNotExist) && slices.Contains(oldSyscalls(), event) {
				continue
			}
		default:
			l, err = attachSockOps(t.coll.Programs[name])
		}
		if err != nil {
			return t.explain(name, err)
		}
		if l != nil {
			t.links = append(t.links, l)
		}
	}
	if t.about.Name == Write {
		return t.tell(true)
	}
	return nil
}

// hooksOfCode are the programs of stall that look at those which are busy for long.
func hooksOfCode() []string {
	return []string{"sched_switch", "sched_stat_runtime", "sched_wakeup", "softirq_entry", "softirq_exit", "stop_the_world", "start_the_world"}
}

// oldSyscalls are hooks that not every architecture has: its programs cannot call them either.
func oldSyscalls() []string {
	return []string{"sys_enter_epoll_wait", "sys_exit_epoll_wait", "sys_exit_epoll_create", "sys_exit_accept"}
}

// tell walks the sockets that were there before, for their times of sending to be taken, or not any more.
func (t *Tracer) tell(begin bool) error {
	if !begin {
		if err := t.coll.Variables[writeVarFlagsOfWalk].Set(uint32(0)); err != nil {
			return fmt.Errorf("end tracer %s: %w", t.about.Name, err)
		}
	}
	r, err := t.walk.Open()
	if err != nil {
		return fmt.Errorf("trace %s: walk the sockets: %w", t.about.Name, err)
	}
	_, err = io.Copy(io.Discard, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("trace %s: walk the sockets: %w", t.about.Name, err)
	}
	return nil
}

// missing is the first hook of a spec that the kernel's types do not have, empty if they have all.
func missing(spec *ebpf.CollectionSpec) string {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return "the kernel's types (BTF)"
	}
	for name, p := range spec.Programs {
		var found *btf.Typedef
		if p.AttachType == ebpf.AttachTraceRawTp && kernel.TypeByName("btf_trace_"+p.AttachTo, &found) != nil {
			return name
		}
		for _, ins := range p.Instructions {
			var f *btf.Func
			if ref := ins.Reference(); ins.IsKfuncCall() && kernel.TypeByName(ref, &f) != nil {
				return ref
			}
		}
	}
	return ""
}

// explain says what to do about an error of the kernel's. hook is the one that is missing if one is.
func (t *Tracer) explain(hook string, err error) error {
	_, isVerifier := errors.AsType[*ebpf.VerifierError](err)
	file, isFile := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, os.ErrPermission) && isFile && strings.Contains(file.Path, "/events/"):
		return fmt.Errorf("trace %s: %w: the kernel's tracepoints are root's: run as root, or let a group of it read them, by mount -o remount,mode=750,gid=GROUP /sys/kernel/tracing: %w", t.about.Name, ErrNotPermitted, err)
	case rights.Refused(err) && os.Geteuid() == 0:
		return fmt.Errorf("trace %s: %w: root has not all capabilities here, as in a container, or the kernel's lockdown forbids it: %w", t.about.Name, ErrNotPermitted, err)
	case rights.Refused(err):
		return fmt.Errorf("trace %s: %w: run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: %w", t.about.Name, ErrNotPermitted, err)
	case hook != "" || isVerifier || errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, btf.ErrNotFound):
		if hook == "" {
			hook = "a feature of its programs"
		}
		return &HookError{Tracer: t.about.Name, Hook: hook, Since: t.about.Since, Err: err}
	default:
		return fmt.Errorf("trace %s: %w", t.about.Name, err)
	}
}

// About is what the tracer is.
func (t *Tracer) About() About { return t.about }

// open is nil before Close, while all is well. t.mu is held.
func (t *Tracer) open() error {
	if t.closed {
		return fmt.Errorf("trace %s: %w", t.about.Name, os.ErrClosed)
	}
	if t.failed != nil {
		return fmt.Errorf("keep tracer %s in its budget: %w", t.about.Name, t.failed)
	}
	return nil
}

// Close takes the tracer out of the kernel. Idempotent.
func (t *Tracer) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	if t.ended != nil {
		close(t.ended)
		<-t.governed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	if t.about.Name == Write && t.walk != nil {
		errs = append(errs, t.tell(false))
	}
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	if t.walk != nil {
		errs = append(errs, t.walk.Close())
	}
	if t.ring != nil {
		errs = append(errs, t.ring.Close())
	}
	errs = append(errs, t.meter.off(time.Now()))
	if t.coll != nil {
		t.coll.Close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close tracer %s: %w", t.about.Name, err)
	}
	return nil
}
