package tuning

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

// shape is a host as a tree of files: those that begin with -> are symbolic links, those with - can only be read.
type shape map[string]string

// sysctls are what Linux 6.12 has on a host of its own, by name.
func sysctls(memoryKiB int64) map[string]string {
	pages := memoryKiB / 4
	return map[string]string{
		"fs.nr_open": "1048576", "fs.file-max": "9223372036854775807", "fs.epoll.max_user_watches": fmt.Sprint(memoryKiB * 1024 / 25 / 185),
		"net.core.somaxconn": "4096", "net.core.netdev_budget": "300", "net.core.netdev_budget_usecs": "8000", "net.core.netdev_max_backlog": "1000",
		"net.core.rps_sock_flow_entries": "0", "net.core.busy_poll": "0", "net.core.busy_read": "0", "net.core.default_qdisc": "pfifo_fast",
		"net.ipv4.tcp_mem":  fmt.Sprintf("%d\t%d\t%d", pages*3/64, pages/16, pages*3/32),
		"net.ipv4.tcp_rmem": "4096\t131072\t6291456", "net.ipv4.tcp_wmem": "4096\t16384\t4194304", "net.ipv4.tcp_notsent_lowat": "4294967295",
		"net.ipv4.tcp_slow_start_after_idle": "1", "net.ipv4.tcp_autocorking": "1", "net.ipv4.tcp_max_syn_backlog": "1024",
		"net.ipv4.tcp_syncookies": "1", "net.ipv4.tcp_timestamps": "1", "net.ipv4.tcp_synack_retries": "5", "net.ipv4.tcp_abort_on_overflow": "0",
		"net.ipv4.ip_local_port_range": "32768\t60999", "net.ipv4.tcp_fin_timeout": "60", "net.ipv4.tcp_orphan_retries": "0",
		"net.ipv4.tcp_max_orphans": "65536", "net.ipv4.tcp_max_tw_buckets": "65536", "net.ipv4.tcp_keepalive_time": "7200",
		"net.ipv4.tcp_congestion_control": "cubic", "net.ipv4.tcp_available_congestion_control": "reno cubic bbr", "net.ipv4.tcp_ehash_entries": "-65536",
		"vm.swappiness": "60", "vm.min_free_kbytes": "11264", "vm.zone_reclaim_mode": "0", "vm.stat_interval": "1",
		"kernel.timer_migration": "1", "kernel.nmi_watchdog": "1", "kernel.numa_balancing": "0", "kernel.io_uring_disabled": "0",
		"kernel.osrelease": "6.12.48", "kernel.hostname": "edge-1", "kernel.random.boot_id": "0f5c7a4e-0d5c-4f0e-9b0a-6f8f2d1c3b4a",
	}
}

// bare is a host without network interfaces.
func bare(cpus int, memoryKiB int64) shape {
	s := shape{
		"etc/machine-id":                                "8d3c1f6b2a9e4c7d8e5f0a1b2c3d4e5f",
		"proc/meminfo":                                  fmt.Sprintf("MemTotal:       %d kB\nMemFree:        1000 kB", memoryKiB),
		"proc/self/mountinfo":                           "22 27 0:21 / /proc rw,relatime - proc proc rw\n23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n27 1 254:0 / / rw - ext4 /dev/vda rw",
		"proc/self/limits":                              "Limit                     Soft Limit           Hard Limit           Units\nMax processes             95612                95612                processes\nMax open files            1024                 524288               files",
		"proc/1/cgroup":                                 "0::/init.scope",
		"proc/1/comm":                                   "systemd",
		"proc/thread-self/ns/net":                       "->net:[4026531840]",
		"sys/devices/system/cpu/online":                 host.FormatCPUs(upTo(cpus)),
		"sys/devices/system/cpu/isolated":               "",
		"sys/kernel/mm/transparent_hugepage/enabled":    "[always] madvise never",
		"lib/modules/6.12.48/modules.dep":               "kernel/net/sched/sch_fq.ko.xz:\nkernel/net/ipv4/tcp_bbr.ko.xz:",
		"sys/class/net/lo/type":                         "772",
		"sys/devices/system/cpu/cpuidle/current_driver": "none",
	}
	s["proc/sys/fs/file-nr"] = "1984\t0\t9223372036854775807"
	for name, layout := range map[string][2]string{ // objects in a slab, and the power of two of its pages
		"TCP": {"13", "3"}, "TCPv6": {"13", "3"}, "sock_inode_cache": {"19", "2"}, "filp": {"21", "0"}, "dentry": {"21", "0"}, "eventpoll_epi": {"32", "0"},
		"eventpoll_pwq": {"64", "0"}, "lsm_file_cache": {"170", "0"}, "lsm_inode_cache": {"128", "0"},
	} {
		s["sys/kernel/slab/"+name+"/objs_per_slab"], s["sys/kernel/slab/"+name+"/order"] = layout[0], layout[1]
	}
	for name, value := range sysctls(memoryKiB) {
		s["proc/sys/"+strings.ReplaceAll(name, ".", "/")] = value
	}
	return s
}

