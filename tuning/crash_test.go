package tuning

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

var errCrash = errors.New("the host is gone")

// crash counts operations, of the journal and of knobs, and has the one at which it happens done by half; none is
// done from then on. At 0 it never happens.
type crash struct{ done, at int }

// step reports what is to become of the next operation.
func (c *crash) step() (whole, half bool) {
	c.done++
	return c.at == 0 || c.done < c.at, c.done == c.at
}

type crashingFiles struct {
	host.Files
	*crash
	// after has a knob written just before the crash; else it is not.
	after bool
}

func (f crashingFiles) Write(path string, text []byte) error {
	whole, half := f.step()
	if whole || half && f.after {
		if err := f.Files.Write(path, text); err != nil || whole {
			return err
		}
	}
	return errCrash
}

type crashingDisk struct {
	journal.Disk
	*crash
}

func (d crashingDisk) WriteSynced(path string, text []byte) error {
	whole, half := d.step()
	if half {
		text = text[:len(text)/2]
	}
	if whole || half {
		if err := d.Disk.WriteSynced(path, text); err != nil || whole {
			return err
		}
	}
	return errCrash
}

func (d crashingDisk) Rename(from, to string) error {
	if whole, _ := d.step(); !whole {
		return errCrash
	}
	return d.Disk.Rename(from, to)
}

func (d crashingDisk) SyncDir(dir string) error {
	if whole, _ := d.step(); !whole {
		return errCrash
	}
	return d.Disk.SyncDir(dir)
}

// victim is a host that crashes: in memory, or a tree with a journal on disk that syncs nothing, since what
// crashes is a process, which loses no more than what it did not do.
type victim struct {
	tuner func(t *testing.T) *Tuner
	check func(t *testing.T)
}

func inMemory(s shape) victim {
	m, disk := memoryOf(s), keptDisk{}
	return victim{
		func(*testing.T) *Tuner { return m.tuner(disk) },
		func(t *testing.T) { t.Helper(); same(t, m.first, m.text) },
	}
}

func onDisk(t *testing.T, s shape) victim {
	t.Helper()
	root, path := plant(t, s), filepath.Join(t.TempDir(), "journal")
	before := snapshot(t, root)
	return victim{
		func(t *testing.T) *Tuner {
			t.Helper()
			tn := tuner(t, root, path)
			tn.Journal.Disk = lax{}
			return tn
		},
		func(t *testing.T) { t.Helper(); same(t, before, snapshot(t, root)) },
	}
}

// lax is a disk that syncs nothing.
type lax struct{ journal.OS }

func (lax) WriteSynced(path string, text []byte) error { return os.WriteFile(path, text, 0o600) }

func (lax) SyncDir(string) error { return nil }

// crashing is a tuner of which nothing works any more from an operation on.
func (v victim) crashing(t *testing.T, c *crash, after bool) *Tuner {
	t.Helper()
	tn := v.tuner(t)
	files := crashingFiles{tn.System.Files, c, after}
	tn.System = knob.System{Files: files, Devices: knob.DryDevices{Files: files}}
	tn.Journal.Disk = crashingDisk{tn.Journal.Disk, c}
	return tn
}

// back rolls back without a crash, and looks that all is as it was.
func (v victim) back(t *testing.T, when string, at int) {
	t.Helper()
	if _, err := v.tuner(t).Rollback(); err != nil && !errors.Is(err, journal.ErrNone) {
		t.Fatalf("rolling back after a crash at operation %d of %s: %v", at, when, err)
	}
	if v.check(t); t.Failed() {
		t.Fatalf("after a crash at operation %d of %s", at, when)
	}
}

