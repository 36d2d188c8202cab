// Package journal keeps what knobs said before they were changed, on disk before any of them is, so that a crash
// between any two writes loses nothing. It turns no knob.
package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"weir/tuning/knob"
)

// DefaultPath is where the journal of a host is: in a directory of root's own, as root writes to the host what it says. Anybody may
// read it, a weir that tells of drift among them.
const DefaultPath = "/var/lib/weir-tune/journal"

// version is that of the format: magic, version, SHA-256 of the rest and its length in a line, then JSON.
const (
	magic   = "weir-tune-journal"
	version = 1
)

// State is how far an apply has come.
type State string

// The states.
const (
	// Applying: any of the entries may have been written.
	Applying State = "applying"
	// Applied: all have been, and read back.
	Applied State = "applied"
	// RolledBack: all are as they were before.
	RolledBack State = "rolled back"
)

// Entry is one knob.
type Entry struct {
	// Setting is the catalog's key.
	Setting string    `json:"setting"`
	Knob    knob.Knob `json:"knob"`
	// Before is what it said, every byte; Wanted is what was written.
	Before string `json:"before"`
	Wanted string `json:"wanted"`
}

// Journal is what is kept.
type Journal struct {
	// Machine, Boot and Network are those of host.Host when it was written.
	Machine string `json:"machine"`
	Boot    string `json:"boot"`
	Network string `json:"network"`
	State   State  `json:"state"`
	// Profile and Conns are what was applied, At when, as RFC 3339.
	Profile string `json:"profile"`
	Conns   int    `json:"conns"`
	At      string `json:"at"`
	// Entries are in the order in which they are written.
	Entries []Entry `json:"entries"`
}

// The errors of journals that are not used.
var (
	ErrNone    = errors.New("there is no journal")
	ErrBroken  = errors.New("the journal is broken")
	ErrVersion = errors.New("the journal is of a newer weir")
	ErrForeign = errors.New("the journal may be somebody else's")
	ErrBusy    = errors.New("another weir tune is at work here")
)

// Disk is where journals are kept.
type Disk interface {
	Read(path string) ([]byte, error)
	// WriteSynced makes a file, in place of one that is there, and returns when it is on the disk.
	WriteSynced(path string, text []byte) error
	Rename(from, to string) error
	// SyncDir returns when what was made and renamed in a directory is on the disk. MakeDir makes one, and
	// those above it.
	SyncDir(dir string) error
	MakeDir(dir string) error
	// Lock holds a file's lock until it is released; its error is ErrBusy if another one does.
	Lock(path string) (release func() error, err error)
}

// Store is the journal of one host.
type Store struct {
	Path string
	Disk Disk
}

// At is the store of a file on this host's disk.
func At(path string) Store { return Store{Path: path, Disk: OS{}} }

// Lock keeps others away until it is released.
func (s Store) Lock() (release func() error, err error) {
	dir := filepath.Dir(s.Path)
	if err := s.Disk.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("make the directory of the journal: %w: %s", err, elsewhere(err))
	}
	if err := s.Disk.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("sync what is above the directory of the journal: %w", err)
	}
	release, err = s.Disk.Lock(s.Path + ".lock")
	switch {
	case errors.Is(err, ErrBusy):
		return nil, fmt.Errorf("lock %s: %w: wait for it to end", s.Path, err)
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w: %s", s.Path, err, elsewhere(err))
	}
	return release, nil
}

// elsewhere is what to do about a place that cannot be used.
func elsewhere(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "run it as root, or name another one with --journal"
	}
	return "name another one with --journal"
}

// Load reads the journal. Its error wraps ErrNone, ErrForeign, ErrBroken or ErrVersion.
func (s Store) Load() (*Journal, error) {
	text, err := s.Disk.Read(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w: weir tune apply begins one; if it was told another place, name that with --journal", s.Path, ErrNone)
	case errors.Is(err, ErrForeign):
		return nil, fmt.Errorf("read the journal: %w", err)
	case err != nil:
		return nil, fmt.Errorf("read the journal: %w: %s", err, elsewhere(err))
	}
	j, err := Decode(text)
	if errors.Is(err, ErrBroken) {
		return nil, fmt.Errorf("%s: %w: nothing of it is used; look there for what was before, and move it away", s.Path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	return j, nil
}

// Save has the journal on the disk in place of the one before when it returns. If it fails, or the host does,
// one of the two is there whole.
func (s Store) Save(j *Journal) error {
	text, err := Encode(j)
	if err != nil {
		return err
	}
	next := s.Path + ".next"
	if err := s.Disk.WriteSynced(next, text); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if err := s.Disk.Rename(next, s.Path); err != nil {
		return fmt.Errorf("put the journal in its place: %w", err)
	}
	if err := s.Disk.SyncDir(filepath.Dir(s.Path)); err != nil {
		return fmt.Errorf("sync the directory of the journal: %w", err)
	}
	return nil
}

// Encode is a journal as it is on disk.
func Encode(j *Journal) ([]byte, error) {
	body, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the journal: %w", err)
	}
	sum := sha256.Sum256(body)
	return fmt.Appendf(nil, "%s %d %s %d\n%s\n", magic, version, hex.EncodeToString(sum[:]), len(body), body), nil
}

// Decode reads what [Encode] wrote. What a newer version wrote is refused before it is read any further, a torn or
// changed one by its sum.
func Decode(text []byte) (*Journal, error) {
	head, body, ok := strings.Cut(string(text), "\n")
	var name, sum string
	var v, length int
	if n, err := fmt.Sscanf(head, "%s %d %s %d", &name, &v, &sum, &length); name == magic && n >= 2 && v > version {
		return nil, fmt.Errorf("%w: it is of version %d, and this weir reads %d: roll back with the weir that wrote it", ErrVersion, v, version)
	} else if err != nil || !ok || name != magic || v != version {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrBroken)
	}
	body = strings.TrimSuffix(body, "\n")
	got := sha256.Sum256([]byte(body))
	if len(body) != length || hex.EncodeToString(got[:]) != sum {
		return nil, fmt.Errorf("%w: its sum is not that of what it says", ErrBroken)
	}
	j := &Journal{}
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return j, nil
}
