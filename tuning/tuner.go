package tuning

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

// Tuner plans, applies, verifies and rolls back the settings of one host. It is for one goroutine; two processes
// keep each other away by the journal's lock.
type Tuner struct {
	System knob.System
	// Journal keeps what was there before.
	Journal journal.Store
	// Now is the time as RFC 3339, noted in the journal.
	Now string
}

// look reads the host anew, with the settings of its devices.
func (t *Tuner) look() (*host.Host, error) {
	h, err := host.Read(t.System.Files)
	if err != nil {
		return nil, err
	}
	for i := range h.NICs {
		// A device without ethtool's settings has none to be set.
		all, err := t.System.Devices.All(h.NICs[i].Name)
		if errors.Is(err, errNetwork) {
			return nil, fmt.Errorf("look at the host: %w", err)
		}
		for name, value := range all {
			all[name] = strings.TrimSpace(value)
		}
		h.NICs[i].Settings = all
	}
	return h, nil
}

// Plan looks at the host and says what a profile would change on it. Nothing is written.
func (t *Tuner) Plan(wanted catalog.Wanted) (*Plan, error) {
	if err := wanted.Validate(); err != nil {
		return nil, err
	}
	h, err := t.look()
	if err != nil {
		return nil, err
	}
	for _, name := range wanted.Interfaces {
		if !hasNIC(h, name) {
			return nil, fmt.Errorf("interface %q: there is no such one: name one of: ls /sys/class/net", name)
		}
	}
	p := &Plan{Host: h, Profile: wanted.Profile, Conns: wanted.Conns, Items: []Item{}}
	in := catalog.Input{Host: h, Wanted: wanted}
	for _, s := range catalog.All() {
		if !s.Of(wanted.Profile) {
			continue
		}
		for _, target := range s.Targets(in) {
			p.Items = append(p.Items, t.item(h, s, target))
		}
	}
	p.overwritten()
	p.Capacity = capacityOf(p, in)
	return p, nil
}

func hasNIC(h *host.Host, name string) bool {
	for _, n := range h.NICs {
		if n.Name == name {
			return true
		}
	}
	return false
}

// item reads a target's knob and says what is to be done.
func (t *Tuner) item(h *host.Host, s catalog.Setting, target catalog.Target) Item {
	item := Item{Setting: s.Key, Knob: target.Knob, Want: target.Want, Scope: s.Scope, Reason: s.Reason, Risk: s.Risk, Check: s.Check, Measured: s.Measured, Command: target.Advice}
	if target.Knob.Path == "" && target.Knob.Device == "" { // nothing that could be read
		item.Status = Advice
		return item
	}
	raw, err := t.System.Read(target.Knob)
	item.raw, item.Is = raw, target.Knob.Form.Show(raw)
	switch {
	case errors.Is(err, knob.ErrAbsent):
		item.Status, item.Why = Absent, absence(h, s, target)
	case err != nil:
		item.Status, item.Why = Refused, err.Error()
	case target.Knob.Form.Same(target.Want, raw), target.Accept != nil && target.Accept(raw):
		item.Status = Same
	case target.Advice != "":
		item.Status = Advice
	case target.Refuse != "":
		item.Status, item.Why = Refused, target.Refuse
	default:
		item.Status = Change
		if why, denied := t.refusal(h, s, target.Knob, raw); why != "" {
			item.Status, item.Why, item.denied = Refused, why, denied
		}
	}
	return item
}

// absence is why a knob is not there.
func absence(h *host.Host, s catalog.Setting, target catalog.Target) string {
	if target.Knob.Namespaced && !h.InitialNetwork && (s.Scope == catalog.Global || s.Scope == catalog.HostNamespace) {
		return "it is the whole host's, and this is a network namespace of its own: set it in the initial one"
	}
	if major, minor, ok := strings.Cut(target.Since, "."); ok && !since(h, major, minor) {
		return "it came with Linux " + target.Since + ", and this is " + h.Kernel
	}
	if target.Knob.Device != "" {
		return "the device does not tell of it: it is down, or its driver has none"
	}
	return "Linux " + h.Kernel + " here does not have it"
}

// since reports whether the host's kernel is of a version or newer.
func since(h *host.Host, major, minor string) bool {
	a, err := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err == nil && err2 == nil && h.Since(a, b)
}

// refusal is why a knob that is there is not to be written, "" if nothing speaks against it; denied if it might be elsewhere.
func (t *Tuner) refusal(h *host.Host, s catalog.Setting, k knob.Knob, raw string) (why string, denied bool) {
	whole := s.Scope == catalog.Global || s.Scope == catalog.HostNamespace
	switch {
	case h.Container != "" && (whole || h.InitialNetwork):
		return fmt.Sprintf("it is the whole host's, and this is a container (%s: %s): set it on the host", h.Container, h.ContainerWhy), true
	case whole && !h.InitialNetwork:
		return "it is the whole host's, and this is a network namespace of its own: set it in the initial one", true
	}
	if err := t.System.CanWrite(k, h); err != nil {
		return err.Error(), h.ReadOnly(k.Path)
	}
	return unkept(raw), false
}

// Open makes a tuner of the host of a directory, or of this one for "". Close it when it is done with.
func Open(root, journalPath, now string) (*Tuner, io.Closer, error) {
	t := &Tuner{Journal: journal.At(journalPath), Now: now}
	if root == "" || root == "/" {
		devices, err := openDevices()
		if err != nil {
			return nil, nil, err
		}
		t.System = knob.System{Files: host.Live{}, Devices: devices}
		return t, devices, nil
	}
	tree, err := host.OpenTree(root)
	if err != nil {
		return nil, nil, err
	}
	t.System = knob.System{Files: tree, Devices: knob.DryDevices{Files: tree}}
	return t, tree, nil
}
