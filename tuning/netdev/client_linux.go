package netdev

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"

	"weir/tuning/genl"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The family's names and numbers, which golang.org/x/sys does not have, see linux/netdev.h.
const (
	familyName = "netdev"
	cmdDevGet  = 1
	cmdNAPIGet = 11
	cmdNAPISet = 14

	devIndex            = 1
	devFeatures         = 3
	devZeroCopySegments = 4
	devMetadata         = 5

	napiIndex = 1
	napiID    = 2
)

// group begins the names of settings of an instance.
const group = "napi-"

// fields are the settings of an instance, by their attributes. All came with Linux 6.13.
func fields() map[string]uint16 {
	return map[string]uint16{"defer-hard-irqs": 5, "gro-flush-timeout": 6, "irq-suspend-timeout": 7}
}

// Client asks the kernel.
type Client struct {
	family *genl.Family
	// index is a device's number by its name: net.InterfaceByName but in tests.
	index func(name string) (uint32, error)
}

// Open makes a client. A kernel without the family (before Linux 6.3) has no settings: that is no error.
func Open() (*Client, error) {
	family, err := genl.Open(familyName)
	if err != nil {
		return nil, err
	}
	return &Client{family, indexOf}, nil
}

func indexOf(name string) (uint32, error) {
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w: %w", name, fs.ErrNotExist, err)
	}
	return uint32(ifc.Index), nil //nolint:gosec // an index is positive
}

// Close lets go of the socket.
func (c *Client) Close() error { return c.family.Close() }

// Device is what a device can do with XDP. The error wraps fs.ErrNotExist if there is no such device, and
// errors.ErrUnsupported if the kernel does not say (before Linux 6.3).
func (c *Client) Device(name string) (d Device, err error) {
	if err := c.family.Require("6.3"); err != nil {
		return d, fmt.Errorf("ask what %s can do with XDP: %w", name, err)
	}
	index, err := c.index(name)
	if err != nil {
		return d, err
	}
	answer, err := c.family.Execute(cmdDevGet, netlink.Request, func(ae *netlink.AttributeEncoder) { ae.Uint32(devIndex, index) })
	if err == nil {
		err = each(answer, func(attr uint16, n uint64) {
			switch attr {
			case devFeatures:
				d.Features = Features(n)
			case devZeroCopySegments:
				d.ZeroCopySegments = uint32(n) //nolint:gosec // the kernel's is of 32 bits
			case devMetadata:
				d.Metadata = Metadata(n)
			}
		}, func() {})
	}
	if err != nil {
		return d, fmt.Errorf("ask what %s can do with XDP: %w", name, err)
	}
	return d, nil
}

// instance is a NAPI instance of a device.
type instance struct {
	id       uint32
	settings map[uint16]uint64
}

// instances are those of a device by id: none of one that is down.
func (c *Client) instances(name string) (all []instance, err error) {
	index, err := c.index(name)
	if err != nil {
		return nil, err
	}
	answer, err := c.family.Execute(cmdNAPIGet, netlink.Request|netlink.Dump, func(ae *netlink.AttributeEncoder) { ae.Uint32(napiIndex, index) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil, nil // the kernel has no such question: before Linux 6.8
	}
	if err != nil {
		return nil, fmt.Errorf("NAPI instances of %s: %w", name, err)
	}
	one, of := instance{settings: map[uint16]uint64{}}, uint32(0)
	err = each(answer, func(attr uint16, n uint64) {
		switch attr {
		case napiIndex:
			of = uint32(n) //nolint:gosec // the kernel's is of 32 bits
		case napiID:
			one.id = uint32(n) //nolint:gosec // the kernel's is of 32 bits
		default:
			one.settings[attr] = n
		}
	}, func() {
		if of == index {
			all = append(all, one)
		}
		one, of = instance{settings: map[uint16]uint64{}}, 0
	})
	if err != nil {
		return nil, fmt.Errorf("NAPI instances of %s: %w", name, err)
	}
	slices.SortFunc(all, func(a, b instance) int { return cmp.Compare(a.id, b.id) })
	return all, nil
}

// All are the settings of a device's NAPI instances that the kernel tells. The error wraps fs.ErrNotExist if there is no such
// device.
func (c *Client) All(device string) (map[string]string, error) {
	all := map[string]string{}
	if !c.family.Known() {
		return all, nil
	}
	instances, err := c.instances(device)
	if err != nil {
		return nil, err
	}
	for i, one := range instances {
		for name, attr := range fields() {
			if n, ok := one.settings[attr]; ok {
				all[fmt.Sprintf("%s%d/%s", group, i, name)] = strconv.FormatUint(n, 10)
			}
		}
	}
	return all, nil
}

// Has reports whether a name is of a setting of this package.
func Has(name string) bool { return strings.HasPrefix(name, group) }

// Set sets one.
func (c *Client) Set(device, name, value string) error {
	if err := c.family.Require("6.13"); err != nil {
		return fmt.Errorf("set %s of %s: %w", name, device, err)
	}
	number, field, _ := strings.Cut(strings.TrimPrefix(name, group), "/")
	at, err := strconv.Atoi(number)
	attr, known := fields()[field]
	if err != nil || !known || !Has(name) {
		return fmt.Errorf("set %s of %s: there is no such setting", name, device)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
	if err != nil || attr == fields()["defer-hard-irqs"] && n > 1<<31-1 {
		return fmt.Errorf("set %s of %s to %q: want a number that fits: %w", name, device, value, err)
	}
	all, err := c.instances(device)
	if err != nil {
		return fmt.Errorf("set %s of %s: %w", name, device, err)
	}
	if at < 0 || at >= len(all) {
		return fmt.Errorf("set %s of %s: it has %d NAPI instances: %w", name, device, len(all), fs.ErrNotExist)
	}
	_, err = c.family.Execute(cmdNAPISet, netlink.Request|netlink.Acknowledge, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(napiID, all[at].id)
		if n > 1<<32-1 {
			ae.Uint64(attr, n)
		} else {
			ae.Uint32(attr, uint32(n)) // of a type that the kernel takes in either length
		}
	})
	if err != nil {
		return fmt.Errorf("set %s of %s: %w", name, device, err)
	}
	return nil
}

// each calls f for the numbers of each message, then end. Other attributes are passed over.
func each(answer []genetlink.Message, f func(attr uint16, n uint64), end func()) error {
	for _, m := range answer {
		ad, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return err
		}
		for ad.Next() {
			switch len(ad.Bytes()) {
			case 4:
				f(ad.Type(), uint64(ad.Uint32()))
			case 8:
				f(ad.Type(), ad.Uint64())
			}
		}
		if err := ad.Err(); err != nil {
			return err
		}
		end()
	}
	return nil
}
