package xdp

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"

	"weir/internal/mounts"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Names in the directory of an interface's state, beside those of maps.
const (
	pinManifest = "manifest"
	pinLink     = "link_xdp"
	pinWatch    = "link_watch"
	pinClosed   = "link_closed"
)

// manifest says what pinned state fits: the one value of the map of that name.
type manifest struct {
	Layout      uint64
	Seed        [2]uint64
	Slots       uint32
	IPv4, IPv6  uint16
	Bindings    uint32
	Escalations uint32
}

// layout is a hash of all that a program and pinned maps must agree on.
func layout() uint64 {
	h := fnv.New64a()
	for _, v := range []any{
		weirSet{},
		weirClass{},
		weirPolicy{},
		weirRules{},
		weirPool{},
		weirPurses{},
		weirSiege{},
		weirSketch{},
		weirCounter{},
		weirSample{},
		weirSampling{},
		weirPrefix{},
		weirListed{},
		weirTuple{},
		weirBinding{},
		weirLabel{},
		weirEscalation{},
		connsConn{},
	} {
		describe(h, reflect.TypeOf(v))
	}
	fmt.Fprint(h, generations, maxClasses, slotsPerSet, maxLabels)
	return h.Sum64()
}

func describe(w io.Writer, t reflect.Type) {
	switch t.Kind() { //nolint:exhaustive // the rest is plain
	case reflect.Struct:
		for f := range t.Fields() {
			fmt.Fprint(w, f.Name, f.Offset, ";")
			describe(w, f.Type)
		}
	case reflect.Array:
		fmt.Fprint(w, "[", t.Len(), "]")
		describe(w, t.Elem())
	default:
		fmt.Fprint(w, t.Kind())
	}
	fmt.Fprint(w, t.Size(), ".")
}

// pinned is the state of an interface on a bpf file system.
type pinned struct {
	dir   string
	found bool // an earlier program's
	seed  [2]uint64
	maps  map[string]*ebpf.Map
}

// pinDir is the directory of an interface's state.
func (c Config) pinDir() string { return filepath.Join(c.PinDir, c.Interface) }

// openPins opens the state that an earlier program left, if it did.
func openPins(cfg Config) (*pinned, error) {
	if err := mounts.BPF(cfg.PinDir); err != nil {
		return nil, err
	}
	s := &pinned{dir: cfg.pinDir(), maps: map[string]*ebpf.Map{}}
	m, err := ebpf.LoadPinnedMap(filepath.Join(s.dir, pinManifest), nil)
	if errors.Is(err, fs.ErrNotExist) {
		// What is there without a manifest was never finished.
		if err := os.RemoveAll(s.dir); err != nil {
			return nil, fmt.Errorf("remove what a start left in %s: %w", s.dir, err)
		}
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the pinned state in %s: %w", s.dir, err)
	}
	defer m.Close() //nolint:errcheck // it was read
	if err := s.check(m, cfg); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		s.close()
		return nil, err
	}
	s.found = true
	return s, nil
}

// check holds the manifest against this program and its configuration.
func (s *pinned) check(m *ebpf.Map, cfg Config) error {
	migrate := fmt.Sprintf("start with the settings it has, or let it go (traffic passes until the next start): weir quota unpin %s", cfg.Interface)
	var have manifest
	if err := m.Lookup(uint32(0), &have); err != nil {
		return fmt.Errorf("read the manifest in %s: %w: %s: %w", s.dir, ErrIncompatible, migrate, err)
	}
	if have.Layout != layout() {
		return fmt.Errorf("adopt the state pinned in %s: %w: its layout is %x, this program's %x: run the version that made it, or let it go (traffic passes until the next start): weir quota unpin %s", s.dir, ErrIncompatible, have.Layout, layout(), cfg.Interface)
	}
	for _, f := range []struct {
		name       string
		have, want int
	}{
		{"slots", int(have.Slots), cfg.Slots},
		{"ipv4_prefix", int(have.IPv4), cfg.IPv4PrefixBits},
		{"ipv6_prefix", int(have.IPv6), cfg.IPv6PrefixBits},
		{"bindings", int(have.Bindings), cfg.Bindings},
		{"escalations", int(have.Escalations), cfg.Escalations},
	} {
		if f.have != f.want {
			return fmt.Errorf("adopt the state pinned in %s: %w: its %s is %d, the configuration's %d: %s", s.dir, ErrIncompatible, f.name, f.have, f.want, migrate)
		}
	}
	s.seed = have.Seed
	return nil
}

