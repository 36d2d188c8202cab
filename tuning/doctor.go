// Package tuning looks at the host that weir runs on and says what to mend. It reads the
// kernel's files behind a root directory, so that it can be tested on trees that no machine
// here has.
package tuning

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"weir/tuning/catalog"
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
	// Clock is how right the host's clock is, see [ReadClock].
	Clock Clock
}

// Examine looks at all and returns a finding each, in a fixed order.
func (h Host) Examine() []Finding {
	return []Finding{h.kernel(), h.privileges(), h.iface(), h.descriptors(), h.clocksource(), h.synchronized(), h.storage()}
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

// kernel says which it is. What it can do is probed, and a finding of its own: a version does not tell.
func (h Host) kernel() Finding {
	f := Finding{Check: "kernel", Level: OK}
	var err error
	if f.Found, err = h.read("/proc/sys/kernel/osrelease"); err != nil {
		return unreadable(f, err)
	}
	return f
}

func unreadable(f Finding, err error) Finding {
	f.Level, f.Why = Warn, "it cannot be read: "+err.Error()
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
	}
	return f
}

// descriptors holds the limit against the conns that are wanted, and what else needs some.
func (h Host) descriptors() Finding {
	room := catalog.ConnsWithin(int64(h.Descriptors))
	f := Finding{Check: "descriptors", Level: OK, Found: fmt.Sprintf("%d: room for %d connections, of which %d are wanted", h.Descriptors, room, h.MaxConns)}
	want := catalog.Descriptors(h.MaxConns)
	f.Mend = fmt.Sprintf("ulimit -n %d, or LimitNOFILE=%d in the unit", want, want)
	switch {
	case h.Descriptors < h.MaxConns:
		f.Level = Fail
		f.Why = fmt.Sprintf("edge.max_conns is %d: connections past the limit get 503", h.MaxConns)
	case room < int64(h.MaxConns):
		f.Level = Warn
		f.Why = "files of the bus, the admin page and upstreams need some too: with all connections there, these fail first"
	default:
		f.Mend = ""
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
