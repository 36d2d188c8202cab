package tuning

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"weir/tuning/ethtool"
	"weir/tuning/netdev"
)

// devices are the settings of this host's network devices, from the kernel's two families that have some.
type devices struct {
	ethtool *ethtool.Client
	netdev  *netdev.Client
}

func openDevices() (*devices, error) {
	e, err := ethtool.Open()
	if err != nil {
		return nil, err
	}
	n, err := netdev.Open()
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return &devices{e, n}, nil
}

// errNetwork says that files of devices are others' than those that the kernel is asked about.
var errNetwork = errors.New("it is of another network namespace than this process: enter it with its mounts, by ip netns exec or nsenter -m -n")

// sameDevice compares a device of sysfs with that of the network namespace: sysfs is of the one that it was mounted in, which
// nsenter -n leaves behind. A device that sysfs does not have is none that could be mistaken.
func sameDevice(sysfs, name string) error {
	file := filepath.Join(sysfs, name, "ifindex")
	text, err := os.ReadFile(file) //nolint:gosec // a device's
	if err != nil {
		return nil
	}
	ifc, failed := net.InterfaceByName(name)
	switch {
	case failed == nil && strconv.Itoa(ifc.Index) == strings.TrimSpace(string(text)):
		return nil
	case failed != nil && !strings.Contains(failed.Error(), "no such network interface"): // net has no error to compare with
		return fmt.Errorf("ask for device %s: %w", name, failed)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != string(text) { //nolint:gosec // as above
		return nil // it went, or came anew, meanwhile
	}
	return fmt.Errorf("%s: %w", filepath.Dir(file), errNetwork)
}

// All implements knob.Devices.
func (d *devices) All(device string) (map[string]string, error) {
	if err := sameDevice("/sys/class/net", device); err != nil {
		return nil, err
	}
	all, err := d.ethtool.All(device)
	if err != nil {
		return nil, err
	}
	instances, err := d.netdev.All(device)
	if err != nil {
		return nil, err
	}
	maps.Copy(all, instances)
	return all, nil
}

// Set implements knob.Devices.
func (d *devices) Set(device, field, value string) error {
	if netdev.Has(field) {
		return d.netdev.Set(device, field, value)
	}
	return d.ethtool.Set(device, field, value)
}

// Close lets go of the sockets.
func (d *devices) Close() error { return errors.Join(d.ethtool.Close(), d.netdev.Close()) }
