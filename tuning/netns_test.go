//go:build linux

package tuning

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"
	"weir/tuning/catalog"
	"weir/tuning/ethtool"
	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"

	"golang.org/x/sys/unix"
)

// mounted is a directory with proc and sys as they are in a network namespace.
func mounted(t *testing.T, n *netlab.Namespace) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"proc", "sys"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(root, name)
		err := n.Do(func() error {
			if name == "proc" {
				return unix.Mount("/proc", at, "", unix.MS_BIND, "")
			}
			return unix.Mount("weir-test", at, "sysfs", 0, "") // of the namespace of who mounts it
		})
		if err != nil {
			t.Fatalf("mount %s: %v", name, err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", at, err)
			}
		})
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, root, "etc/machine-id", "test\n")
	return root
}

// texts are the files of a namespace that a plan may change, by path.
func texts(t *testing.T, files host.Files, p *Plan) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, item := range p.Items {
		if item.Knob.Path != "" && item.Knob.Namespaced {
			b, _ := files.Read(item.Knob.Path)
			all[item.Knob.Path] = string(b)
		}
	}
	return all
}

// TestNetnsIsTunedAndPutBack applies the sysctls of a namespace, and what a veth there has, for real.
func TestNetnsIsTunedAndPutBack(t *testing.T) {
	bpftest.Require(t, "5.15", "tuning of network namespaces")
	n := bpftest.Namespace(t)
	if err := netlab.Pair(netlab.End{In: n, Interface: "weirt0"}, netlab.End{In: n, Interface: "weirt1"}); err != nil {
		t.Fatal(err)
	}
	root, path := mounted(t, n), filepath.Join(t.TempDir(), "journal")
	err := n.Do(func() (err error) {
		tn := tuner(t, root, path)
		devices, err := openDevices()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, devices.Close()) }()
		tn.System = knob.System{Files: tn.System.Files, Devices: devices}
		wanted := catalog.Wanted{Profile: catalog.Edge, Conns: 1_000_000, QueuedBytes: 1024, Interfaces: []string{"weirt0"}}
		p, err := tn.Plan(wanted)
		if err != nil {
			return err
		}
		if p.Host.InitialNetwork || len(p.Host.NICs) != 2 {
			t.Errorf("%+v", p.Host)
		}
		before := texts(t, tn.System.Files, p)
		done, err := tn.Apply(wanted, quiet)
		if err != nil {
			return err
		}
		var all strings.Builder
		for _, o := range done {
			all.WriteString(o.Knob + " = " + o.To + o.Note + "\n")
		}
		t.Log(all.String())
		wanting := []string{
			"net.core.somaxconn = 20000\n", "net.ipv4.tcp_rmem = 4096 16384 1048576\n", "net.ipv4.tcp_fin_timeout = 15\n", "net.ipv4.tcp_slow_start_after_idle = 0\n",
			"/sys/class/net/weirt0/napi_defer_hard_irqs = 2\n", "/sys/class/net/weirt0/gro_flush_timeout = 20000\n",
		}
		if len(p.Host.CPUs) > 1 { // else there is nothing to spread
			wanting = append(wanting, "/sys/class/net/weirt0/queues/rx-0/rps_flow_cnt = ", "/sys/class/net/weirt0/queues/rx-0/rps_cpus = ")
		}
		for _, want := range wanting {
			if !strings.Contains(all.String(), want) {
				t.Errorf("no %q", want)
			}
		}
		for _, not := range []string{"vm.", "fs.", "kernel.", "tcp_mem", "weirt1", "hugepage"} {
			if strings.Contains(all.String(), not) {
				t.Errorf("%s of the host was touched", not)
			}
		}
		if v, err := tn.Verify(); err != nil || len(v.Drift) > 0 {
			t.Errorf("%+v, %v", v, err)
		}
		if err := tn.System.Files.Write("/proc/sys/net/ipv4/tcp_fin_timeout", []byte("33")); err != nil {
			t.Error(err)
		}
		if v, err := tn.Verify(); err != nil || len(v.Drift) != 1 || v.Drift[0].Is != "33" {
			t.Errorf("%+v, %v", v, err)
		}
		if _, err := tn.Rollback(); err != nil {
			return err
		}
		same(t, before, texts(t, tn.System.Files, p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNetnsInstancesAreTunedAndPutBack has somebody's value in one NAPI instance of a veth, which the kernel overwrites when the
// device's file is written: it is there again in the end.
func TestNetnsInstancesAreTunedAndPutBack(t *testing.T) {
	bpftest.Require(t, "6.13", "settings of NAPI instances")
	n := bpftest.Namespace(t)
	if err := netlab.Pair(netlab.End{In: n, Interface: "weirt0"}, netlab.End{In: n, Interface: "weirt1"}); err != nil {
		t.Fatal(err)
	}
	if err := n.SetFeatures("weirt0", true, netlab.FeatureGRO); err != nil { // a veth has instances only then
		t.Fatal(err)
	}
	root := mounted(t, n)
	err := n.Do(func() (err error) {
		tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
		devices, err := openDevices()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, devices.Close()) }()
		tn.System = knob.System{Files: tn.System.Files, Devices: devices}
		if err := devices.Set("weirt0", "napi-0/defer-hard-irqs", "7"); err != nil {
			return err
		}
		before, err := devices.All("weirt0")
		if err != nil || before["napi-0/defer-hard-irqs"] != "7" {
			t.Errorf("%v, %v", before, err)
		}
		wanted := catalog.Wanted{Profile: catalog.Edge, Conns: 1000, Interfaces: []string{"weirt0"}, BusyPoll: true}
		if _, err := tn.Apply(wanted, quiet); err != nil {
			return err
		}
		now, err := devices.All("weirt0")
		for field, want := range map[string]string{"defer-hard-irqs": "100", "gro-flush-timeout": "20000", "irq-suspend-timeout": "20000000"} {
			if now["napi-0/"+field] != want {
				t.Errorf("%s is %q, want %s, %v", field, now["napi-0/"+field], want, err)
			}
		}
		if v, err := tn.Verify(); err != nil || len(v.Drift) > 0 {
			t.Errorf("%+v, %v", v, err)
		}
		if err := devices.Set("weirt0", "napi-0/irq-suspend-timeout", "1"); err != nil {
			return err
		}
		if v, err := tn.Verify(); err != nil || len(v.Drift) != 1 || v.Drift[0].Knob != "weirt0 napi-0/irq-suspend-timeout" {
			t.Errorf("%+v, %v", v, err)
		}
		if _, err := tn.Rollback(); err != nil {
			return err
		}
		after, err := devices.All("weirt0")
		if !maps.Equal(before, after) {
			t.Errorf("%v, was %v", after, before)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNetnsFeaturesOfAVeth sets a feature for real, and puts it back.
func TestNetnsFeaturesOfAVeth(t *testing.T) {
	bpftest.Require(t, "5.15", "ethtool over netlink")
	n := bpftest.Namespace(t)
	if err := netlab.Pair(netlab.End{In: n, Interface: "weirt0"}, netlab.End{In: n, Interface: "weirt1"}); err != nil {
		t.Fatal(err)
	}
	err := n.Do(func() (err error) {
		c, err := ethtool.Open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		before, err := c.All("weirt0")
		if err != nil {
			return err
		}
		const name = "features/tx-tcp-segmentation"
		if before[name] != "on" {
			t.Errorf("%v", before)
		}
		for _, value := range []string{"off", "on"} {
			if err := c.Set("weirt0", name, value); err != nil {
				return err
			}
			if now, err := c.All("weirt0"); err != nil || now[name] != value {
				t.Errorf("set to %s: %v, %v", value, now[name], err)
			}
		}
		if err := c.Set("weirt0", "rings/rx", "512"); err == nil {
			t.Error("a veth has rings")
		}
		if _, err := c.All("none0"); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNetnsAWriteThatFailsAndChangesIsUndone is told by the kernel that a mask has too many CPUs, which it takes
// part of all the same.
func TestNetnsAWriteThatFailsAndChangesIsUndone(t *testing.T) {
	bpftest.Require(t, "6.3", "rps_default_mask of a network namespace")
	n := bpftest.Namespace(t)
	root := mounted(t, n)
	err := n.Do(func() error {
		tn := tuner(t, root, filepath.Join(t.TempDir(), "journal"))
		k := knob.Sysctl("net.core.rps_default_mask", knob.Mask)
		before, err := tn.System.Read(k)
		if err != nil {
			return err
		}
		tooMany := host.FormatMask(upTo(8192)) // more than any kernel has
		written, _, err := tn.write([]change{{journal.Entry{Knob: k, Before: before, Wanted: tooMany}, before}})
		if err == nil || len(written) != 1 {
			t.Errorf("%d written, %v", len(written), err)
		}
		if now, err := tn.System.Read(k); err == nil {
			t.Logf("the write failed, and %q became %q", before, now)
		}
		release, err := tn.Journal.Lock()
		if err != nil {
			return err
		}
		if err := tn.undo(written, &journal.Journal{}, &journal.Journal{}, errors.New("it failed")); !errors.Is(err, ErrUndone) {
			t.Error(err)
		}
		if now, err := tn.System.Read(k); err != nil || now != before {
			t.Errorf("%q, was %q, %v", now, before, err)
		}
		return release()
	})
	if err != nil {
		t.Fatal(err)
	}
}