// load opens what the two objects pin: the names are theirs, whether they are loaded or not.
func (s *pinned) load() error {
	for _, names := range []map[string]*ebpf.Map{(&Program{}).state(), (&watcher{}).state()} {
		for name := range names {
			m, err := ebpf.LoadPinnedMap(s.path(name), nil)
			if err != nil {
				return fmt.Errorf("adopt the state pinned in %s: %w: open %s: %w", s.dir, ErrIncompatible, name, err)
			}
			s.maps[name] = m
		}
	}
	return nil
}

// replacements are the maps to use instead of new ones, of those that of has.
func (s *pinned) replacements(of *ebpf.CollectionSpec) map[string]*ebpf.Map {
	if s == nil || !s.found {
		return nil
	}
	return among(of, s.maps)
}

// among are those of the maps that a spec has.
func among(of *ebpf.CollectionSpec, maps map[string]*ebpf.Map) map[string]*ebpf.Map {
	r := map[string]*ebpf.Map{}
	for name, m := range maps {
		if of.Maps[name] != nil {
			r[name] = m
		}
	}
	return r
}

// pin puts maps into the directory.
func (s *pinned) pin(maps map[string]*ebpf.Map) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("keep state in %s: %w", s.dir, err)
	}
	for name, m := range maps {
		if err := m.Pin(filepath.Join(s.dir, name)); err != nil {
			return fmt.Errorf("keep %s in %s: %w", name, s.dir, err)
		}
	}
	return nil
}

// finish writes the manifest: from then on the state may be adopted.
func (s *pinned) finish(cfg Config, seed [2]uint64) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "weir_manifest", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(reflect.TypeFor[manifest]().Size()), MaxEntries: 1}) //nolint:gosec // a few bytes
	if err != nil {
		return fmt.Errorf("make the manifest: %w", err)
	}
	defer m.Close()                                                                                                                                                                                                  //nolint:errcheck // the pin keeps it
	is := manifest{Layout: layout(), Seed: seed, Slots: uint32(cfg.Slots), IPv4: uint16(cfg.IPv4PrefixBits), IPv6: uint16(cfg.IPv6PrefixBits), Bindings: uint32(cfg.Bindings), Escalations: uint32(cfg.Escalations)} //nolint:gosec // validated
	if err := m.Put(uint32(0), is); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return s.pin(map[string]*ebpf.Map{pinManifest: m})
}

func (s *pinned) close() {
	if s == nil {
		return
	}
	for _, m := range s.maps {
		_ = m.Close() // the pin keeps it
	}
}

func (s *pinned) path(name string) string { return filepath.Join(s.dir, name) }

// open is the pinned link of that name, nil if there is none.
func (s *pinned) open(name string) link.Link {
	if s == nil {
		return nil
	}
	l, err := link.LoadPinnedLink(s.path(name), nil)
	if err != nil {
		return nil
	}
	return l
}

// without removes the pin of a link that is to be replaced.
func (s *pinned) without(name string) *pinned {
	if s != nil {
		_ = os.Remove(s.path(name)) // it may not be there
	}
	return s
}

// adoptLink is the pinned link of that name with the program put into it in one step, so that
// no packet and no connection is missed; nil if there is none, or its interface has gone.
func (s *pinned) adoptLink(name string, prog *ebpf.Program) (link.Link, error) {
	path := s.path(name)
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if info, err := l.Info(); err == nil && info.XDP() != nil && info.XDP().Ifindex == 0 {
		// The device was removed, and the link with it.
		return nil, errors.Join(l.Unpin(), l.Close())
	}
	err = l.Update(prog)
	if err == nil {
		return l, nil
	}
	if closeErr := l.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	return nil, fmt.Errorf("put the program into %s: %w", path, err)
}

// Unpin lets the state of an interface go that is kept in a directory (empty: DefaultPinDir):
// programs are detached, traffic passes. It is no error if there is none.
func Unpin(dir, iface string) error {
	if dir == "" {
		dir = DefaultPinDir
	}
	at := Config{PinDir: dir, Interface: iface}.pinDir()
	if err := os.RemoveAll(at); err != nil {
		return fmt.Errorf("let the state in %s go: %w", at, err)
	}
	return nil
}

// isAttachTypeTrap reports whether a link refuses a program for its expected attach type: one made
// with a program of none takes none other.
func isAttachTypeTrap(err error) bool { return errors.Is(err, syscall.EINVAL) }
