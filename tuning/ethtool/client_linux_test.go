package ethtool

import (
	"errors"
	"io/fs"
	"maps"
	"testing"

	"weir/tuning/genl/genltest"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernel is a device as the kernel's ethtool family has it.
type kernel struct {
	t *testing.T
	// numbers are by group and attribute.
	numbers map[string]map[uint16]uint32
	// features are active or not; fixed ones never change.
	features map[string]bool
	fixed    string
	// table and key are of receive-side scaling; a device without has no table.
	table, key []byte
	// sets counts orders.
	sets int
}

func (k *kernel) serve(m genetlink.Message, req netlink.Message) ([]genetlink.Message, error) {
	ad, err := netlink.NewAttributeDecoder(m.Data)
	if err != nil {
		return nil, err
	}
	device := ""
	numbers := map[uint16]uint32{}
	for first := true; ad.Next(); first = false {
		if first { // all messages begin with their header, which has number 1
			ad.Nested(func(h *netlink.AttributeDecoder) error {
				for h.Next() {
					if h.Type() == unix.ETHTOOL_A_HEADER_DEV_NAME {
						device = h.String()
					}
				}
				return nil
			})
			continue
		}
		switch {
		case m.Header.Command == unix.ETHTOOL_MSG_FEATURES_SET:
			ad.Nested(k.setFeatures)
		case m.Header.Command == rssSet:
			if ad.Type() == rssTable {
				k.table = ad.Bytes()
				k.sets++
			}
		case len(ad.Bytes()) == 1:
			numbers[ad.Type()] = uint32(ad.Uint8())
		default:
			numbers[ad.Type()] = ad.Uint32()
		}
	}
	if err := ad.Err(); err != nil {
		return nil, err
	}
	if device != "eth0" {
		return nil, genltest.Error(unix.ENODEV)
	}
	get := req.Header.Flags&netlink.Acknowledge == 0
	for _, g := range groups() {
		if m.Header.Command != g.get && m.Header.Command != g.set {
			continue
		}
		if k.numbers[g.name] == nil {
			return nil, genltest.Error(unix.EOPNOTSUPP)
		}
		if get != (m.Header.Command == g.get) {
			k.t.Errorf("%s: a get with an acknowledgment, or a set without", g.name)
		}
		if !get {
			k.sets++
			maps.Copy(k.numbers[g.name], numbers)
			return nil, genltest.Error(0)
		}
		return []genetlink.Message{k.answer(g)}, nil
	}
	switch m.Header.Command {
	case unix.ETHTOOL_MSG_FEATURES_GET:
		return []genetlink.Message{k.answerFeatures()}, nil
	case unix.ETHTOOL_MSG_RSS_GET:
		if k.table == nil {
			return nil, genltest.Error(unix.EINVAL) // as some drivers say it
		}
		return []genetlink.Message{k.answerRSS()}, nil
	}
	return nil, genltest.Error(0)
}

func (k *kernel) setFeatures(set *netlink.AttributeDecoder) error {
	k.sets++
	for set.Next() {
		set.Nested(func(bits *netlink.AttributeDecoder) error {
			for bits.Next() {
				bits.Nested(func(bit *netlink.AttributeDecoder) error {
					name, on := "", false
					for bit.Next() {
						if bit.Type() == unix.ETHTOOL_A_BITSET_BIT_NAME {
							name = bit.String()
						} else {
							on = true
						}
					}
					k.features[name] = on
					return nil
				})
			}
			return nil
		})
	}
	return nil
}

func (k *kernel) answer(g group) genetlink.Message {
	return genltest.Message(k.t, func(ae *netlink.AttributeEncoder) {
		for attr, n := range k.numbers[g.name] {
			one := false
			for _, f := range g.fields {
				one = one || f.attr == attr && f.byte
			}
			if one {
				ae.Uint8(attr, uint8(n))
			} else {
				ae.Uint32(attr, n)
			}
		}
	})
}

func (k *kernel) answerRSS() genetlink.Message {
	return genltest.Message(k.t, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(3, 1) // a function
		ae.Bytes(rssTable, k.table)
		ae.Bytes(rssKey, k.key)
	})
}

func (k *kernel) answerFeatures() genetlink.Message {
	names := func(all map[string]bool) func(*netlink.AttributeEncoder) error {
		return func(set *netlink.AttributeEncoder) error {
			set.Flag(unix.ETHTOOL_A_BITSET_NOMASK, true)
			set.Nested(unix.ETHTOOL_A_BITSET_BITS, func(bits *netlink.AttributeEncoder) error {
				for name, on := range all {
					if !on {
						continue
					}
					bits.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit *netlink.AttributeEncoder) error {
						bit.Uint32(unix.ETHTOOL_A_BITSET_BIT_INDEX, 7)
						bit.String(unix.ETHTOOL_A_BITSET_BIT_NAME, name)
						return nil
					})
				}
				return nil
			})
			return nil
		}
	}
	hardware := map[string]bool{}
	for name := range k.features {
		hardware[name] = true
	}
	return genltest.Message(k.t, func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.ETHTOOL_A_FEATURES_HW, names(hardware))
		ae.Nested(unix.ETHTOOL_A_FEATURES_ACTIVE, names(k.features))
		ae.Nested(unix.ETHTOOL_A_FEATURES_NOCHANGE, names(map[string]bool{k.fixed: true}))
	})
}

