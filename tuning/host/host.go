package host

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Host is what a host was when it was read. It is not changed afterwards.
type Host struct {
	// Machine tells hosts apart: /etc/machine-id, or what stands for it. Boot tells boots of it apart, Network
	// its network namespaces within a boot; "" is not known.
	Machine string `json:"machine"`
	Boot    string `json:"boot"`
	Network string `json:"network"`
	// Kernel is the release, as "6.12.0-1-amd64"; Major and Minor are 0 if it says none.
	Kernel string `json:"kernel"`
	Major  int    `json:"-"`
	Minor  int    `json:"-"`
	// CPUs are the numbers of those online.
	CPUs []int `json:"cpus"`
	// MemoryBytes is what the kernel has, PageBytes the size of its pages.
	MemoryBytes int64 `json:"memory_bytes"`
	PageBytes   int64 `json:"page_bytes"`
	// MemoryLimitBytes is the cgroup's, 0 if there is none.
	MemoryLimitBytes int64 `json:"memory_limit_bytes,omitempty"`
	// Container is what kind of container this is, "" for none; ContainerWhy is why that is believed, or why a
	// mark of one is not.
	Container    string `json:"container,omitempty"`
	ContainerWhy string `json:"container_why,omitempty"`
	// InitialNetwork says that this is the network namespace that the host booted with; NetworkWhy is why
	// that is believed.
	InitialNetwork bool   `json:"initial_network"`
	NetworkWhy     string `json:"network_why"`
	// Balancer says that irqbalance runs, which rewrites what others set.
	Balancer bool `json:"irqbalance"`
	// NICs are the network interfaces but loopback, by name.
	NICs []NIC `json:"nics"`

	readOnly []string // mounts that cannot be written, below others that can
	writable []string
	files    Files
}

// Read looks at a host. What is not there is left at its zero value: only a host without /proc is none.
func Read(files Files) (*Host, error) {
	h := &Host{files: files, PageBytes: 4096}
	if _, live := files.(Live); live {
		h.PageBytes = int64(os.Getpagesize())
	}
	var ok bool
	if h.Kernel, ok = h.Text("/proc/sys/kernel/osrelease"); !ok {
		return nil, fmt.Errorf("look at the host: /proc/sys/kernel/osrelease cannot be read: %w: mount /proc, or name a directory that has proc and sys of a host", h.unreadable("/proc/sys/kernel/osrelease"))
	}
	_, _ = fmt.Sscanf(h.Kernel, "%d.%d", &h.Major, &h.Minor) // 0 if it says none
	h.identify()
	h.cpus()
	h.memory()
	h.mounts()
	h.network()
	h.container()
	h.Balancer = h.runs("irqbalance")
	return h, h.nics()
}

func (h *Host) unreadable(path string) error {
	_, err := h.files.Read(path)
	return err
}

// Text is what a file says, without the blanks around it.
func (h *Host) Text(path string) (string, bool) {
	b, err := h.files.Read(path)
	return strings.TrimSpace(string(b)), err == nil
}

// Exists reports whether there is such a file.
func (h *Host) Exists(path string) bool {
	_, err := h.files.Mode(path)
	return err == nil
}

// Since reports whether the kernel is of a version or newer.
func (h *Host) Since(major, minor int) bool {
	return h.Major > major || h.Major == major && h.Minor >= minor
}

func (h *Host) identify() {
	h.Boot, _ = h.Text("/proc/sys/kernel/random/boot_id")
	h.Network, _ = h.files.Link("/proc/thread-self/ns/net")
	var ok bool
	if h.Machine, ok = h.Text("/etc/machine-id"); ok && h.Machine != "" {
		return
	}
	if name, ok := h.Text("/proc/sys/kernel/hostname"); ok {
		h.Machine = "hostname:" + name
	}
}

func (h *Host) cpus() {
	if text, ok := h.Text("/sys/devices/system/cpu/online"); ok {
		h.CPUs, _ = ParseCPUs(text)
	}
	if len(h.CPUs) > 0 {
		return
	}
	text, _ := h.Text("/proc/cpuinfo")
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "processor" {
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				h.CPUs = append(h.CPUs, n)
			}
		}
	}
	if len(h.CPUs) == 0 {
		h.CPUs = []int{0}
	}
}

