package xdp

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"unsafe"

	"weir/internal/mounts"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// watcher is the programs that see connections.
type watcher struct {
	objs  connsObjects
	links []link.Link
	walk  *link.Iter
}

// Listener is a listening TCP socket of the network namespace.
type Listener struct {
	// Addr is unspecified for all addresses. IPv6 says that the socket is of that family; with
	// an unspecified Addr it may take IPv4 as well.
	Addr netip.AddrPort
	IPv6 bool
}

// watch loads and attaches the programs that see connections, and counts those there are. Where
// that cannot be had p goes on without, and every source gets a slot.
func (p *Program) watch() error {
	if p.cfg.Proof == OptionOff {
		p.proofless, p.why = true, fmt.Errorf("%w: xdp.proof is off", errNoProof)
		return nil
	}
	err := error(nil)
	if !p.features.Watch {
		err = fmt.Errorf("%w: %w: use Linux 5.15 or newer with CONFIG_DEBUG_INFO_BTF", errNoProof, ErrKernel)
	} else {
		p.conns, err = p.newWatcher()
	}
	if err == nil {
		return nil
	}
	if p.cfg.Proof == OptionOn {
		return err
	}
	p.proofless, p.why = true, err
	p.log.Warn("clients have slots without proof of their return path", "err", err)
	return nil
}

func (p *Program) newWatcher() (*watcher, error) {
	cookie, err := netnsCookie()
	if err != nil {
		return nil, fmt.Errorf("%w: find this network namespace: %w", errNoProof, err)
	}
	spec, err := connsSpec(p.cfg, p.features, p.seed, cookie)
	if err != nil {
		return nil, err
	}
	replace := among(spec, p.state())
	maps.Copy(replace, p.pins.replacements(spec))
	w := &watcher{}
	if err := spec.LoadAndAssign(&w.objs, &ebpf.CollectionOptions{MapReplacements: replace}); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoProof, explainLoad(err))
	}
	if p.pins != nil && !p.pins.found {
		if err := p.pins.pin(w.state()); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	if err := w.attach(p.features, p.pins); err != nil {
		return nil, errors.Join(err, w.close())
	}
	if _, err := w.listeners(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// state is the watcher's own maps that are pinned.
func (w *watcher) state() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{connsMapConns: w.objs.Conns, connsMapListening: w.objs.Listening}
}

// attach attaches all programs, in place of what is pinned.
func (w *watcher) attach(f Features, pins *pinned) (err error) {
	if err := w.hook(f, pins); err != nil {
		return err
	}
	if w.walk, err = link.AttachIter(link.IterOptions{Program: w.objs.ConnsWalk}); err != nil {
		return fmt.Errorf("%w: attach conns_walk: %w", errNoProof, err)
	}
	return nil
}

// hook attaches what sees connections come and go, in place of what is pinned.
func (w *watcher) hook(f Features, pins *pinned) error {
	root, err := mounts.Cgroup2()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoProof, err)
	}
	err = w.keep(pins, pinWatch, w.objs.ConnsWatch, func() (link.Link, error) {
		return link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupSockOps, Program: w.objs.ConnsWatch})
	})
	if err != nil {
		return fmt.Errorf("%w: attach conns_watch to %s: %w", errNoProof, root, err)
	}
	if !f.CallbackFlags {
		// The kernel cannot put another program into this kind of link. For a moment there are
		// two, which count an end once: whoever comes first.
		old := pins.open(pinClosed)
		err = w.keep(pins.without(pinClosed), pinClosed, w.objs.ConnsClosed, func() (link.Link, error) {
			return link.AttachTracing(link.TracingOptions{Program: w.objs.ConnsClosed})
		})
		if old != nil {
			_ = old.Close() // its successor is there
		}
		if err != nil {
			return fmt.Errorf("%w: attach conns_closed: %w", errNoProof, err)
		}
	}
	return nil
}

// unhook gives the descriptors of that up: the links stay if they are pinned.
func (w *watcher) unhook() error {
	var errs []error
	for _, l := range w.links {
		errs = append(errs, l.Close())
	}
	w.links = nil
	return errors.Join(errs...)
}

// keep attaches a program: into the pinned link, else by make, whose link is then pinned.
func (w *watcher) keep(pins *pinned, name string, prog *ebpf.Program, make func() (link.Link, error)) error {
	if pins != nil {
		l, err := pins.adoptLink(name, prog)
		if err != nil {
			return err
		}
		if l != nil {
			w.links = append(w.links, l)
			return nil
		}
	}
	l, err := make()
	if err != nil {
		return err
	}
	w.links = append(w.links, l)
	if pins == nil {
		return nil
	}
	return l.Pin(pins.path(name))
}

// listeners walks all sockets: it counts the connections that are not yet, and returns who
// listens.
func (w *watcher) listeners() ([]Listener, error) {
	r, err := w.walk.Open()
	if err != nil {
		return nil, fmt.Errorf("walk the sockets: %w", err)
	}
	defer r.Close() //nolint:errcheck // it was read
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("walk the sockets: %w", err)
	}
	var all []Listener
	const size = int(unsafe.Sizeof(connsListener{}))
	for ; len(raw) >= size; raw = raw[size:] {
		addr := netip.AddrFrom16([16]byte(raw[:16])).Unmap()
		port := uint16(raw[16]) | uint16(raw[17])<<8
		all = append(all, Listener{netip.AddrPortFrom(addr, port), raw[18] != 0})
	}
	return all, nil
}

// Listeners walks the sockets of the network namespace: it counts connections that are not yet,
// if there are any, and returns who listens. It is nil where connections are not watched.
func (p *Program) Listeners() ([]Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("walk the sockets"); err != nil || p.conns == nil {
		return nil, err
	}
	return p.conns.listeners()
}

func (w *watcher) close() error {
	errs := []error{w.unhook()}
	if w.walk != nil {
		errs = append(errs, w.walk.Close())
	}
	if err := errors.Join(append(errs, w.objs.Close())...); err != nil {
		return fmt.Errorf("close conns_watch: %w", err)
	}
	return nil
}