// device is a client of a kernel with one device, eth0.
func device(t *testing.T) (*Client, *kernel) {
	t.Helper()
	k := &kernel{
		t: t, fixed: "highdma",
		numbers: map[string]map[uint16]uint32{
			"rings":    {unix.ETHTOOL_A_RINGS_RX: 256, unix.ETHTOOL_A_RINGS_RX_MAX: 4096, unix.ETHTOOL_A_RINGS_TX: 128, unix.ETHTOOL_A_RINGS_TX_MAX: 4096},
			"coalesce": {unix.ETHTOOL_A_COALESCE_RX_USECS: 50, unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_RX: 0},
		},
		features: map[string]bool{"rx-gro": true, "rx-lro": false, "highdma": true},
	}
	return &Client{genltest.Family(t, unix.ETHTOOL_GENL_NAME, k.serve)}, k
}

func TestSettingsOfADevice(t *testing.T) {
	c, k := device(t)
	want := map[string]string{
		"rings/rx": "256", "rings/rx-max": "4096", "rings/tx": "128", "rings/tx-max": "4096",
		"coalesce/rx-usecs": "50", "coalesce/adaptive-rx": "0", "features/rx-gro": "on", "features/rx-lro": "off",
	}
	all, err := c.All("eth0")
	if err != nil || !maps.Equal(all, want) {
		t.Fatalf("%v, %v", all, err)
	}
	for name, value := range map[string]string{"rings/rx": "1024\n", "coalesce/adaptive-rx": "1", "features/rx-gro": "off", "features/rx-lro": "on"} {
		if err := c.Set("eth0", name, value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want["rings/rx"], want["coalesce/adaptive-rx"], want["features/rx-gro"], want["features/rx-lro"] = "1024", "1", "off", "on"
	if all, err = c.All("eth0"); err != nil || !maps.Equal(all, want) || k.sets != 4 {
		t.Errorf("%v, %d sets, %v", all, k.sets, err)
	}
}

func TestTheSpreadOverQueues(t *testing.T) {
	c, k := device(t)
	if all, err := c.All("eth0"); err != nil || all["rss/table"] != "" || all["rss/key"] != "" {
		t.Errorf("a device without: %v, %v", all, err)
	}
	k.table = []byte{0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}
	k.key = []byte{0x6d, 0x5a, 0x56, 0xda}
	all, err := c.All("eth0")
	if err != nil || all["rss/table"] != "4: 0-1" || all["rss/key"] != "published" {
		t.Errorf("%v, %v", all, err)
	}
	k.key = []byte{1, 2, 3, 4}
	if err := c.Set("eth0", "rss/table", "4: 0-2,1\n"); err != nil || k.sets != 1 {
		t.Errorf("%d sets, %v", k.sets, err)
	}
	if all, err := c.All("eth0"); err != nil || all["rss/table"] != "4: 0-2,1" || all["rss/key"] != "own" {
		t.Errorf("%v, %v", all, err)
	}
	for name, value := range map[string]string{"rss/key": "own", "rss/table": "4: 0-", "rss/none": "1"} {
		if err := c.Set("eth0", name, value); err == nil || k.sets != 1 {
			t.Errorf("%s was set to %s", name, value)
		}
	}
	for _, key := range [][]byte{{}, {0, 0, 0, 0}, {0x6d, 0x5a, 0x6d, 0x5a}, {7, 9, 7, 9}} {
		if got := keyKind(key); got != "published" {
			t.Errorf("%x is %s", key, got)
		}
	}
}

// TestChannelsOfADevice reads and sets how many queues there are, which weir tune only advises: interrupts are others then.
func TestChannelsOfADevice(t *testing.T) {
	c, k := device(t)
	k.numbers["channels"] = map[uint16]uint32{unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT: 2, unix.ETHTOOL_A_CHANNELS_COMBINED_MAX: 8}
	if all, err := c.All("eth0"); err != nil || all["channels/combined"] != "2" || all["channels/combined-max"] != "8" {
		t.Errorf("%v, %v", all, err)
	}
	if err := c.Set("eth0", "channels/combined", "4"); err != nil || k.numbers["channels"][unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT] != 4 {
		t.Errorf("%v, %v", k.numbers["channels"], err)
	}
}

func TestWhatADeviceRefuses(t *testing.T) {
	c, k := device(t)
	if _, err := c.All("eth1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
	for name, value := range map[string]string{
		"rings/rx-max": "1", "rings/none": "1", "none/rx": "1", "rings/rx": "many", "coalesce/adaptive-rx": "256", "features/rx-gro": "1", "channels/combined": "2",
	} {
		if err := c.Set("eth0", name, value); err == nil {
			t.Errorf("%s was set to %s", name, value)
		}
	}
	if k.sets != 0 {
		t.Errorf("%d were set", k.sets)
	}
	if err := c.Set("eth1", "rings/rx", "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
}

func TestAKernelWithoutTheFamilyHasNoSettings(t *testing.T) {
	c := &Client{genltest.Older(t, unix.ETHTOOL_GENL_NAME)}
	if all, err := c.All("eth0"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	err := c.Set("eth0", "rings/rx", "1")
	if !errors.Is(err, errors.ErrUnsupported) || err.Error() != "set rings/rx of eth0: unsupported operation: Linux 5.6 or newer is needed" {
		t.Error(err)
	}
}