// withoutSlabs is a host that does not tell how large the kernel's objects are, as to who is not root.
func (s shape) withoutSlabs() {
	for name := range s {
		if strings.HasPrefix(name, "sys/kernel/slab/") {
			delete(s, name)
		}
	}
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// nic adds an interface with as many queues each way.
func (s shape) nic(name, device, driver string, queues, cpus int) {
	dir := "sys/class/net/" + name + "/"
	for file, value := range map[string]string{"type": "1", "operstate": "up", "mtu": "1500", "gro_flush_timeout": "0", "napi_defer_hard_irqs": "0", "threaded": "0"} {
		s[dir+file] = value
	}
	if device != "" {
		s[dir+"device"] = "->../../../../" + device
		s[device+"/driver"] = "->../../bus/drivers/" + driver
	}
	zero := strings.Repeat("00000000,", (cpus-1)/32) + "00000000"
	for q := range queues {
		rx := fmt.Sprintf("%squeues/rx-%d/", dir, q)
		s[rx+"rps_cpus"], s[rx+"rps_flow_cnt"] = zero, "0"
		tx := fmt.Sprintf("%squeues/tx-%d/", dir, q)
		s[tx+"tx_timeout"] = "0"
		if queues > 1 {
			s[tx+"xps_cpus"] = zero
		}
	}
}

// irq adds an interrupt that all CPUs may get.
func (s shape) irq(number int, name string, cpus int) {
	s["proc/interrupts"] += fmt.Sprintf("%4d:  1234  PCI-MSIX-0000:00:05.0  %d-edge  %s\n", number, number, name)
	s[fmt.Sprintf("proc/irq/%d/smp_affinity_list", number)] = host.FormatCPUs(upTo(cpus))
}

// ethtool adds settings of a device.
func (s shape) ethtool(device string, settings map[string]string) {
	for name, value := range settings {
		s["ethtool/"+device+"/"+name] = value
	}
}

// shapes are the hosts.
func shapes() map[string]shape {
	small := bare(2, 2<<20)
	small.nic("eth0", "sys/devices/virtio2", "virtio_net", 2, 2)
	small.irq(37, "virtio2-config", 2)
	for q := range 2 {
		small.irq(38+2*q, fmt.Sprintf("virtio2-input.%d", q), 2)
		small.irq(39+2*q, fmt.Sprintf("virtio2-output.%d", q), 2)
	}
	small.ethtool("eth0", map[string]string{
		"rings/rx": "256", "rings/rx-max": "1024", "rings/tx": "256", "rings/tx-max": "1024", "channels/combined": "2", "channels/combined-max": "2",
		"coalesce/rx-usecs": "0", "features/rx-gro": "on", "features/tx-tcp-segmentation": "on", "features/tx-generic-segmentation": "on",
	})

	metal := bare(64, 256<<20)
	metal.nic("ens1f0", "sys/devices/0000:3b:00.0", "ice", 16, 64)
	metal.nic("docker0", "", "", 1, 64)
	for q := range 16 {
		metal.irq(120+q, fmt.Sprintf("ice-ens1f0-TxRx-%d", q), 64)
	}
	metal.ethtool("ens1f0", map[string]string{
		"rings/rx": "512", "rings/rx-max": "8160", "rings/tx": "256", "rings/tx-max": "8160", "channels/combined": "16", "channels/combined-max": "64",
		"rss/table": "2048: 0-7", "rss/key": "published",
		"coalesce/adaptive-rx": "0", "coalesce/rx-usecs": "50", "features/rx-gro": "off", "features/rx-lro": "on", "features/rx-gro-list": "off",
		"features/tx-tcp-segmentation": "on", "features/tx-generic-segmentation": "on",
	})
	metal["proc/sys/kernel/numa_balancing"] = "1"
	metal["proc/sys/net/netfilter/nf_conntrack_max"] = "262144"
	metal["proc/sys/net/netfilter/nf_conntrack_count"] = "-71003"
	metal["sys/devices/system/cpu/cpuidle/current_driver"] = "intel_idle"
	for cpu := range 64 {
		dir := fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpufreq/", cpu)
		metal[dir+"scaling_governor"], metal[dir+"scaling_available_governors"] = "powersave", "performance powersave"
	}

	container := bare(8, 16<<20)
	container["run/systemd/container"] = "docker"
	container["proc/self/mountinfo"] += "\n40 22 0:21 /sys /proc/sys ro,relatime - proc proc rw\n41 27 0:22 / /sys ro,relatime - sysfs sysfs ro"
	container["proc/thread-self/ns/net"] = "->net:[4026532711]"
	container["sys/fs/cgroup/memory.max"] = "4294967296"
	for _, name := range []string{"netdev_budget", "netdev_budget_usecs", "netdev_max_backlog", "rps_sock_flow_entries", "busy_poll", "busy_read", "default_qdisc"} {
		delete(container, "proc/sys/net/core/"+name)
	}
	delete(container, "proc/sys/net/ipv4/tcp_mem")
	delete(container, "proc/sys/net/ipv4/tcp_max_orphans")
	delete(container, "lib/modules/6.12.48/modules.dep")
	container.nic("eth0", "", "", 1, 8)
	container.withoutSlabs()

	virtio := bare(4, 4<<20)
	virtio.nic("eth0", "sys/devices/virtio0", "virtio_net", 1, 4)
	virtio.irq(25, "virtio0-input.0", 4)
	virtio.irq(26, "virtio0-output.0", 4)
	virtio.ethtool("eth0", map[string]string{"rings/rx": "256", "rings/rx-max": "256", "channels/combined": "1", "channels/combined-max": "1", "features/rx-gro": "on"})
	virtio["proc/sys/kernel/nmi_watchdog"] = "-0"
	virtio["proc/sys/net/ipv4/tcp_available_congestion_control"] = "reno cubic"
	virtio["lib/modules/6.12.48/modules.dep"] = "kernel/net/ipv4/tcp_diag.ko.xz:"

	plain := bare(2, 8<<20)
	plain["proc/sys/kernel/osrelease"] = "5.4.0-200-generic"
	plain.nic("eth0", "sys/devices/0000:00:03.0", "e1000", 1, 2)
	plain.irq(19, "eth0", 2)
	delete(plain, "sys/class/net/eth0/napi_defer_hard_irqs")
	delete(plain, "sys/class/net/eth0/threaded")
	delete(plain, "proc/sys/kernel/io_uring_disabled")
	plain["proc/977/comm"] = "irqbalance"
	plain.withoutSlabs()
	plain["proc/slabinfo"] = "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables\n" +
		"TCPv6                 42     42   2304   14    8 : tunables    0    0    0 : slabdata      3      3      0\n" +
		"TCP                   56     56   2176   15    8 : tunables    0    0    0 : slabdata      4      4      0\n" +
		"eventpoll_pwq        112    112     72   56    1 : tunables    0    0    0\neventpoll_epi         96     96    128   32    1 : tunables    0    0    0\n" +
		"sock_inode_cache     368    368    704   23    4 : tunables    0    0    0\ndentry             44100  44100    192   21    1 : tunables    0    0    0\n" +
		"filp                2336   2336    256   16    1 : tunables    0    0    0"
	plain["proc/sys/net/ipv4/tcp_mem"] = "10000000 10000000 10000000"
	return terminated(map[string]shape{"small": small, "metal": metal, "container": container, "virtio": virtio, "plain": plain, "recent": recent()})
}

// recent is a host of Linux 6.18 whose programs prefer busy polling.
func recent() shape {
	s := bare(4, 16<<20)
	s["proc/sys/kernel/osrelease"] = "6.18.2"
	delete(s, "lib/modules/6.12.48/modules.dep")
	s["lib/modules/6.18.2/modules.dep"] = "kernel/net/sched/sch_fq.ko.zst:\nkernel/net/ipv4/tcp_bbr.ko.zst:"
	s.nic("eth0", "sys/devices/0000:00:05.0", "mlx5_core", 4, 4)
	settings := map[string]string{
		"rings/rx": "1024", "rings/rx-max": "8192", "rings/tx": "1024", "rings/tx-max": "8192", "channels/combined": "4", "channels/combined-max": "4",
		"coalesce/adaptive-rx": "1", "features/rx-gro": "on", "features/rx-lro": "off", "rss/table": "128: 0-1", "rss/key": "own",
	}
	for q := range 4 {
		s.irq(40+q, fmt.Sprintf("mlx5_comp%d@pci:0000:00:05.0", q), 4)
		for _, field := range []string{"defer-hard-irqs", "gro-flush-timeout", "irq-suspend-timeout"} {
			settings[fmt.Sprintf("napi-%d/%s", q, field)] = "0"
		}
	}
	settings["napi-2/defer-hard-irqs"], settings["napi-2/gro-flush-timeout"] = "7", "90000" // somebody's
	s.ethtool("eth0", settings)
	return s
}

// terminated has each file end in a line's end, as the kernel's do.
func terminated(all map[string]shape) map[string]shape {
	for _, s := range all {
		for name, text := range s {
			if !strings.HasPrefix(text, "->") && !strings.HasSuffix(text, "\n") {
				s[name] = text + "\n"
			}
		}
	}
	return all
}

// plant writes a shape below a directory.
func plant(t *testing.T, s shape) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range s {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, full)
		} else if fixed, ok := strings.CutPrefix(text, "-"); ok && !strings.HasPrefix(name, "ethtool/") && len(fixed) > 0 {
			err = os.WriteFile(full, []byte(fixed), 0o400)
		} else {
			err = os.WriteFile(full, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// snapshot is all of a tree, bytes and names.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if e.Type()&fs.ModeSymlink != 0 {
			all[name], err = os.Readlink(path)
			return err
		}
		b, err := os.ReadFile(path) //nolint:gosec // of the test's own directory
		all[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// tuner is one of a tree, with a journal beside it.
func tuner(t *testing.T, root, journalPath string) *Tuner {
	t.Helper()
	tree, err := host.OpenTree(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Tuner{
		System:  knob.System{Files: tree, Devices: knob.DryDevices{Files: tree}},
		Journal: journal.At(journalPath), Now: "2026-01-02T03:04:05Z",
	}
}
