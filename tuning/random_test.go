package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"

	"pgregory.net/rapid"
)

// memory is a host without a disk, whose files may be odd.
type memory struct {
	text  map[string]string
	links map[string]string
	fixed map[string]bool
	// habit is what a file does when it is told anything but what it says at first, see write.
	habit map[string]string
	first map[string]string
	// writes counts down to the one from which on none works; below 0 it never comes.
	writes int
}

func (m *memory) Read(name string) ([]byte, error) {
	text, ok := m.text[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return []byte(text), nil
}

func (m *memory) Mode(name string) (fs.FileMode, error) {
	if _, ok := m.text[name]; !ok {
		return 0, fs.ErrNotExist
	}
	if m.fixed[name] {
		return 0o444, nil
	}
	return 0o644, nil
}

func (m *memory) List(dir string) ([]string, error) {
	found := map[string]bool{}
	for _, files := range []map[string]string{m.text, m.links} {
		for name := range files {
			if rest, ok := strings.CutPrefix(name, strings.TrimSuffix(dir, "/")+"/"); ok {
				first, _, _ := strings.Cut(rest, "/")
				found[first] = true
			}
		}
	}
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	var all []string
	for name := range found {
		all = append(all, name)
	}
	slices.Sort(all)
	return all, nil
}

func (m *memory) Link(name string) (string, error) {
	if device, ok := m.links[path.Dir(name)]; ok { // a name below a link
		name = "/" + strings.TrimLeft(device, "./") + "/" + path.Base(name)
	}
	if target, ok := m.links[name]; ok {
		return target, nil
	}
	return "", fs.ErrNotExist
}

func (m *memory) Write(name string, text []byte) error {
	if m.writes == 0 {
		return errCrash
	}
	m.writes--
	if _, ok := m.text[name]; !ok {
		return fs.ErrNotExist
	}
	if m.fixed[name] {
		return fs.ErrPermission
	}
	told := string(text)
	if first := m.first[name]; told == first || strings.Contains(first, "["+told+"]") {
		m.text[name] = first
		return nil
	}
	switch m.habit[name] {
	case "refuses":
		return fs.ErrInvalid
	case "refuses and changes":
		m.text[name] = "3\n"
		return fs.ErrInvalid
	case "ignores":
		return nil
	case "another value":
		m.text[name] = "12345\n"
		return nil
	case "other text":
		m.text[name] = "\t" + strings.ReplaceAll(told, " ", "\t") + " \n"
		return nil
	}
	m.text[name] = strings.TrimSpace(told) + "\n"
	return nil
}

// keptDisk is a journal's disk in memory, on which all is synced at once.
type keptDisk map[string]string

func (d keptDisk) Read(name string) ([]byte, error) {
	text, ok := d[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (d keptDisk) WriteSynced(name string, text []byte) error {
	d[name] = string(text)
	return nil
}

func (d keptDisk) Rename(from, to string) error {
	d[to] = d[from]
	delete(d, from)
	return nil
}

func (keptDisk) SyncDir(string) error              { return nil }
func (keptDisk) MakeDir(string) error              { return nil }
func (keptDisk) Lock(string) (func() error, error) { return func() error { return nil }, nil }
func (m *memory) tuner(d journal.Disk) *Tuner {
	return &Tuner{System: m.system(), Journal: journal.Store{Path: "/j", Disk: d}}
}

func (m *memory) system() knob.System {
	return knob.System{Files: m, Devices: knob.DryDevices{Files: m}}
}

var _ host.Files = (*memory)(nil)

// drawMemory draws a host: which sysctls it has, what they say, and how they are odd.
func drawMemory(t *rapid.T) *memory {
	base := bare(rapid.IntRange(1, 70).Draw(t, "cpus"), int64(rapid.IntRange(1<<17, 1<<28).Draw(t, "memory")))
	base.nic("eth0", "sys/devices/virtio2", "virtio_net", rapid.IntRange(1, 4).Draw(t, "queues"), 8)
	terminated(map[string]shape{"": base})
	m := memoryOf(base)
	habits := []string{"", "", "", "", "", "", "other text", "refuses", "refuses and changes", "ignores", "another value"}
	for _, name := range slices.Sorted(maps.Keys(m.text)) {
		tunable := strings.HasPrefix(name, "/proc/sys/net/") || strings.HasPrefix(name, "/proc/sys/vm/") || strings.Contains(name, "/queues/") || strings.Contains(name, "hugepage")
		if !tunable || name == "/proc/sys/net/core/netdev_max_backlog" {
			continue
		}
		switch rapid.IntRange(0, 9).Draw(t, "fate of "+name) {
		case 0:
			delete(m.text, name)
			delete(m.first, name)
		case 1:
			m.fixed[name] = true
		case 2:
			text := rapid.SampledFrom([]string{"0\n", "-1\n", "0x10\n", "99999999999\n", "junk\n", "1 2 3\n", "\n", "", "\xff\n"}).Draw(t, "value of "+name)
			m.text[name], m.first[name] = text, text
		}
		m.habit[name] = rapid.SampledFrom(habits).Draw(t, "habit of "+name)
	}
	return m
}

// memoryOf is a shape in memory.
func memoryOf(s shape) *memory {
	m := &memory{text: map[string]string{}, links: map[string]string{}, fixed: map[string]bool{}, habit: map[string]string{}, first: map[string]string{}, writes: -1}
	for name, text := range s {
		full := "/" + name
		if target, ok := strings.CutPrefix(text, "->"); ok {
			m.links[full] = target
			continue
		}
		if fixed, ok := strings.CutPrefix(text, "-"); ok {
			text, m.fixed[full] = fixed, true
		}
		m.text[full], m.first[full] = text, text
	}
	return m
}

// TestAnyHostIsLeftAsItWasOrAsWanted has odd hosts tuned: an apply that fails leaves no byte changed, one that
// does not leaves no drift, and after rolling back no byte is changed, whatever there was before.
func TestAnyHostIsLeftAsItWasOrAsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, disk := drawMemory(t), keptDisk{}
		tn := m.tuner(disk)
		unchanged := func(when string) {
			for name, text := range m.first {
				if m.text[name] != text {
					t.Fatalf("%s: %s is %q, was %q", when, name, m.text[name], text)
				}
			}
		}
		wanted := catalog.Wanted{
			Profile: rapid.SampledFrom(catalog.Profiles()).Draw(t, "profile"), Conns: rapid.IntRange(1, 5_000_000).Draw(t, "conns"), QueuedBytes: 1024,
		}
		if rapid.Bool().Draw(t, "crashes") {
			m.writes = rapid.IntRange(0, 60).Draw(t, "at")
		}
		_, err := tn.Apply(wanted, quiet)
		crashed := m.writes == 0
		m.writes = -1
		switch {
		case crashed:
		case err == nil:
			if v, err := tn.Verify(); err == nil && len(v.Drift) > 0 {
				t.Fatalf("drift of what was just applied: %+v", v.Drift)
			}
		case errors.Is(err, ErrUndone):
			unchanged("undone")
		default:
			t.Fatalf("apply: %v", err)
		}
		for range 2 {
			if _, err := tn.Rollback(); err != nil && !errors.Is(err, journal.ErrNone) {
				t.Fatalf("roll back: %v", err)
			}
			unchanged("rolled back")
		}
	})
}
