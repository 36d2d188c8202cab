package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// read looks at a tree that is a plain host but for some files; those that begin with -> are links.
func read(t *testing.T, changed map[string]string) *Host {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"proc/sys/kernel/osrelease": "6.12.0-1-amd64\n", "proc/sys/kernel/random/boot_id": "boot\n", "etc/machine-id": "machine\n",
		"sys/devices/system/cpu/online": "0-3,8\n", "proc/meminfo": "MemTotal:  1024 kB\n", "proc/sys/net/core/netdev_max_backlog": "1000\n",
		"proc/thread-self/ns/net": "->net:[7]",
	}
	maps.Copy(files, changed)
	for name, text := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, full)
		} else if text != "" {
			err = os.WriteFile(full, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tree, err := OpenTree(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	h, err := Read(tree)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFactsOfAHost(t *testing.T) {
	h := read(t, nil)
	if h.Machine != "machine" || h.Boot != "boot" || h.Network != "net:[7]" || h.Kernel != "6.12.0-1-amd64" || !h.Since(6, 12) || h.Since(6, 13) {
		t.Errorf("%+v", h)
	}
	if !slices.Equal(h.CPUs, []int{0, 1, 2, 3, 8}) || h.MemoryBytes != 1<<20 || h.PageBytes != 4096 || h.Container != "" || !h.InitialNetwork {
		t.Errorf("%+v", h)
	}
	h = read(t, map[string]string{
		"etc/machine-id": "", "proc/sys/kernel/hostname": "edge-1\n", "sys/devices/system/cpu/online": "",
		"proc/cpuinfo": "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n", "sys/fs/cgroup/memory.max": "4096\n", "proc/sys/net/core/netdev_max_backlog": "",
	})
	if h.Machine != "hostname:edge-1" || len(h.CPUs) != 2 || h.MemoryLimitBytes != 4096 || h.InitialNetwork || !strings.Contains(h.NetworkWhy, "is not there") {
		t.Errorf("%+v", h)
	}
}

func TestAContainerIsKnownByWhatItHas(t *testing.T) {
	for kind, files := range map[string]map[string]string{
		"docker":         {".dockerenv": "x"},
		"podman":         {"run/.containerenv": "x"},
		"systemd-nspawn": {"run/systemd/container": "systemd-nspawn\n"},
		"lxc":            {"proc/1/environ": "PATH=/bin\x00container=lxc\x00"},
		"kubepods":       {"proc/1/cgroup": "0::/kubepods/burstable/pod7\n"},
	} {
		if h := read(t, files); h.Container != kind || h.ContainerWhy == "" {
			t.Errorf("%s: %q, %q", kind, h.Container, h.ContainerWhy)
		}
	}
}

func TestAMachineMadeOfAnImageIsNoContainer(t *testing.T) {
	marks := map[string]string{".dockerenv": "x", "proc/2/comm": "kthreadd\n"}
	if h := read(t, marks); h.Container != "" || !strings.Contains(h.ContainerWhy, "kthreadd") {
		t.Errorf("%q, %q", h.Container, h.ContainerWhy)
	}
	marks["proc/sys/net/core/netdev_max_backlog"] = ""
	if h := read(t, marks); h.Container != "docker" {
		t.Errorf("in a network namespace of its own: %q, %q", h.Container, h.ContainerWhy)
	}
}

func TestReadOnlyIsTheLongestMount(t *testing.T) {
	h := read(t, map[string]string{"proc/self/mountinfo": "1 0 0:1 / / ro - ext4 x ro\n22 27 0:21 / /proc rw - proc proc rw\n" +
		"40 22 0:21 /sys /proc/sys ro,nosuid - proc proc rw\n41 40 0:21 /sys/net /proc/sys/net rw - proc proc rw\n"})
	for path, want := range map[string]bool{
		"/proc/sys/vm/swappiness": true, "/proc/sys/net/core/somaxconn": false, "/proc/sysrq": false, "/proc/irq/3": false, "/sys/x": true,
	} {
		if h.ReadOnly(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}

func TestInterruptsAreThoseOfTheQueues(t *testing.T) {
	for _, tt := range []struct{ name, device, action, want string }{
		{"eth0", "0000:3b:00.0", "eth0-TxRx-3", "3"},
		{"eth0", "0000:3b:00.0", "i40e-eth0-TxRx-12", "12"},
		{"ens5", "0000:00:05.0", "ens5-Tx-Rx-1", "1"},
		{"eth0", "virtio2", "virtio2-input.0", "0"},
		{"eth0", "virtio2", "virtio2-output.1", "1"},
		{"eth0", "0000:3b:00.0", "mlx5_comp7@pci:0000:3b:00.0", "7"},
		{"eth0", "virtio2", "virtio2-config", ""},
		{"eth0", "virtio2", "virtio20-input.0", ""},
		{"eth1", "virtio2", "eth10-TxRx-0", ""},
		{"eth0", "0000:3b:00.0", "mlx5_async0@pci:0000:3b:00.0", ""},
		{"eth0", "0000:3b:00.0", "mlx5_comp7@pci:0000:3c:00.0", ""},
		{"rx1", "virtio9", "rx1-TxRx-4", "4"},
	} {
		dir := "sys/class/net/" + tt.name + "/"
		h := read(t, map[string]string{
			dir + "type": "1\n", dir + "device": "->../../../devices/" + tt.device, dir + "queues/rx-0/rps_cpus": "0\n", dir + "operstate": "up\n", dir + "mtu": "1500\n",
			"sys/devices/" + tt.device + "/driver": "->../../bus/drivers/driver7",
			"proc/interrupts":                      "      CPU0\n 24:  1  PCI-MSI 0-edge  " + tt.action + "\nNMI:  0  Non-maskable interrupts\n",
		})
		got := ""
		if len(h.NICs) == 1 && len(h.NICs[0].IRQs) == 1 {
			got = fmt.Sprint(h.NICs[0].IRQs[0].Queue)
		}
		if len(h.NICs) != 1 || got != tt.want || h.NICs[0].Driver != "driver7" || !h.NICs[0].Up || h.NICs[0].MTUBytes != 1500 || h.NICs[0].RXQueues != 1 {
			t.Errorf("%s: %q, %+v", tt.action, got, h.NICs)
		}
	}
}

func TestModules(t *testing.T) {
	for _, tt := range []struct {
		files      map[string]string
		has, known bool
	}{
		{map[string]string{"sys/module/sch_fq/refcnt": "1"}, true, true},
		{map[string]string{"lib/modules/6.12.0-1-amd64/modules.builtin": "kernel/net/sched/sch_fq.ko\n"}, true, true},
		{map[string]string{"lib/modules/6.12.0-1-amd64/modules.dep": "kernel/net/sched/sch_fq_codel.ko.xz:\n"}, false, true},
		{nil, false, false},
	} {
		if has, known := read(t, tt.files).Module("sch_fq"); has != tt.has || known != tt.known {
			t.Errorf("%v: %v, %v", tt.files, has, known)
		}
	}
}

func TestSetsOfCPUs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cpus := rapid.SliceOfNDistinct(rapid.IntRange(0, 300), 1, 80, rapid.ID).Draw(t, "cpus")
		slices.Sort(cpus)
		if back, err := ParseCPUs(FormatCPUs(cpus)); err != nil || !slices.Equal(back, cpus) {
			t.Fatalf("%s: %v, %v", FormatCPUs(cpus), back, err)
		}
		if back, err := ParseMask(FormatMask(cpus)); err != nil || !slices.Equal(back, cpus) {
			t.Fatalf("%s: %v, %v", FormatMask(cpus), back, err)
		}
	})
	for text, want := range map[string]string{"00000001,00000000": "32", "0x3": "0-1", "0": "", "ff,00000000": "32-39"} {
		if cpus, err := ParseMask(text); err != nil || FormatCPUs(cpus) != want {
			t.Errorf("%s: %v, %v", text, cpus, err)
		}
	}
	for _, text := range []string{"", "x", "1,,2", "123456789,1"} {
		if cpus, err := ParseMask(text); err == nil {
			t.Errorf("mask %q: %v", text, cpus)
		}
	}
	for _, text := range []string{"x", "3-1", "-1", "0-9999999"} {
		if cpus, err := ParseCPUs(text); err == nil {
			t.Errorf("list %q: %v", text, cpus)
		}
	}
}

func TestALinkDoesNotLeadOutOfATree(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "swappiness")
	if err := os.WriteFile(outside, []byte("60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "swappiness")); err != nil {
		t.Fatal(err)
	}
	tree, err := OpenTree(root)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close() //nolint:errcheck // nothing was written
	if _, err := tree.Read("/swappiness"); err == nil {
		t.Error("it was read")
	}
	if err := tree.Write("/swappiness", []byte("1")); err == nil {
		t.Error("it was written")
	}
}

// TestFilesAreWrittenAndNotMade holds both kinds of files to the same.
func TestFilesAreWrittenAndNotMade(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("long before\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	tree, err := OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close() //nolint:errcheck // its files are closed
	for prefix, files := range map[string]Files{dir: Live{}, "": tree} {
		if names, err := files.List(prefix + "/"); err != nil || !slices.Equal(names, []string{"a", "b"}) {
			t.Errorf("%q, %v", names, err)
		}
		if mode, err := files.Mode(prefix + "/b"); err != nil || mode.Perm() != 0o400 {
			t.Errorf("%v, %v", mode, err)
		}
		if target, err := files.Link(prefix + "/b"); err != nil || target != "a" {
			t.Errorf("%q, %v", target, err)
		}
		if err := files.Write(prefix+"/c", []byte("x")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is not there was written: %v", err)
		}
		if os.Geteuid() == 0 { // the mode holds for others
			if err := files.Write(prefix+"/a", []byte("short\n")); err != nil {
				t.Error(err)
			}
			if text, err := files.Read(prefix + "/b"); err != nil || string(text) != "short\n" {
				t.Errorf("%q, %v", text, err)
			}
		}
		if _, err := files.Read(prefix + "/c"); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	if _, err := OpenTree(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there was opened")
	}
}
