package journal

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/tuning/knob"
)

func sample(state State) *Journal {
	return &Journal{
		Machine: "m", Boot: "b", Network: "net:[1]", State: state, Profile: "edge", Conns: 7, At: "2026-01-02T03:04:05Z",
		Entries: []Entry{{Setting: "a.b", Knob: knob.Sysctl("a.b", knob.Numbers), Before: "1\t2\n", Wanted: "3 4"}},
	}
}

func TestAJournalIsReadAsItWasWritten(t *testing.T) {
	s := At(filepath.Join(t.TempDir(), "x", "journal"))
	if _, err := s.Load(); !errors.Is(err, ErrNone) {
		t.Errorf("before: %v", err)
	}
	release, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(); !errors.Is(err, ErrBusy) {
		t.Errorf("locked twice: %v", err)
	}
	for _, state := range []State{Applying, Applied, RolledBack} {
		if err := s.Save(sample(state)); err != nil {
			t.Fatal(err)
		}
		j, err := s.Load()
		if err != nil || j.State != state || len(j.Entries) != 1 || j.Entries[0] != sample(state).Entries[0] || j.Network != "net:[1]" {
			t.Errorf("%+v, %v", j, err)
		}
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if release, err = s.Lock(); err != nil {
		t.Fatalf("released: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

func TestATornOrChangedJournalIsRefused(t *testing.T) {
	whole, err := Encode(sample(Applied))
	if err != nil {
		t.Fatal(err)
	}
	// The last byte ends a line, and says nothing.
	for n := range len(whole) - 1 {
		if _, err := Decode(whole[:n]); !errors.Is(err, ErrBroken) {
			t.Errorf("of %d bytes: %v", n, err)
		}
	}
	for i := range len(whole) - 1 {
		changed := append([]byte{}, whole...)
		changed[i] ^= 1
		if j, err := Decode(changed); err == nil {
			t.Errorf("byte %d changed: %+v", i, j)
		}
	}
	for text, want := range map[string]error{
		"weir-tune-journal 2\nwhatever": ErrVersion,
		"weir-tune-journal 0 x 0\n":     ErrBroken,
		"sysctl 1 x 0\n":                ErrBroken,
		"":                              ErrBroken,
	} {
		if _, err := Decode([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

// powerless is a disk that forgets, when the power fails, what was not synced: what files had, and which names
// there were.
type powerless struct {
	now, synced map[string]string // what files have, by what names are of
	files       map[string]string // name to file, as processes see it
	names       map[string]string // name to file, as it will be after a failure
	ops, failAt int
	made        int
}

var errPower = errors.New("no power")

func (p *powerless) op() error {
	p.ops++
	if p.failAt > 0 && p.ops >= p.failAt {
		return errPower
	}
	return nil
}

func (p *powerless) Read(path string) ([]byte, error) {
	file, ok := p.files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(p.now[file]), nil
}

func (p *powerless) WriteSynced(path string, text []byte) error {
	file, ok := p.files[path]
	if !ok {
		p.made++
		file = string(rune('a' + p.made))
		p.files[path] = file
	}
	p.now[file] = string(text[:len(text)/2])
	if err := p.op(); err != nil {
		return err
	}
	p.now[file] = string(text)
	p.synced[file] = string(text)
	return p.op()
}

func (p *powerless) Rename(from, to string) error {
	if err := p.op(); err != nil {
		return err
	}
	p.files[to] = p.files[from]
	delete(p.files, from)
	return nil
}

func (p *powerless) SyncDir(string) error {
	if err := p.op(); err != nil {
		return err
	}
	p.names = maps.Clone(p.files)
	return nil
}

func (p *powerless) MakeDir(string) error              { return nil }
func (p *powerless) Lock(string) (func() error, error) { return func() error { return nil }, nil }

// after is the disk once there is power again: names as of the last sync, or as of the failure, since a
// rename may have got there by itself; files as of their own last sync.
func (p *powerless) after(renamed bool) *powerless {
	names := p.names
	if renamed {
		names = p.files
	}
	return &powerless{now: maps.Clone(p.synced), synced: p.synced, files: maps.Clone(names), names: names}
}

func TestAfterAPowerFailureOneOfTheTwoIsThere(t *testing.T) {
	for at := 1; at <= 5; at++ {
		for _, renamed := range []bool{false, true} {
			p := &powerless{now: map[string]string{}, synced: map[string]string{}, files: map[string]string{}, names: map[string]string{}}
			if err := (Store{"/d/j", p}).Save(sample(Applying)); err != nil {
				t.Fatal(err)
			}
			p.failAt = p.ops + at
			err := Store{"/d/j", p}.Save(sample(Applied))
			j, loaded := Store{"/d/j", p.after(renamed)}.Load()
			if loaded != nil {
				t.Errorf("at %d: %v", at, loaded)
				continue
			}
			if want := err == nil; (at == 5) != want || want && j.State != Applied {
				t.Errorf("at %d: %v, and %s is there", at, err, j.State)
			}
		}
	}
}

func TestTheFirstSaveIsNothingOrWhole(t *testing.T) {
	for at := 1; at <= 5; at++ {
		for _, renamed := range []bool{false, true} {
			p := &powerless{now: map[string]string{}, synced: map[string]string{}, files: map[string]string{}, names: map[string]string{}, failAt: at}
			saved := Store{"/d/j", p}.Save(sample(Applying))
			_, err := Store{"/d/j", p.after(renamed)}.Load()
			if saved == nil && err != nil || err != nil && !errors.Is(err, ErrNone) {
				t.Errorf("at %d: %v after %v", at, err, saved)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	whole, err := Encode(sample(Applied))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:40])
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := Decode(text)
		if err != nil {
			if !errors.Is(err, ErrBroken) && !errors.Is(err, ErrVersion) {
				t.Error(err)
			}
			return
		}
		again, err := Encode(j)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil {
			t.Error(err)
		}
	})
}

func TestAJournalOfSomebodyElseIsRefused(t *testing.T) {
	s := At(filepath.Join(t.TempDir(), "journal"))
	if err := s.Save(sample(Applied)); err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		if _, err := s.Load(); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Chmod(s.Path, 0o664); err != nil {
		t.Fatal(err)
	}
	refused("a group may write it")
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chmod(s.Path, 0o644), os.Chown(s.Path, 12345, -1)); err != nil {
			t.Fatal(err)
		}
		refused("it is another user's")
	}
	if err := s.Save(sample(Applied)); err != nil { // in its place
		t.Fatal(err)
	}
	if _, err := s.Load(); err != nil {
		t.Error(err)
	}
	elsewhere := s.Path + ".real"
	if err := errors.Join(os.Rename(s.Path, elsewhere), os.Symlink(elsewhere, s.Path)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err == nil || !strings.Contains(err.Error(), "is a symbolic link, which is not followed: name another one with --journal") {
		t.Errorf("a link is followed, or not told: %v", err)
	}
}

func TestNoLinkIsFollowedToWrite(t *testing.T) {
	dir := t.TempDir()
	s, victim := At(filepath.Join(dir, "journal")), filepath.Join(dir, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("kept"), 0o600), os.Symlink(victim, s.Path+".next"), os.Symlink(victim, s.Path+".lock")); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(sample(Applied)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(); err == nil || !strings.Contains(err.Error(), "is a symbolic link, which is not followed: name another one with --journal") {
		t.Errorf("a link is locked, or not told: %v", err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "kept" {
		t.Errorf("%q, %v", text, err)
	}
}