// TestACrashBetweenAnyTwoWrites has an apply, an apply over another one, and a rollback end at each of their
// operations, before or after what is written, and looks that rolling back leads to the files of before, byte for
// byte.
func TestACrashBetweenAnyTwoWrites(t *testing.T) {
	for name, s := range shapes() {
		if name == "container" {
			continue // nothing can be written in it
		}
		victims := map[string]victim{"in memory": inMemory(s)}
		step := map[string]int{"in memory": 1, "on disk": 9}
		if name == "metal" || name == "recent" {
			step["in memory"] = 11 // hundreds of operations
		}
		if name == "virtio" {
			victims["on disk"] = onDisk(t, s)
		}
		for kind, v := range victims {
			for _, after := range []bool{false, true} {
				t.Run(name+", "+kind, func(t *testing.T) { v.everywhere(t, byShape()[name], after, step[kind]) })
			}
		}
	}
}

func (v victim) everywhere(t *testing.T, wanted catalog.Wanted, after bool, step int) {
	t.Helper()
	earlier := wanted
	earlier.Conns /= 10
	apply := func(wanted catalog.Wanted) func(*Tuner) error {
		return func(tn *Tuner) error {
			_, err := tn.Apply(wanted, quiet)
			return err
		}
	}
	nothing := func(*Tuner) error { return nil }
	for _, tt := range []struct {
		name        string
		first, then func(*Tuner) error
	}{
		{"an apply", nothing, apply(wanted)},
		{"an apply over another one", apply(earlier), apply(wanted)},
		{"a rollback", apply(wanted), func(tn *Tuner) error {
			_, err := tn.Rollback()
			return err
		}},
	} {
		for at := 1; ; at += step {
			if err := tt.first(v.tuner(t)); err != nil {
				t.Fatal(err)
			}
			c := &crash{at: at}
			err := tt.then(v.crashing(t, c, after))
			if whole := c.done < at; (err == nil) != whole {
				t.Fatalf("%s: crashed %v at operation %d of %d: %v", tt.name, !whole, at, c.done, err)
			}
			v.back(t, tt.name, at)
			if c.done < at {
				t.Logf("%s: %d operations", tt.name, c.done)
				break
			}
		}
	}
}

// TestTheJournalIsOnDiskBeforeTheFirstWrite looks at it from within the first write of a knob.
func TestTheJournalIsOnDiskBeforeTheFirstWrite(t *testing.T) {
	root, path := plant(t, shapes()["small"]), filepath.Join(t.TempDir(), "journal")
	tn := tuner(t, root, path)
	disk := &recordingDisk{}
	tn.Journal.Disk = disk
	first := true
	tn.System.Files = odd{tn.System.Files, func(string, []byte) (bool, error) {
		if !first {
			return false, nil
		}
		first = false
		j, err := journal.At(path).Load()
		if err != nil || j.State != journal.Applying || len(j.Entries) < 20 {
			t.Errorf("%+v, %v", j, err)
		}
		want := []string{"mkdir", "syncdir", "write", "rename", "syncdir"}
		if len(disk.did) != len(want) {
			t.Fatalf("%q", disk.did)
		}
		for i, op := range want {
			if disk.did[i] != op {
				t.Errorf("%q, want %q", disk.did, want)
			}
		}
		return false, nil
	}}
	if _, err := tn.Apply(byShape()["small"], quiet); err != nil || first {
		t.Fatal(err)
	}
}

// recordingDisk notes what is done.
type recordingDisk struct {
	journal.OS
	did []string
}

func (d *recordingDisk) MakeDir(dir string) error {
	d.did = append(d.did, "mkdir")
	return d.OS.MakeDir(dir)
}

func (d *recordingDisk) WriteSynced(path string, text []byte) error {
	d.did = append(d.did, "write")
	return d.OS.WriteSynced(path, text)
}

func (d *recordingDisk) Rename(from, to string) error {
	d.did = append(d.did, "rename")
	return d.OS.Rename(from, to)
}

func (d *recordingDisk) SyncDir(dir string) error {
	d.did = append(d.did, "syncdir")
	return d.OS.SyncDir(dir)
}
