package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weir/tuning/host"
	"weir/tuning/journal"
)

// TestAKnobThatChangesOthers has the device's file written to all of its instances, as the kernel does, and the lengths of rings
// make new instances.
func TestAKnobThatChangesOthers(t *testing.T) {
	s := shapes()["recent"]
	s["ethtool/eth0/rings/rx"] = "512\n"
	s["ethtool/eth0/napi-3/defer-hard-irqs"] = "150\n"     // as good as what is wanted, if it were left alone
	s["ethtool/eth0/napi-1/gro-flush-timeout"] = "20000\n" // what is wanted
	root := plant(t, s)
	before := snapshot(t, root)
	tn := oddly(t, root, func(files host.Files, path string, text []byte) (bool, error) {
		all := map[string]string{}
		switch path {
		case "/sys/class/net/eth0/napi_defer_hard_irqs":
			all["defer-hard-irqs"] = string(text)
		case "/sys/class/net/eth0/gro_flush_timeout":
			all["gro-flush-timeout"] = string(text)
		case "/ethtool/eth0/rings/rx":
			all["irq-suspend-timeout"] = "0\n"
			for field, file := range map[string]string{"defer-hard-irqs": "napi_defer_hard_irqs", "gro-flush-timeout": "gro_flush_timeout"} {
				is, err := files.Read("/sys/class/net/eth0/" + file)
				if err != nil {
					return true, err
				}
				all[field] = string(is)
			}
		}
		for field, value := range all {
			for i := range 4 {
				if err := files.Write(fmt.Sprintf("/ethtool/eth0/napi-%d/%s", i, field), []byte(strings.TrimSpace(value)+"\n")); err != nil {
					return true, err
				}
			}
		}
		return false, nil
	})
	if _, err := tn.Apply(byShape()["recent"], quiet); err != nil {
		t.Fatal(err)
	}
	if v, err := tn.Verify(); err != nil || len(v.Drift) > 0 {
		t.Errorf("%+v, %v", v, err)
	}
	if p, err := tn.Plan(byShape()["recent"]); err != nil || len(p.Of(Change)) > 0 {
		t.Errorf("still to be changed: %+v, %v", p.Of(Change), err)
	}
	if _, err := tn.Rollback(); err != nil {
		t.Fatal(err)
	}
	same(t, before, snapshot(t, root))
}

// TestTwoKnobsThatFightAreUndone has each write of one change the other.
func TestTwoKnobsThatFightAreUndone(t *testing.T) {
	const one, two = "/sys/class/net/eth0/napi_defer_hard_irqs", "/sys/class/net/eth0/gro_flush_timeout"
	root := plant(t, shapes()["small"])
	before := snapshot(t, root)
	tn := oddly(t, root, func(files host.Files, path string, text []byte) (bool, error) {
		other := map[string]string{one: two, two: one}[path]
		if other == "" || string(text) == "0\n" {
			return false, nil
		}
		return false, files.Write(other, []byte("1\n"))
	})
	if _, err := tn.Apply(byShape()["small"], quiet); !errors.Is(err, ErrUndone) || !strings.Contains(err.Error(), "another one changed it") {
		t.Error(err)
	}
	same(t, before, snapshot(t, root))
}

func TestWhoMayWriteNothingIsTold(t *testing.T) {
	for _, why := range []error{fs.ErrPermission, syscall.EROFS} {
		root := plant(t, shapes()["small"])
		before := snapshot(t, root)
		tn := oddly(t, root, func(host.Files, string, []byte) (bool, error) { return true, why })
		_, err := tn.Apply(byShape()["small"], quiet)
		if !errors.Is(err, ErrDenied) || !errors.Is(err, ErrUndone) || !strings.Contains(err.Error(), why.Error()+": run it as root, where /proc/sys and /sys can be written") {
			t.Errorf("%v: %v", why, err)
		}
		same(t, before, snapshot(t, root))
		if v, err := tn.Verify(); err != nil || v.Journal.State != journal.RolledBack {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

// TestNothingIsToBeChangedHereOrCanBe has a container in which nothing may be written, and one where all is as it should be: the
// latter is no error.
func TestNothingIsToBeChangedHereOrCanBe(t *testing.T) {
	root := plant(t, shape{"etc/machine-id": "m\n", "proc/sys/kernel/osrelease": "6.12.0\n", "proc/sys/vm/swappiness": "60\n", ".dockerenv": ""})
	tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
	_, err := tn.Apply(byShape()["small"], quiet)
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "vm.swappiness: it is the whole host's, and this is a container (docker: /.dockerenv is there): set it on the host") {
		t.Error(err)
	}
	if _, err := tn.Verify(); !errors.Is(err, journal.ErrNone) {
		t.Errorf("a journal was made: %v", err)
	}
	put(t, root, "proc/sys/vm/swappiness", "10\n")
	if done, err := tn.Apply(byShape()["small"], quiet); err != nil || len(done) > 0 {
		t.Errorf("all is as it should be: %+v, %v", done, err)
	}
}

// full is a disk that takes nothing.
type full struct{ journal.OS }

func (full) WriteSynced(string, []byte) error { return syscall.ENOSPC }

func TestWithoutAJournalNothingIsChanged(t *testing.T) {
	root := plant(t, shapes()["small"])
	before := snapshot(t, root)
	tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
	tn.Journal.Disk = full{}
	if _, err := tn.Apply(byShape()["small"], quiet); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Error(err)
	}
	same(t, before, snapshot(t, root))
}

// TestOneThatIsDeniedIsNoErrorLater applies twice: what may not be written is all that is left the second time.
func TestOneThatIsDeniedIsNoErrorLater(t *testing.T) {
	tn := oddly(t, plant(t, shapes()["small"]), func(_ host.Files, path string, _ []byte) (bool, error) { return path == swappiness, fs.ErrPermission })
	for range 2 {
		done, err := tn.Apply(byShape()["small"], quiet)
		if err != nil || !strings.Contains(fmt.Sprintf("%+v", done), "left as it is") {
			t.Errorf("%+v, %v", done, err)
		}
	}
}

// TestSysfsThatIsReadOnly has the mount say so, as a container's does, or only the writes.
func TestSysfsThatIsReadOnly(t *testing.T) {
	for _, told := range []bool{true, false} {
		s := shapes()["small"]
		if told {
			s["proc/self/mountinfo"] = strings.Replace(s["proc/self/mountinfo"], "/sys rw", "/sys ro", 1)
		}
		root := plant(t, s)
		before := snapshot(t, root)
		tn := oddly(t, root, func(_ host.Files, path string, _ []byte) (bool, error) {
			return strings.HasPrefix(path, "/sys/"), syscall.EROFS
		})
		p, err := tn.Plan(byShape()["small"])
		if err != nil {
			t.Fatal(err)
		}
		if status, why := statusOf(p, "/sys/class/net/eth0/gro_flush_timeout"); told != (status == Refused && strings.Contains(why, "read-only mount")) {
			t.Errorf("%q, %q", status, why)
		}
		done, err := tn.Apply(byShape()["small"], quiet)
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprintf("%+v", done); strings.Contains(text, "read-only file system") == told || !strings.Contains(text, "tcp_fin_timeout") {
			t.Errorf("told %v: %s", told, text)
		}
		for name, text := range snapshot(t, root) {
			if strings.HasPrefix(name, "sys/") && text != before[name] {
				t.Errorf("%s is %q", name, text)
			}
		}
		if _, err := tn.Rollback(); err != nil {
			t.Fatal(err)
		}
		same(t, before, snapshot(t, root))
	}
}
