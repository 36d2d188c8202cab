package ethtool

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strconv"
	"strings"

	"weir/tuning/genl"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// field is a number of a group of settings.
type field struct {
	name string
	attr uint16
	// byte says that it is one byte and not four; fixed that it can only be read.
	byte, fixed bool
}

// group is what one message of the family carries.
type group struct {
	name     string
	get, set uint8
	header   uint16
	fields   []field
}

// groups are those of numbers; names and attributes are those of linux/ethtool_netlink_generated.h.
func groups() []group {
	return []group{
		{"rings", unix.ETHTOOL_MSG_RINGS_GET, unix.ETHTOOL_MSG_RINGS_SET, unix.ETHTOOL_A_RINGS_HEADER, []field{
			{name: "rx", attr: unix.ETHTOOL_A_RINGS_RX},
			{name: "rx-max", attr: unix.ETHTOOL_A_RINGS_RX_MAX, fixed: true},
			{name: "tx", attr: unix.ETHTOOL_A_RINGS_TX},
			{name: "tx-max", attr: unix.ETHTOOL_A_RINGS_TX_MAX, fixed: true},
		}},
		{"channels", unix.ETHTOOL_MSG_CHANNELS_GET, unix.ETHTOOL_MSG_CHANNELS_SET, unix.ETHTOOL_A_CHANNELS_HEADER, []field{
			{name: "combined", attr: unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT},
			{name: "combined-max", attr: unix.ETHTOOL_A_CHANNELS_COMBINED_MAX, fixed: true},
			{name: "rx", attr: unix.ETHTOOL_A_CHANNELS_RX_COUNT},
			{name: "rx-max", attr: unix.ETHTOOL_A_CHANNELS_RX_MAX, fixed: true},
			{name: "tx", attr: unix.ETHTOOL_A_CHANNELS_TX_COUNT},
			{name: "tx-max", attr: unix.ETHTOOL_A_CHANNELS_TX_MAX, fixed: true},
		}},
		{"coalesce", unix.ETHTOOL_MSG_COALESCE_GET, unix.ETHTOOL_MSG_COALESCE_SET, unix.ETHTOOL_A_COALESCE_HEADER, []field{
			{name: "rx-usecs", attr: unix.ETHTOOL_A_COALESCE_RX_USECS},
			{name: "rx-frames", attr: unix.ETHTOOL_A_COALESCE_RX_MAX_FRAMES},
			{name: "tx-usecs", attr: unix.ETHTOOL_A_COALESCE_TX_USECS},
			{name: "tx-frames", attr: unix.ETHTOOL_A_COALESCE_TX_MAX_FRAMES},
			{name: "adaptive-rx", attr: unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_RX, byte: true},
			{name: "adaptive-tx", attr: unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_TX, byte: true},
		}},
	}
}

const (
	features  = "features"
	omitReply = 2 // ETHTOOL_FLAG_OMIT_REPLY: the acknowledgment is enough
)

// Client asks the kernel.
type Client struct{ family *genl.Family }

// Open makes a client. A kernel without the family (before Linux 5.6) has no settings: that is no error.
func Open() (*Client, error) {
	family, err := genl.Open(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return nil, err
	}
	return &Client{family}, nil
}

// Close lets go of the socket.
func (c *Client) Close() error { return c.family.Close() }

// All are the settings of a device. The error wraps fs.ErrNotExist if there is no such device.
func (c *Client) All(device string) (map[string]string, error) {
	all := map[string]string{}
	if !c.family.Known() {
		return all, nil
	}
	for _, g := range groups() {
		answer, err := c.ask(device, g.get, g.header)
		if errors.Is(err, unix.EOPNOTSUPP) {
			continue
		}
		if err == nil {
			err = g.decode(answer, all)
		}
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", g.name, device, err)
		}
	}
	// A device without has many ways to say so, and one that is down some more: it has none, then. So has Linux before 6.3.
	if answer, err := c.ask(device, unix.ETHTOOL_MSG_RSS_GET, rssHeader); err == nil {
		if err := decodeRSS(answer, all); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", rss, device, err)
		}
	}
	answer, err := c.ask(device, unix.ETHTOOL_MSG_FEATURES_GET, unix.ETHTOOL_A_FEATURES_HEADER)
	if err == nil {
		err = decodeFeatures(answer, all)
	}
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("%s of %s: %w", features, device, err)
	}
	return all, nil
}

// Set sets one. What the device made of it is to be read: it may round, or keep a feature off.
func (c *Client) Set(device, name, value string) error {
	groupName, fieldName, _ := strings.Cut(name, "/")
	if err := c.family.Require("5.6"); err != nil {
		return fmt.Errorf("set %s of %s: %w", name, device, err)
	}
	switch {
	case groupName == features:
		return c.setFeature(device, fieldName, strings.TrimSpace(value))
	case name == rss+"/table":
		return c.setTable(device, value)
	}
	for _, g := range groups() {
		for _, f := range g.fields {
			if g.name == groupName && f.name == fieldName && !f.fixed {
				return c.setNumber(device, g, f, strings.TrimSpace(value))
			}
		}
	}
	return fmt.Errorf("set %s of %s: there is no such setting", name, device)
}

