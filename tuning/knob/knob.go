package knob

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"weir/tuning/host"
)

// Knob names one thing that can be read and written. It is plain data, so that a journal can keep it.
type Knob struct {
	// Name is what people call it: net.core.somaxconn, eth0 rings/rx, /sys/….
	Name string `json:"name"`
	// Path is its file, as the host has it; "" for a setting of a device.
	Path string `json:"path,omitempty"`
	// Device and Field name a setting of a network device, the field as tuning/ethtool has it.
	Device string `json:"device,omitempty"`
	Field  string `json:"field,omitempty"`
	Form   Form   `json:"form"`
	// ThisBoot says that the name means something else after a reboot: a number of an interrupt.
	ThisBoot bool `json:"this_boot,omitempty"`
	// Namespaced says that it is of the network namespace of who reads it.
	Namespaced bool `json:"namespaced,omitempty"`
}

// Sysctl is the knob of a sysctl by its name with dots. Those below net are of the network namespace.
func Sysctl(name string, form Form) Knob {
	return Knob{
		Name: name, Path: "/proc/sys/" + strings.ReplaceAll(name, ".", "/"), Form: form,
		Namespaced: strings.HasPrefix(name, "net."),
	}
}

// File is the knob of a file of sysfs.
func File(file string, form Form) Knob { return Knob{Name: file, Path: file, Form: form} }

// Affinity is the knob of the CPUs that an interrupt may go to.
func Affinity(irq int) Knob {
	file := fmt.Sprintf("/proc/irq/%d/smp_affinity_list", irq)
	return Knob{Name: file, Path: file, Form: List, ThisBoot: true}
}

// Device is the knob of a setting of a network device.
func Device(device, field string) Knob {
	form := Number
	if strings.HasPrefix(field, "features/") || strings.HasPrefix(field, "rss/") {
		form = Word
	}
	return Knob{Name: device + " " + field, Device: device, Field: field, Form: form, Namespaced: true}
}

// Devices are the settings of network devices, by names such as rings/rx.
type Devices interface {
	// All are those that a device has. Its error wraps fs.ErrNotExist if there is no such device.
	All(device string) (map[string]string, error)
	Set(device, field, value string) error
}

// System is what knobs are turned on.
type System struct {
	Files   host.Files
	Devices Devices
}

// ErrAbsent says that the host has no such knob, ErrReadOnly that it has, and nobody may write it.
var (
	ErrAbsent   = errors.New("it is not there")
	ErrReadOnly = errors.New("it can only be read")
)

// Read is what the knob says, with all blanks and line ends.
func (s System) Read(k Knob) (string, error) {
	if k.Path != "" {
		text, err := s.Files.Read(k.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s: %w", k.Name, ErrAbsent)
		}
		if err != nil {
			return "", fmt.Errorf("read %s: %w", k.Name, err)
		}
		return string(text), nil
	}
	all, err := s.Devices.All(k.Device)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", k.Name, ErrAbsent)
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", k.Name, err)
	}
	value, ok := all[k.Field]
	if !ok {
		return "", fmt.Errorf("%s: %w", k.Name, ErrAbsent)
	}
	return value, nil
}

// Write gives the knob a value. What it says then has to be read: the kernel rounds, and a write that failed may
// have changed it.
func (s System) Write(k Knob, value string) error {
	var err error
	if k.Path != "" {
		err = s.Files.Write(k.Path, []byte(value))
	} else {
		err = s.Devices.Set(k.Device, k.Field, value)
	}
	if err != nil {
		return fmt.Errorf("write %q to %s: %w", strings.TrimSpace(value), k.Name, err)
	}
	return nil
}

// Restore writes what has the knob read raw again: raw itself, or the word of a choice, where one is shown.
func (s System) Restore(k Knob, raw string) error {
	if is, err := s.Read(k); k.Form == Choice && err == nil && strings.Contains(is, "[") {
		return s.Write(k, chosen(raw))
	}
	return s.Write(k, raw)
}

// CanWrite reports, without a write, why a knob cannot be written; nil if nothing is known against it. Root may
// write files whose mode lets nobody, but not those of /proc and /sys.
func (s System) CanWrite(k Knob, h *host.Host) error {
	if k.Path == "" {
		return nil
	}
	if h.ReadOnly(k.Path) {
		return fmt.Errorf("%w: it is on a read-only mount: set it from where /proc/sys and /sys can be written", ErrReadOnly)
	}
	mode, err := s.Files.Mode(k.Path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", k.Name, err)
	}
	if mode.Perm()&0o222 == 0 {
		return fmt.Errorf("%w: the kernel lets nobody write it here", ErrReadOnly)
	}
	return nil
}

// DryDevices are the settings of devices of a tree: a file each, /ethtool/DEVICE/GROUP/NAME.
type DryDevices struct{ Files host.Files }

// All implements [Devices].
func (d DryDevices) All(device string) (map[string]string, error) {
	dir := "/ethtool/" + device
	groups, err := d.Files.List(dir)
	if err != nil {
		return nil, fmt.Errorf("settings of %s: %w", device, err)
	}
	all := map[string]string{}
	for _, group := range groups {
		fields, err := d.Files.List(path.Join(dir, group))
		if err != nil {
			return nil, fmt.Errorf("settings of %s: %w", device, err)
		}
		for _, field := range fields {
			text, err := d.Files.Read(path.Join(dir, group, field))
			if err != nil {
				return nil, fmt.Errorf("settings of %s: %w", device, err)
			}
			all[group+"/"+field] = string(text)
		}
	}
	return all, nil
}

// Set implements [Devices].
func (d DryDevices) Set(device, field, value string) error {
	return d.Files.Write(path.Join("/ethtool", device, field), []byte(value))
}
