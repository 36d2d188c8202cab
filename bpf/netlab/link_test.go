//go:build linux

package netlab_test

import (
	"net"
	"net/netip"
	"testing"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"
)

func TestNetnsLinkIsRoutedSwitchedAndCounted(t *testing.T) {
	bpftest.Require(t, "5.12", feature)
	a, b := bpftest.Namespace(t), bpftest.Namespace(t)
	err := netlab.Pair(
		netlab.End{In: a, Interface: "a0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24"), netip.MustParsePrefix("2001:db8::1/64")}},
		netlab.End{In: b, Interface: "b0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("198.19.0.2/32"), netip.MustParsePrefix("2001:db8::2/64"), netip.MustParsePrefix("2001:db8:9::2/128")}},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, gateway := range []string{"198.18.0.2", "2001:db8::2"} {
		if err := a.DefaultRoute("a0", netip.MustParseAddr(gateway)); err != nil {
			t.Fatal(err)
		}
	}
	for _, on := range []bool{true, false, true, true} {
		if err := a.SetFeatures("a0", on, netlab.FeatureGRO); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.SetFeatures("b0", false, netlab.FeaturesTSO()...); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"198.19.0.2:0", "[2001:db8:9::2]:0"} {
		var l net.Listener
		err := b.Do(func() (err error) {
			l, err = net.Listen("tcp", addr)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := a.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Errorf("%s: %v", addr, err)
		} else {
			_ = conn.Close()
		}
		_ = l.Close()
	}
	c, err := a.Counters("a0")
	if err != nil || c.Received < 4 || c.Sent < 4 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := a.SetMTU("a0", 1400); err != nil {
		t.Fatal(err)
	}
	err = a.Do(func() error {
		ifc, err := net.InterfaceByName("a0")
		if err == nil && ifc.MTU != 1400 {
			t.Errorf("MTU %d", ifc.MTU)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, err := range []error{a.SetMTU("b0", 1400), a.SetMTU("a0", 1), a.SetFeatures("b0", true, netlab.FeatureGRO), a.SetFeatures("a0", true, "rx-nothing"), a.DefaultRoute("b0", netip.MustParseAddr("198.18.0.2"))} {
		if err == nil {
			t.Error("b0 is in a, or all features are there")
		}
	}
}
