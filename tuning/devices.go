package tuning

import (
	"errors"
	"maps"

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

// All implements knob.Devices.
func (d *devices) All(device string) (map[string]string, error) {
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
