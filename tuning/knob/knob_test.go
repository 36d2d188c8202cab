package knob

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/tuning/host"
)

func TestValuesAreComparedByWhatTheyMean(t *testing.T) {
	for _, tt := range []struct {
		name       string
		form       Form
		wanted, is string
		want       bool
	}{
		{"a number", Number, "4096", "4096\n", true},
		{"in hex", Number, "0x3", "3\n", true},
		{"another number", Number, "3", "4\n", false},
		{"two where one is meant", Number, "3", "3 4", false},
		{"rounded up to a power of two", Rounded, "1000", "1024\n", true},
		{"a power of two is not rounded", Rounded, "1024", "2048\n", false},
		{"rounded only if it says so", Number, "1000", "1024\n", false},
		{"zero is not rounded", Rounded, "0", "0\n", true},
		{"three, with tabs", Numbers, "4096 16384 1048576", "4096\t16384\t1048576\n", true},
		{"the third was kept", Numbers, "4096 131072", "4096\t131072\t6291456\n", false},
		{"the order counts", Numbers, "1 2", "2 1", false},
		{"a mask of more words", Mask, "3", "00000000,00000003\n", true},
		{"another mask", Mask, "ffffffff,00000001", "00000001\n", false},
		{"a list with ranges", List, "0,1,2,5", "0-2,5\n", true},
		{"a choice", Choice, "madvise", "always [madvise] never\n", true},
		{"another choice", Choice, "never", "always [madvise] never\n", false},
		{"a choice of two texts", Choice, "always [madvise] never", "madvise", true},
		{"a word", Word, "fq", "fq\n", true},
		{"a word is no number", Word, "0x3", "3", false},
		{"junk is itself", Number, "junk", "junk\n", true},
		{"junk is nothing else", Number, "0", "junk", false},
		{"nothing is no number", Number, "0", "\n", false},
		{"a table of limits", Limit, "1024", "Max processes  7  8  processes\nMax open files            1024                 524288               files\n", true},
	} {
		if got := tt.form.Same(tt.wanted, tt.is); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if shown := tt.form.Show(tt.is); tt.want && !tt.form.Same(tt.wanted, shown) {
			t.Errorf("%s: what is shown, %q, means something else", tt.name, shown)
		}
	}
}

// dry is a system of a directory.
func dry(t *testing.T, files map[string]string) (System, string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := host.OpenTree(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	return System{Files: tree, Devices: DryDevices{Files: tree}}, root
}

func TestEachKindIsWrittenAndRestored(t *testing.T) {
	s, root := dry(t, map[string]string{
		"proc/sys/vm/swappiness": "60\n", "sys/thp": "always [madvise] never\n", "proc/irq/24/smp_affinity_list": "0-3\n",
		"ethtool/eth0/rings/rx": "256\n", "ethtool/eth0/features/rx-gro": "off\n",
	})
	for _, tt := range []struct {
		knob                 Knob
		file, write, written string
	}{
		{Sysctl("vm.swappiness", Number), "proc/sys/vm/swappiness", "10", "10"},
		{File("/sys/thp", Choice), "sys/thp", "never", "always madvise [never]\n"},
		{Affinity(24), "proc/irq/24/smp_affinity_list", "2", "2"},
		{Device("eth0", "rings/rx"), "ethtool/eth0/rings/rx", "1024", "1024"},
		{Device("eth0", "features/rx-gro"), "ethtool/eth0/features/rx-gro", "on", "on"},
	} {
		before, err := s.Read(tt.knob)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(tt.knob, tt.write); err != nil {
			t.Error(err)
		}
		has := func() string {
			b, err := os.ReadFile(filepath.Join(root, tt.file))
			if err != nil {
				t.Error(err)
			}
			return string(b)
		}
		if has() != tt.written {
			t.Errorf("%s: %q", tt.knob.Name, has())
		}
		if is, err := s.Read(tt.knob); err != nil || !tt.knob.Form.Same(tt.write, is) {
			t.Errorf("%s reads %q, %v", tt.knob.Name, is, err)
		}
		if err := s.Restore(tt.knob, before); err != nil || has() != before {
			t.Errorf("%s restored: %q, %v", tt.knob.Name, has(), err)
		}
	}
}

func TestWhatIsNotThereIsNotMade(t *testing.T) {
	s, root := dry(t, map[string]string{"ethtool/eth0/rings/rx": "256\n"})
	for _, k := range []Knob{Sysctl("net.core.none", Number), Device("eth1", "rings/rx"), Device("eth0", "rings/tx")} {
		if _, err := s.Read(k); !errors.Is(err, ErrAbsent) {
			t.Errorf("read %s: %v", k.Name, err)
		}
		if err := s.Write(k, "1"); err == nil || !strings.Contains(err.Error(), k.Name) {
			t.Errorf("write %s: %v", k.Name, err)
		}
	}
	left, err := os.ReadDir(root)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestWhatCannotBeWrittenIsKnown(t *testing.T) {
	s, root := dry(t, map[string]string{
		"proc/sys/kernel/osrelease": "6.12.0\n", "proc/sys/vm/swappiness": "60\n", "proc/sys/kernel/nmi_watchdog": "0\n", "sys/class/thp": "0\n",
		"proc/self/mountinfo": "22 27 0:21 / /proc rw - proc proc rw\n23 27 0:22 / /sys ro - sysfs sysfs ro\n",
	})
	if err := os.Chmod(filepath.Join(root, "proc/sys/kernel/nmi_watchdog"), 0o444); err != nil {
		t.Fatal(err)
	}
	h, err := host.Read(s.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		knob Knob
		want error
	}{
		{Sysctl("vm.swappiness", Number), nil},
		{Sysctl("kernel.nmi_watchdog", Number), ErrReadOnly},
		{File("/sys/class/thp", Number), ErrReadOnly},
		{Device("eth0", "rings/rx"), nil},
	} {
		if err := s.CanWrite(tt.knob, h); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.knob.Name, err)
		}
	}
}
