package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

func documentation(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/TUNING.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func quiet(*Plan) error { return nil }

func TestApplyVerifyRollback(t *testing.T) {
	for name, s := range shapes() {
		t.Run(name, func(t *testing.T) {
			root, path := plant(t, s), filepath.Join(t.TempDir(), "sub", "journal")
			before := snapshot(t, root)
			tn := tuner(t, root, path)
			if _, err := tn.Verify(); !errors.Is(err, journal.ErrNone) {
				t.Errorf("before any apply: %v", err)
			}
			done, err := tn.Apply(byShape()[name], quiet)
			if name == "container" { // nothing can be changed in it
				if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "set it from where /proc/sys and /sys can be written") {
					t.Errorf("%d changes, %v", len(done), err)
				}
				same(t, before, snapshot(t, root))
				return
			}
			if err != nil || len(done) == 0 {
				t.Fatalf("%d changes, %v", len(done), err)
			}
			p, err := tn.Plan(byShape()[name])
			if err != nil || len(p.Of(Change)) > 0 {
				t.Errorf("still to be changed: %+v, %v", p.Of(Change), err)
			}
			if v, err := tn.Verify(); err != nil || len(v.Drift) > 0 {
				t.Errorf("drift: %+v, %v", v, err)
			}
			for range 2 {
				if _, err := tn.Rollback(); err != nil {
					t.Fatal(err)
				}
				same(t, before, snapshot(t, root))
			}
			if v, err := tn.Verify(); err != nil || v.Journal.State != journal.RolledBack {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const bootID = "proc/sys/kernel/random/boot_id"

func TestDriftIsToldFromWhatToWhat(t *testing.T) {
	root := plant(t, shapes()["small"])
	tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
	if _, err := tn.Apply(byShape()["small"], quiet); err != nil {
		t.Fatal(err)
	}
	put(t, root, "proc/sys/net/ipv4/tcp_fin_timeout", "61\n")
	put(t, root, "proc/sys/net/ipv4/tcp_orphan_retries", "0x3\n") // means the same
	if err := os.Remove(filepath.Join(root, "proc/sys/vm/swappiness")); err != nil {
		t.Fatal(err)
	}
	v, err := tn.Verify()
	if err != nil || len(v.Drift) != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	if d := v.Drift[0]; d.Knob != "net.ipv4.tcp_fin_timeout" || d.Wanted != "15" || d.Is != "61" {
		t.Errorf("%+v", d)
	}
	if d := v.Drift[1]; d.Knob != "vm.swappiness" || d.Why == "" {
		t.Errorf("%+v", d)
	}
	done, err := tn.Rollback()
	if err != nil {
		t.Fatal(err)
	}
	notes := fmt.Sprintf("%+v", done)
	if !strings.Contains(notes, "somebody else had changed it") || !strings.Contains(notes, "it is not there any more") {
		t.Error(notes)
	}
}

func TestAnotherBootIsNotThisOne(t *testing.T) {
	root := plant(t, shapes()["small"])
	before := snapshot(t, root)
	tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
	if _, err := tn.Apply(byShape()["small"], quiet); err != nil {
		t.Fatal(err)
	}
	put(t, root, bootID, "another\n")
	if v, err := tn.Verify(); err != nil || !v.Booted {
		t.Errorf("%+v, %v", v, err)
	}
	done, err := tn.Rollback()
	if err != nil || !strings.Contains(fmt.Sprintf("%+v", done), "the host was booted since") {
		t.Errorf("%+v, %v", done, err)
	}
	after := snapshot(t, root)
	for name := range after {
		if name == bootID || strings.Contains(name, "smp_affinity") {
			after[name] = before[name]
		}
	}
	same(t, before, after)
}

func TestASecondApplyKeepsWhatWasThereFirst(t *testing.T) {
	root := plant(t, shapes()["metal"])
	before := snapshot(t, root)
	tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
	for _, conns := range []int{100_000, 3_000_000, 3_000_000} {
		if _, err := tn.Apply(wantedOf(catalog.Edge, conns), quiet); err != nil {
			t.Fatal(err)
		}
		if v, err := tn.Verify(); err != nil || len(v.Drift) > 0 {
			t.Errorf("%+v, %v", v, err)
		}
	}
	if _, err := tn.Rollback(); err != nil {
		t.Fatal(err)
	}
	same(t, before, snapshot(t, root))
}

func TestAJournalThatIsNotOfHereIsRefused(t *testing.T) {
	replaced := func(from, to string) func(*testing.T, string, string) {
		return func(t *testing.T, _, path string) {
			t.Helper()
			whole, err := os.ReadFile(path) //nolint:gosec // of the test's own directory
			if err != nil || !strings.Contains(string(whole), from) {
				t.Fatalf("no %q: %v", from, err)
			}
			write(t, path, []byte(strings.Replace(string(whole), from, to, 1)))
		}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, root, path string)
		want   error
	}{
		{"another host", func(t *testing.T, root, _ string) { t.Helper(); put(t, root, "etc/machine-id", "f00\n") }, ErrElsewhere},
		{"another namespace", func(t *testing.T, root, _ string) {
			t.Helper()
			link := filepath.Join(root, "proc/thread-self/ns/net")
			if err := errors.Join(os.Remove(link), os.Symlink("net:[7]", link)); err != nil {
				t.Fatal(err)
			}
		}, ErrElsewhere},
		{"torn", func(t *testing.T, _, path string) {
			t.Helper()
			if err := os.Truncate(path, 700); err != nil {
				t.Fatal(err)
			}
		}, journal.ErrBroken},
		{"empty", func(t *testing.T, _, path string) { t.Helper(); write(t, path, nil) }, journal.ErrBroken},
		{"changed", replaced("fin_timeout", "fin_timeouT"), journal.ErrBroken},
		{"of a newer weir", replaced("journal 1 ", "journal 2 "), journal.ErrVersion},
		{"none", func(t *testing.T, _, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, journal.ErrNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, path := plant(t, shapes()["small"]), filepath.Join(t.TempDir(), "journal")
			tn := tuner(t, root, path)
			if _, err := tn.Apply(byShape()["small"], quiet); err != nil {
				t.Fatal(err)
			}
			tt.change(t, root, path)
			before := snapshot(t, root)
			_, rollback := tn.Rollback()
			_, verify := tn.Verify()
			for verb, err := range map[string]error{"rollback": rollback, "verify": verify} {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: %v", verb, err)
				}
			}
			if _, err := tn.Apply(byShape()["small"], quiet); !errors.Is(err, tt.want) && !errors.Is(tt.want, journal.ErrNone) {
				t.Errorf("apply: %v", err)
			}
			same(t, before, snapshot(t, root))
		})
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTwoAppliesAtOnce(t *testing.T) {
	root, path := plant(t, shapes()["small"]), filepath.Join(t.TempDir(), "journal")
	one, two := tuner(t, root, path), tuner(t, root, path)
	before := snapshot(t, root)
	_, err := one.Apply(byShape()["small"], func(*Plan) error {
		if _, err := two.Apply(byShape()["small"], quiet); !errors.Is(err, journal.ErrBusy) {
			t.Errorf("the second one: %v", err)
		}
		if _, err := two.Rollback(); !errors.Is(err, journal.ErrBusy) {
			t.Errorf("a rollback: %v", err)
		}
		return errors.New("not now")
	})
	if err == nil || err.Error() != "not now" {
		t.Fatal(err)
	}
	same(t, before, snapshot(t, root))
	if _, err := two.Apply(byShape()["small"], quiet); err != nil {
		t.Errorf("once the first has ended: %v", err)
	}
}

// odd is a host of which some files do not do as they are told.
type odd struct {
	host.Files
	write func(path string, text []byte) (handled bool, err error)
}

func (o odd) Write(path string, text []byte) error {
	if handled, err := o.write(path, text); handled {
		return err
	}
	return o.Files.Write(path, text)
}

func oddly(t *testing.T, root string, write func(files host.Files, path string, text []byte) (bool, error)) *Tuner {
	t.Helper()
	tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
	files := tn.System.Files
	tn.System.Files = odd{files, func(path string, text []byte) (bool, error) { return write(files, path, text) }}
	tn.System.Devices = knob.DryDevices{Files: tn.System.Files}
	return tn
}

const swappiness = "/proc/sys/vm/swappiness"

func TestAWriteThatFailsIsUndone(t *testing.T) {
	for name, write := range map[string]func(files host.Files, path string, text []byte) (bool, error){
		"it fails and changes nothing": func(_ host.Files, path string, text []byte) (bool, error) {
			return path == swappiness && string(text) == "10", fs.ErrInvalid
		},
		"it fails, and yet the value changes": func(files host.Files, path string, text []byte) (bool, error) {
			if path == swappiness && string(text) == "10" {
				return true, errors.Join(files.Write(path, []byte("3\n")), fs.ErrInvalid)
			}
			return false, nil
		},
		"it says that it went well, and nothing changes": func(_ host.Files, path string, text []byte) (bool, error) {
			return path == swappiness && string(text) == "10", nil
		},
		"the value is another one": func(files host.Files, path string, text []byte) (bool, error) {
			if path == swappiness && string(text) == "10" {
				return true, files.Write(path, []byte("11\n"))
			}
			return false, nil
		},
	} {
		root := plant(t, shapes()["small"])
		before := snapshot(t, root)
		tn := oddly(t, root, write)
		if _, err := tn.Apply(byShape()["small"], quiet); !errors.Is(err, ErrUndone) || !strings.Contains(err.Error(), "vm.swappiness") {
			t.Errorf("%s: %v", name, err)
		}
		same(t, before, snapshot(t, root))
		if done, err := tn.Rollback(); err != nil || len(done) > 0 {
			t.Errorf("%s: rolled back once more: %+v, %v", name, done, err)
		}
	}
}

func TestWhatCannotBeWrittenBackIsLeftAlone(t *testing.T) {
	root := plant(t, shapes()["small"])
	tn := oddly(t, root, func(_ host.Files, path string, text []byte) (bool, error) {
		return path == swappiness && string(text) == "60\n", fs.ErrInvalid // as vm.dirty_bytes does with 0
	})
	done, err := tn.Apply(byShape()["small"], quiet)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v", done); !strings.Contains(text, "left as it is: what it says could not be written back") {
		t.Error(text)
	}
	if got := snapshot(t, root)["proc/sys/vm/swappiness"]; got != "60\n" {
		t.Errorf("%q", got)
	}
	if v, err := tn.Verify(); err != nil || len(v.Drift) > 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestTheLastOneIsPutBackFirst compares the order of what is changed with that of what is put back, by rolling back
// and by an apply that fails.
func TestTheLastOneIsPutBackFirst(t *testing.T) {
	var changed, back []string
	fail := ""
	first := map[string]string{}
	tn := oddly(t, plant(t, shapes()["small"]), func(files host.Files, path string, text []byte) (bool, error) {
		is, err := files.Read(path)
		if err != nil {
			return false, err
		}
		if _, known := first[path]; !known {
			first[path] = string(is)
		}
		switch {
		case string(is) == string(text) || strings.Contains(string(is), "["+string(text)+"]"): // what it says already
		case string(is) != first[path]:
			back = append(back, path)
		default:
			changed = append(changed, path)
			return path == fail, fs.ErrInvalid
		}
		return false, nil
	})
	if _, err := tn.Apply(byShape()["small"], quiet); err != nil {
		t.Fatal(err)
	}
	if _, err := tn.Rollback(); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(back)
	if len(changed) < 20 || !slices.Equal(changed, back) {
		t.Errorf("changed %q, put back in reverse %q", changed, back)
	}
	fail, changed, back = changed[10], nil, nil
	if _, err := tn.Apply(byShape()["small"], quiet); !errors.Is(err, ErrUndone) {
		t.Fatal(err)
	}
	slices.Reverse(back)
	if len(changed) != 11 || !slices.Equal(changed[:10], back) {
		t.Errorf("changed %q, put back in reverse %q", changed, back)
	}
}

func TestWhatADeviceDoesNotSupportIsLeftAlone(t *testing.T) {
	const rings = "/ethtool/eth0/rings/rx"
	root := plant(t, shapes()["small"])
	before := snapshot(t, root)
	tn := oddly(t, root, func(_ host.Files, path string, text []byte) (bool, error) {
		return path == rings && string(text) == "1024", fmt.Errorf("%w by this device", errors.ErrUnsupported)
	})
	done, err := tn.Apply(byShape()["small"], quiet)
	if text := fmt.Sprintf("%+v", done); err != nil || !strings.Contains(text, "unsupported operation by this device") {
		t.Errorf("%s, %v", text, err)
	}
	if v, err := tn.Verify(); err != nil || len(v.Drift) > 0 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := tn.Rollback(); err != nil {
		t.Fatal(err)
	}
	same(t, before, snapshot(t, root))
}

func TestWhatCannotBeRestoredIsSaidAndTriedAgain(t *testing.T) {
	root := plant(t, shapes()["small"])
	before := snapshot(t, root)
	stuck := true
	tn := oddly(t, root, func(files host.Files, path string, text []byte) (bool, error) {
		if is, _ := files.Read(path); stuck && path == swappiness && string(is) == "3\n" {
			return true, fs.ErrPermission
		}
		if path == swappiness && string(text) == "10" {
			return true, files.Write(path, []byte("3\n"))
		}
		return false, nil
	})
	if _, err := tn.Apply(byShape()["small"], quiet); !errors.Is(err, ErrStuck) {
		t.Fatal(err)
	}
	if _, err := tn.Apply(byShape()["small"], quiet); !errors.Is(err, ErrUnfinished) {
		t.Errorf("applied over it: %v", err)
	}
	if _, err := tn.Verify(); !errors.Is(err, ErrUnfinished) {
		t.Errorf("verified: %v", err)
	}
	if _, err := tn.Rollback(); !errors.Is(err, ErrStuck) {
		t.Errorf("while it is stuck: %v", err)
	}
	stuck = false
	if _, err := tn.Rollback(); err != nil {
		t.Fatal(err)
	}
	same(t, before, snapshot(t, root))
}
