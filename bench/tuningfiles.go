package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"weir/bpf/netlab"
	"weir/tuning/ethtool"
	"weir/tuning/host"
	"weir/tuning/knob"
)

// hostFiles are the files of a host whose network is a lab's edge: what a network namespace has of its own, and may
// write, is the edge's; all else is the host's. They are for one goroutine.
type hostFiles struct {
	host.Files // the host's
	edge       *netlab.Namespace
	sysfs      *host.Tree      // the edge's
	ofEdge     map[string]bool // what was found out
}

const (
	netSysctls = "/proc/sys/net/"
	netDevices = "/sys/class/net"
)

// isEdges reports whether a file is the edge's.
func (f *hostFiles) isEdges(path string) bool {
	if !strings.HasPrefix(path, netSysctls) {
		return path == netDevices || strings.HasPrefix(path, netDevices+"/")
	}
	is, known := f.ofEdge[path]
	if !known {
		_ = f.edge.Do(func() error {
			mode, err := f.Files.Mode(path)
			is = err == nil && mode.Perm()&0o222 != 0
			return nil
		})
		f.ofEdge[path] = is
	}
	return is
}

// at runs do with the files that have the path, and with the path as they have it, in the network namespace that it
// is of.
func (f *hostFiles) at(path string, do func(files host.Files, path string) error) error {
	switch {
	case !f.isEdges(path):
		return do(f.Files, path)
	case strings.HasPrefix(path, netDevices):
		return do(f.sysfs, strings.TrimPrefix(path, "/sys"))
	default:
		return f.edge.Do(func() error { return do(f.Files, path) })
	}
}

// Read implements [host.Files].
func (f *hostFiles) Read(path string) (text []byte, err error) {
	err = f.at(path, func(files host.Files, path string) (err error) {
		text, err = files.Read(path)
		return err
	})
	return text, err
}

// Write implements [host.Files].
func (f *hostFiles) Write(path string, text []byte) error {
	return f.at(path, func(files host.Files, path string) error { return files.Write(path, text) })
}

// Mode implements [host.Files].
func (f *hostFiles) Mode(path string) (mode fs.FileMode, err error) {
	err = f.at(path, func(files host.Files, path string) (err error) {
		mode, err = files.Mode(path)
		return err
	})
	return mode, err
}

// List implements [host.Files].
func (f *hostFiles) List(dir string) (names []string, err error) {
	err = f.at(dir, func(files host.Files, dir string) (err error) {
		names, err = files.List(dir)
		return err
	})
	return names, err
}

// Link implements [host.Files].
func (f *hostFiles) Link(path string) (to string, err error) {
	err = f.at(path, func(files host.Files, path string) (err error) {
		to, err = files.Link(path)
		return err
	})
	return to, err
}

// tunable is what a lab's edge and its host are tuned by. Close it before the lab.
type tunable struct {
	knob.System
	files  *hostFiles
	client *ethtool.Client
}

// tunableOf opens that of a lab.
func tunableOf(l *Lab) (t *tunable, err error) {
	t = &tunable{}
	err = l.Edge.Do(func() (err error) { // what is opened stays of the edge's network
		sysfs, err := openSysfs()
		if err != nil {
			return err
		}
		t.files = &hostFiles{Files: host.Live{}, edge: l.Edge, sysfs: sysfs, ofEdge: map[string]bool{}}
		t.client, err = ethtool.Open()
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at the edge's network: %w", err), t.Close())
	}
	t.System = knob.System{Files: t.files, Devices: t.client}
	return t, nil
}

// Close closes what was opened.
func (t *tunable) Close() error {
	var errs []error
	if t.client != nil {
		errs = append(errs, t.client.Close())
	}
	if t.files != nil {
		errs = append(errs, t.files.sysfs.Close())
	}
	return errors.Join(errs...)
}

// sieve is a system of which only some knobs may be turned. The others can be read.
func sieve(s knob.System, known, may map[string]bool) knob.System {
	return knob.System{Files: sievedFiles{s.Files, may}, Devices: sievedDevices{s.Devices, known, may}}
}

type sievedFiles struct {
	host.Files
	may map[string]bool
}

// Mode lets nobody write the others.
func (f sievedFiles) Mode(path string) (fs.FileMode, error) {
	mode, err := f.Files.Mode(path)
	if !f.may[path] {
		mode &^= 0o222
	}
	return mode, err
}

// Write refuses the others, which a plan that asked for their mode does not come to.
func (f sievedFiles) Write(path string, text []byte) error {
	if !f.may[path] {
		return fmt.Errorf("%s: %w", path, knob.ErrReadOnly)
	}
	return f.Files.Write(path, text)
}

// sievedDevices leaves out known settings of devices, by path as deviceKey has it, but those that may be set.
type sievedDevices struct {
	knob.Devices
	known, may map[string]bool
}

func (d sievedDevices) All(device string) (map[string]string, error) {
	all, err := d.Devices.All(device)
	all = maps.Clone(all)
	maps.DeleteFunc(all, func(field, _ string) bool {
		key := deviceKey(device, field)
		return d.known[key] && !d.may[key]
	})
	return all, err
}

// deviceKey is where a sieve has a setting of a device; no file is there.
func deviceKey(device, field string) string { return device + " " + field }

// sieveKey is where it has a knob.
func sieveKey(k knob.Knob) string {
	if k.Path != "" {
		return k.Path
	}
	return deviceKey(k.Device, k.Field)
}
