package queues

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Sample is what the kernel had counted at one moment.
type Sample struct {
	At        time.Time
	Interface string
	// Index is the interface's number: a new one of the same name has another. 0 if not known.
	Index int
	// Driver is the name that ethtool -i shows, "" if not known.
	Driver string
	// Link are the kernel's counters of the interface, by their names in
	// /sys/class/net/*/statistics. Counters are its driver's, by their names in ethtool -S.
	Link, Counters map[string]uint64
	// CPUs are those online, by number.
	CPUs map[int]CPU
	// Missing names what this host does not have or show.
	Missing []string
}

// CPU is one CPU's counters. Those of softnet_stat and softirqs are 32 bits wide, and wrap.
type CPU struct {
	// Processed packets, those Dropped because the backlog was full, and how often the softirq
	// had to stop with work left: /proc/net/softnet_stat.
	Processed, Dropped, Squeezed uint32
	// Softirq and Total are ticks of 1/100 s: /proc/stat. Total is without what a hypervisor took.
	Softirq, Total uint64
	// NetRX is how often the receive softirq ran: /proc/softirqs.
	NetRX uint32
}

// linkCounters are those read of an interface.
func linkCounters() []string {
	return []string{
		"rx_packets", "rx_bytes", "rx_errors", "rx_dropped", "tx_dropped",
		"rx_over_errors", "rx_fifo_errors", "rx_missed_errors",
	}
}

// Source is where samples are read. The zero value reads the files of /proc and /sys alone; see
// [Kernel].
type Source struct {
	// Root is where proc and sys are, "" for the real ones.
	Root string
	// Link reads an interface's number and its counters; nil reads sys below Root.
	Link func(iface string) (index int, counters map[string]uint64, err error)
	// Driver reads the name of the driver and its counters; nil reads none. An error that wraps
	// [errors.ErrUnsupported] says that there are none.
	Driver func(iface string) (driver string, counters map[string]uint64, err error)
}

// Kernel is this host, and the network namespace of the calling thread. The interface is read by
// rtnetlink: /sys shows the namespace it was mounted in, so its eth0 may be another than that of
// which ethtool's ioctl tells.
func Kernel() Source { return Source{Link: linkOf, Driver: driverOf} }

// Read samples an interface. A root of "" is [Kernel]; any other a tree of files, without the
// driver's counters.
func Read(root, iface string, now time.Time) (Sample, error) {
	if root == "" {
		return Kernel().Read(iface, now)
	}
	return Source{Root: root}.Read(iface, now)
}

// Read samples an interface. What a host may lack is named in Missing; an interface that does not
// exist and a file that cannot be understood are errors.
func (s Source) Read(iface string, now time.Time) (Sample, error) {
	out := Sample{At: now, Interface: iface, CPUs: map[int]CPU{}}
	if iface == "" || iface == "." || iface == ".." || strings.Contains(iface, "/") {
		return out, fmt.Errorf("read the counters of %q: that names no interface: take one of: ip link", iface)
	}
	link := s.Link
	if link == nil {
		link = s.sysfs
	}
	var err error
	if out.Index, out.Link, err = link(iface); err != nil {
		return out, fmt.Errorf("read the counters of %s: %w", iface, err)
	}
	for _, name := range linkCounters() {
		if _, ok := out.Link[name]; !ok {
			out.Missing = append(out.Missing, name)
		}
	}
	if err := s.driver(&out); err != nil {
		return out, err
	}
	for _, file := range []struct {
		path  string
		parse func(text string, cpus map[int]CPU) error
	}{
		{"/proc/net/softnet_stat", parseSoftnet},
		{"/proc/stat", parseStat},
		{"/proc/softirqs", parseSoftirqs},
	} {
		path := filepath.Join(s.Root, file.path)
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			out.Missing = append(out.Missing, file.path)
			continue
		}
		if err == nil {
			err = file.parse(string(b), out.CPUs)
		}
		if err != nil {
			return out, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return out, nil
}

func (s Source) driver(out *Sample) error {
	err := errors.ErrUnsupported
	if s.Driver != nil {
		out.Driver, out.Counters, err = s.Driver(out.Interface)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		out.Missing = append(out.Missing, "ethtool -S "+out.Interface)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("read the driver's counters of %s: %w", out.Interface, err)
	}
	if out.Driver == "" { // a link to the driver; devices without hardware have none
		if to, err := os.Readlink(filepath.Join(s.Root, "/sys/class/net", out.Interface, "device/driver")); err == nil {
			out.Driver = filepath.Base(to)
		}
	}
	return nil
}

// sysfs reads an interface's files. Counters may be missing, the interface may not.
func (s Source) sysfs(iface string) (int, map[string]uint64, error) {
	dir := filepath.Join(s.Root, "/sys/class/net", iface)
	if _, err := os.Stat(dir); err != nil {
		return 0, nil, fmt.Errorf("there is no such interface: take one of: ls %s: %w", filepath.Dir(dir), err)
	}
	index, _, err := number(filepath.Join(dir, "ifindex"))
	if err != nil {
		return 0, nil, err
	}
	counters := map[string]uint64{}
	for _, name := range linkCounters() {
		n, ok, err := number(filepath.Join(dir, "statistics", name))
		if err != nil {
			return 0, nil, err
		}
		if ok {
			counters[name] = n
		}
	}
	return int(index), counters, nil //nolint:gosec // the kernel's are 31 bits
}

// number reads a file that holds one; false if there is none.
func number(path string) (uint64, bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", path, err)
	}
	return n, true, nil
}
