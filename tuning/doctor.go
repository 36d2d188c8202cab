// Package tuning looks at the host that weir runs on and says what to mend. It reads the
// kernel's files behind a root directory, so that it can be tested on trees that no machine
// here has.
package tuning

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	// OK: nothing to do.
	OK Level = "ok"
	// Warn: weir works, and would work better.
	Warn Level = "warn"
	// Fail: something that was asked for does not work.
	Fail Level = "fail"
)

// Finding is one thing looked at.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Found is what is there, Why what it means, Mend the command that changes it.
	Found string `json:"found"`
	Why   string `json:"why,omitempty"`
	Mend  string `json:"mend,omitempty"`
}

// Host is what is looked at.
type Host struct {
	// Root is where /proc and /sys are, "" for the real ones.
	Root string
	// MaxConns is how many connections are wanted.
	MaxConns int
	// Descriptors is the process's limit.
	Descriptors int
	// Privileged says that BPF programs can be loaded.
	Privileged bool
	// Interface is the one to be guarded.
	Interface string
	// Storage says what the bus keeps: "memory", "interval" or "always".
	Storage string
	// Synchronized says that something keeps the clock right, see [ClockSynchronized].
	Synchronized bool
}

// Examine looks at all and returns a finding each, in a fixed order.
func (h Host) Examine() []Finding {
	return []Finding{
		h.kernel(), h.btf(), h.privileges(), h.iface(), h.descriptors(),
		h.atLeast("accept queue", "net/core/somaxconn", 4096, "a burst of new connections overflows the accept queue and is lost without a sign"),
		h.atLeast("SYN queue", "net/ipv4/tcp_max_syn_backlog", 4096, "half-open connections of a burst are dropped"),
		h.ports(), h.clock(), h.synchronized(), h.storage(),
	}
}

// Failed reports whether any finding is a Fail.
func Failed(all []Finding) bool {
	for _, f := range all {
		if f.Level == Fail {
			return true
		}
	}
	return false
}

func (h Host) read(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(h.Root, path))
	return strings.TrimSpace(string(b)), err
}

func (h Host) kernel() Finding {
	f := Finding{Check: "kernel", Level: OK}
	var err error
	if f.Found, err = h.read("/proc/sys/kernel/osrelease"); err != nil {
		return unreadable(f, err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(f.Found, "%d.%d", &major, &minor); err != nil {
		return unreadable(f, err)
	}
	if major < 5 || major == 5 && minor < 12 {
		f.Level = Fail
		f.Why = "the quotas in XDP need compare-and-swap in BPF, which came with 5.12"
		f.Mend = "boot Linux 5.12 or newer, or set xdp.enabled: off"
	}
	return f
}

func unreadable(f Finding, err error) Finding {
	f.Level, f.Why = Warn, "it cannot be read: "+err.Error()
	return f
}

func (h Host) btf() Finding {
	f := Finding{Check: "kernel types (BTF)", Level: OK, Found: "there"}
	if _, err := os.Stat(filepath.Join(h.Root, "/sys/kernel/btf/vmlinux")); err != nil {
		f.Level, f.Found = Warn, "missing"
		f.Why = "tracers need it; the quotas do not"
		f.Mend = "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y"
	}
	return f
}

func (h Host) privileges() Finding {
	if h.Privileged {
		return Finding{Check: "privileges", Level: OK, Found: "BPF programs can be loaded"}
	}
	return Finding{
		Check: "privileges", Level: Warn, Found: "BPF programs cannot be loaded",
		Why:  "weir serves without quotas in XDP",
		Mend: "run as root, or: setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v weir)",
	}
}

func (h Host) iface() Finding {
	f := Finding{Check: "interface", Level: OK, Found: h.Interface}
	dir := filepath.Join(h.Root, "/sys/class/net", h.Interface)
	if _, err := os.Stat(dir); err != nil || h.Interface == "" {
		f.Level, f.Why, f.Mend = Fail, "there is no such interface", "set xdp.interface to one of: ls /sys/class/net"
		return f
	}
	mtu, err := h.read("/sys/class/net/" + h.Interface + "/mtu")
	if err != nil {
		return unreadable(f, err)
	}
	f.Found += ", mtu " + mtu
	if n, err := strconv.Atoi(mtu); err == nil && n > 3498 && h.Interface != "lo" {
		f.Level = Warn
		f.Why = "most drivers run XDP natively only up to an MTU of about 3,500: it will run generic, at several times the cost"
		f.Mend = "ip link set " + h.Interface + " mtu 1500"
	}
	return f
}

func (h Host) descriptors() Finding {
	f := Finding{Check: "descriptors", Level: OK, Found: strconv.Itoa(h.Descriptors)}
	if h.Descriptors < h.MaxConns {
		f.Level = Fail
		f.Why = fmt.Sprintf("edge.max_conns is %d: connections past the limit get 503", h.MaxConns)
		f.Mend = fmt.Sprintf("ulimit -n %d, or LimitNOFILE= in the unit", h.MaxConns+4096)
	}
	return f
}

// atLeast wants a sysctl to have a value.
func (h Host) atLeast(check, sysctl string, want int, why string) Finding {
	f := Finding{Check: check, Level: OK}
	var err error
	if f.Found, err = h.read("/proc/sys/" + sysctl); err != nil {
		return unreadable(f, err)
	}
	if n, err := strconv.Atoi(f.Found); err != nil || n < want {
		name := strings.ReplaceAll(sysctl, "/", ".")
		f.Level, f.Why, f.Mend = Warn, why, fmt.Sprintf("sysctl -w %s=%d", name, want)
	}
	return f
}

func (h Host) ports() Finding {
	f := Finding{Check: "ephemeral ports", Level: OK}
	var err error
	if f.Found, err = h.read("/proc/sys/net/ipv4/ip_local_port_range"); err != nil {
		return unreadable(f, err)
	}
	var low, high int
	if _, err := fmt.Sscan(f.Found, &low, &high); err != nil {
		return unreadable(f, err)
	}
	if high-low < 50000 {
		f.Level = Warn
		f.Why = "load generated on this host runs out of ports per source address; servers are not concerned"
		f.Mend = `sysctl -w net.ipv4.ip_local_port_range="1024 65535"`
	}
	return f
}

func (h Host) clock() Finding {
	f := Finding{Check: "clock", Level: OK}
	var err error
	if f.Found, err = h.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"); err != nil {
		return unreadable(f, err)
	}
	switch f.Found {
	case "tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page":
	default:
		f.Level = Warn
		f.Why = "reading the time is a system call with this clock source, at every packet and event"
		f.Mend = "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"
	}
	return f
}

func (h Host) synchronized() Finding {
	f := Finding{Check: "clock's time", Level: OK, Found: "synchronized"}
	if !h.Synchronized {
		f.Level, f.Found = Warn, "nothing keeps it right"
		f.Why = "tokens begin and end by it, and the age of an event is the difference of two hosts' clocks"
		f.Mend = "timedatectl set-ntp true, or: apt-get install chrony"
	}
	return f
}

func (h Host) storage() Finding {
	f := Finding{Check: "storage", Level: OK, Found: h.Storage}
	switch h.Storage {
	case "memory":
		f.Why = "events are gone when weir ends: clients that resume are told recovered=false"
		f.Mend = "weir serve --data DIR"
	case "interval":
		f.Why = "a host that loses power loses events acknowledged since the last sync; a process that dies loses none"
		f.Mend = "bus.sync: always"
	}
	return f
}
