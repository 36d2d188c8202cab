package netdev

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

// kernel is the kernel's netdev family, with eth0 of index 7.
type kernel struct {
	t      *testing.T
	device map[uint16]uint64
	// napi are the settings of instances by id, of eth0 and of another device.
	napi map[uint32]map[uint16]uint64
	// old: it has no question about instances, and no order to set.
	old  bool
	sets int
}

// long are the attributes of 8 bytes.
func long(attr uint16, n uint64) bool {
	return attr == devFeatures || attr == devMetadata || n > 1<<32-1
}

func encode(t *testing.T, settings map[uint16]uint64, more func(*netlink.AttributeEncoder)) genetlink.Message {
	t.Helper()
	return genltest.Message(t, func(ae *netlink.AttributeEncoder) {
		if more != nil {
			more(ae)
		}
		for attr, n := range settings {
			if long(attr, n) {
				ae.Uint64(attr, n)
			} else {
				ae.Uint32(attr, uint32(n))
			}
		}
	})
}

func (k *kernel) serve(m genetlink.Message, req netlink.Message) ([]genetlink.Message, error) {
	asked := map[uint16]uint64{}
	if err := each([]genetlink.Message{m}, func(attr uint16, n uint64) { asked[attr] = n }, func() {}); err != nil {
		return nil, err
	}
	if k.old && m.Header.Command != cmdDevGet {
		return nil, unix.EOPNOTSUPP // genltest's own would be cut short by the flags of a dump
	}
	switch m.Header.Command {
	case cmdDevGet:
		if asked[devIndex] != 7 {
			return nil, genltest.Error(unix.ENODEV)
		}
		return []genetlink.Message{encode(k.t, k.device, nil)}, nil
	case cmdNAPIGet:
		if req.Header.Flags&netlink.Dump != netlink.Dump || req.Header.Flags&netlink.Acknowledge != 0 {
			k.t.Errorf("flags %v", req.Header.Flags)
		}
		var all []genetlink.Message
		for id, settings := range k.napi {
			of := uint32(7)
			if id > 100 {
				of = 8
			}
			all = append(all, encode(k.t, settings, func(ae *netlink.AttributeEncoder) {
				ae.Uint32(napiIndex, of)
				ae.Uint32(napiID, id)
				ae.Uint32(3, 44) // an interrupt
			}))
		}
		return all, nil
	case cmdNAPISet:
		id := uint32(asked[napiID]) //nolint:gosec // the test's own
		delete(asked, napiID)
		maps.Copy(k.napi[id], asked)
		k.sets++
		return nil, genltest.Error(0)
	}
	return nil, genltest.Error(unix.EOPNOTSUPP)
}

func device(t *testing.T, k *kernel) *Client {
	t.Helper()
	k.t = t
	return &Client{genltest.Family(t, familyName, k.serve), func(name string) (uint32, error) {
		if name != "eth0" {
			return 0, fs.ErrNotExist
		}
		return 7, nil
	}}
}

func TestWhatADeviceCanDoWithXDP(t *testing.T) {
	c := device(t, &kernel{device: map[uint16]uint64{
		devIndex: 7, devFeatures: uint64(Basic | Redirect | ReceiveFrags), devZeroCopySegments: 18, devMetadata: 3,
	}})
	d, err := c.Device("eth0")
	if err != nil || d.Features != Basic|Redirect|ReceiveFrags || d.ZeroCopySegments != 18 {
		t.Errorf("%+v, %v", d, err)
	}
	if got := d.Features.String(); got != "drop, pass and send back, redirect, packets of several buffers" {
		t.Error(got)
	}
	if got := d.Metadata.String(); got != "timestamp, hash" {
		t.Error(got)
	}
	if got := Features(0).String(); got != "nothing" {
		t.Error(got)
	}
	if _, err := c.Device("eth1"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestSettingsOfInstances(t *testing.T) {
	k := &kernel{napi: map[uint32]map[uint16]uint64{
		12: {5: 0, 6: 0, 7: 0}, 11: {5: 2, 6: 20000, 7: 1 << 33}, 101: {5: 9, 6: 9, 7: 9},
	}}
	c := device(t, k)
	want := map[string]string{
		"napi-0/defer-hard-irqs": "2", "napi-0/gro-flush-timeout": "20000", "napi-0/irq-suspend-timeout": "8589934592",
		"napi-1/defer-hard-irqs": "0", "napi-1/gro-flush-timeout": "0", "napi-1/irq-suspend-timeout": "0",
	}
	all, err := c.All("eth0")
	if err != nil || !maps.Equal(all, want) {
		t.Fatalf("%v, %v", all, err)
	}
	for name, value := range map[string]string{"napi-1/irq-suspend-timeout": "20000000\n", "napi-0/defer-hard-irqs": "100", "napi-1/gro-flush-timeout": "17179869184"} {
		if err := c.Set("eth0", name, value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want["napi-1/irq-suspend-timeout"], want["napi-0/defer-hard-irqs"], want["napi-1/gro-flush-timeout"] = "20000000", "100", "17179869184"
	if all, err = c.All("eth0"); err != nil || !maps.Equal(all, want) || k.sets != 3 {
		t.Errorf("%v, %d sets, %v", all, k.sets, err)
	}
	for name, value := range map[string]string{
		"napi-2/irq-suspend-timeout": "1", "napi-x/irq-suspend-timeout": "1", "napi-0/pid": "1", "rings/rx": "1", "napi-0/defer-hard-irqs": "4294967296", "napi-0/gro-flush-timeout": "-1",
	} {
		if err := c.Set("eth0", name, value); err == nil {
			t.Errorf("%s was set to %s", name, value)
		}
	}
	if err := c.Set("eth1", "napi-0/irq-suspend-timeout", "1"); !errors.Is(err, fs.ErrNotExist) || k.sets != 3 {
		t.Errorf("%d sets, %v", k.sets, err)
	}
}

func TestOlderKernelsHaveNoSettings(t *testing.T) {
	none := &Client{family: genltest.Older(t, familyName)}
	if all, err := none.All("eth0"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	_, err := none.Device("eth0")
	if !errors.Is(err, errors.ErrUnsupported) || err.Error() != "ask what eth0 can do with XDP: unsupported operation: Linux 6.3 or newer is needed" {
		t.Error(err)
	}
	err = none.Set("eth0", "napi-0/irq-suspend-timeout", "1")
	if !errors.Is(err, errors.ErrUnsupported) || err.Error() != "set napi-0/irq-suspend-timeout of eth0: unsupported operation: Linux 6.13 or newer is needed" {
		t.Error(err)
	}
	old := device(t, &kernel{old: true})
	if all, err := old.All("eth0"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestKernelIsAsked has the running kernel answer about loopback.
func TestKernelIsAsked(t *testing.T) {
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it was asked
	d, err := c.Device("lo")
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || d.Features&Basic != 0 {
		t.Errorf("loopback, which has generic XDP alone: %+v, %v", d, err)
	}
	if _, err := c.All("none0"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