func (c *Client) setNumber(device string, g group, f field, value string) error {
	bits := 32
	if f.byte {
		bits = 8
	}
	n, err := strconv.ParseUint(value, 10, bits)
	if err != nil {
		return fmt.Errorf("set %s/%s of %s to %q: want a number: %w", g.name, f.name, device, value, err)
	}
	err = c.tell(device, g.set, g.header, func(ae *netlink.AttributeEncoder) {
		if f.byte {
			ae.Uint8(f.attr, uint8(n))
		} else {
			ae.Uint32(f.attr, uint32(n))
		}
	})
	if err != nil {
		return fmt.Errorf("set %s/%s of %s: %w", g.name, f.name, device, err)
	}
	return nil
}

func (c *Client) setFeature(device, feature, value string) error {
	if value != "on" && value != "off" {
		return fmt.Errorf("set feature %s of %s to %q: want on or off", feature, device, value)
	}
	err := c.tell(device, unix.ETHTOOL_MSG_FEATURES_SET, unix.ETHTOOL_A_FEATURES_HEADER, func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.ETHTOOL_A_FEATURES_WANTED, func(set *netlink.AttributeEncoder) error {
			set.Nested(unix.ETHTOOL_A_BITSET_BITS, func(bits *netlink.AttributeEncoder) error {
				bits.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit *netlink.AttributeEncoder) error {
					bit.String(unix.ETHTOOL_A_BITSET_BIT_NAME, feature)
					bit.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, value == "on")
					return nil
				})
				return nil
			})
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("set feature %s of %s: %w", feature, device, err)
	}
	return nil
}

// request encodes one about a device.
func request(device string, header uint16, flags uint32, more func(*netlink.AttributeEncoder)) func(*netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		ae.Nested(header, func(h *netlink.AttributeEncoder) error {
			h.String(unix.ETHTOOL_A_HEADER_DEV_NAME, device)
			if flags != 0 {
				h.Uint32(unix.ETHTOOL_A_HEADER_FLAGS, flags)
			}
			return nil
		})
		if more != nil {
			more(ae)
		}
	}
}

// ask sends a question, which must not ask for an acknowledgment too: it would be taken for the answer to the next.
func (c *Client) ask(device string, command uint8, header uint16) ([]genetlink.Message, error) {
	answer, err := c.family.Execute(command, netlink.Request, request(device, header, 0, nil))
	return answer, deviceError(err)
}

// tell sends an order and waits for the acknowledgment.
func (c *Client) tell(device string, command uint8, header uint16, more func(*netlink.AttributeEncoder)) error {
	_, err := c.family.Execute(command, netlink.Request|netlink.Acknowledge, request(device, header, omitReply, more))
	return deviceError(err)
}

func deviceError(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// decode adds the group's numbers of an answer.
func (g group) decode(answer []genetlink.Message, all map[string]string) error {
	for _, m := range answer {
		ad, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return err
		}
		for ad.Next() {
			for _, f := range g.fields {
				switch {
				case f.attr != ad.Type():
				case f.byte:
					all[g.name+"/"+f.name] = strconv.Itoa(int(ad.Uint8()))
				default:
					all[g.name+"/"+f.name] = strconv.FormatUint(uint64(ad.Uint32()), 10)
				}
			}
		}
		if err := ad.Err(); err != nil {
			return err
		}
	}
	return nil
}

// decodeFeatures adds features that can be switched: those of the device's hardware set, which are on if they are
// active too, and can be if the kernel does not say that they never change.
func decodeFeatures(answer []genetlink.Message, all map[string]string) error {
	sets := map[uint16]map[string]bool{}
	for _, m := range answer {
		ad, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return err
		}
		for ad.Next() {
			kind := ad.Type()
			if kind < unix.ETHTOOL_A_FEATURES_HW || kind > unix.ETHTOOL_A_FEATURES_NOCHANGE {
				continue
			}
			names := map[string]bool{}
			ad.Nested(func(set *netlink.AttributeDecoder) error { return bitNames(set, names) })
			sets[kind] = names
		}
		if err := ad.Err(); err != nil {
			return err
		}
	}
	for name := range maps.Keys(sets[unix.ETHTOOL_A_FEATURES_HW]) {
		if sets[unix.ETHTOOL_A_FEATURES_NOCHANGE][name] {
			continue
		}
		all[features+"/"+name] = "off"
		if sets[unix.ETHTOOL_A_FEATURES_ACTIVE][name] {
			all[features+"/"+name] = "on"
		}
	}
	return nil
}

// bitNames adds the names of bits that are set. A set without a mask lists those alone; one with a mask says of
// each bit whether it is.
func bitNames(set *netlink.AttributeDecoder, names map[string]bool) error {
	plain := false
	valued := map[string]bool{}
	for set.Next() {
		switch set.Type() {
		case unix.ETHTOOL_A_BITSET_NOMASK:
			plain = true
		case unix.ETHTOOL_A_BITSET_BITS:
			set.Nested(func(bits *netlink.AttributeDecoder) error {
				for bits.Next() {
					bits.Nested(func(bit *netlink.AttributeDecoder) error {
						name, value := "", false
						for bit.Next() {
							switch bit.Type() {
							case unix.ETHTOOL_A_BITSET_BIT_NAME:
								name = bit.String()
							case unix.ETHTOOL_A_BITSET_BIT_VALUE:
								value = true
							}
						}
						valued[name] = value
						return nil
					})
				}
				return nil
			})
		}
	}
	for name, value := range valued {
		if name != "" && (plain || value) {
			names[name] = true
		}
	}
	return nil
}