func (h *Host) memory() {
	text, _ := h.Text("/proc/meminfo")
	for line := range strings.Lines(text) {
		var kibibytes int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kibibytes); err == nil {
			h.MemoryBytes = kibibytes << 10
		}
	}
	if limit, ok := h.Text("/sys/fs/cgroup/memory.max"); ok {
		h.MemoryLimitBytes, _ = strconv.ParseInt(limit, 10, 64) // "max" is none
	}
}

// mounts notes what is mounted read-only, by /proc/self/mountinfo (proc_pid_mountinfo(5)).
func (h *Host) mounts() {
	text, _ := h.Text("/proc/self/mountinfo")
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		to := &h.writable
		if slices.Contains(strings.Split(fields[5], ","), "ro") {
			to = &h.readOnly
		}
		*to = append(*to, fields[4])
	}
}

// ReadOnly reports whether a path is on a mount that cannot be written: the longest that it is below.
func (h *Host) ReadOnly(path string) bool {
	longest := func(mounts []string) (n int) {
		for _, m := range mounts {
			if m == "/" || path == m || strings.HasPrefix(path, m+"/") {
				n = max(n, len(m))
			}
		}
		return n
	}
	return longest(h.readOnly) > longest(h.writable)
}

// container looks for what container engines leave in their containers. A virtual machine that was made of a
// container's image has some of it too: who sees the kernel's own threads and is in the first network namespace is
// in no container that matters here.
func (h *Host) container() {
	h.Container, h.ContainerWhy = h.engine()
	if comm, _ := h.Text("/proc/2/comm"); h.Container != "" && comm == "kthreadd" && h.InitialNetwork {
		h.Container, h.ContainerWhy = "", h.ContainerWhy+", but process 2 is kthreadd, and the network namespace the initial one"
	}
}

// engine is the kind of container by the first mark that is found, and which that is.
func (h *Host) engine() (kind, why string) {
	const nspawn = "/run/systemd/container"
	if kind, ok := h.Text(nspawn); ok && kind != "" {
		return kind, nspawn + " says so"
	}
	for _, mark := range []struct{ path, kind string }{{"/.dockerenv", "docker"}, {"/run/.containerenv", "podman"}} {
		if h.Exists(mark.path) {
			return mark.kind, mark.path + " is there"
		}
	}
	environ, _ := h.Text("/proc/1/environ")
	for entry := range strings.SplitSeq(environ, "\x00") {
		if kind, ok := strings.CutPrefix(entry, "container="); ok && kind != "" {
			return kind, "the environment of process 1 has container=" + kind
		}
	}
	groups, _ := h.Text("/proc/1/cgroup")
	for _, kind := range []string{"docker", "kubepods", "lxc", "libpod"} {
		if strings.Contains(groups, "/"+kind) {
			return kind, "process 1 is in a cgroup of " + kind
		}
	}
	return "", ""
}

// network asks by a sysctl that the kernel has in the first network namespace alone. The number of the
// namespace would not do: it is another one from kernel to kernel.
func (h *Host) network() {
	const mark = "/proc/sys/net/core/netdev_max_backlog"
	if h.InitialNetwork = h.Exists(mark); h.InitialNetwork {
		h.NetworkWhy = "net.core.netdev_max_backlog is there, which only the initial one has"
		return
	}
	h.NetworkWhy = "net.core.netdev_max_backlog is not there, which only the initial one has"
}

// runs looks for a process by its name.
func (h *Host) runs(name string) bool {
	all, err := h.files.List("/proc")
	if err != nil {
		return false
	}
	for _, entry := range all {
		if entry[0] < '0' || entry[0] > '9' {
			continue
		}
		if comm, ok := h.Text("/proc/" + entry + "/comm"); ok && comm == name {
			return true
		}
	}
	return false
}

// Module reports whether the kernel has a module, built in, loaded or to be loaded. Not known is false, false.
func (h *Host) Module(name string) (has, known bool) {
	if h.Exists("/sys/module/" + name) {
		return true, true
	}
	for _, list := range []string{"modules.builtin", "modules.dep"} {
		text, ok := h.Text("/lib/modules/" + h.Kernel + "/" + list)
		if !ok {
			continue
		}
		known = true
		if strings.Contains(text, "/"+name+".ko") {
			return true, true
		}
	}
	return false, known
}
