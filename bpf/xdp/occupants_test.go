//go:build linux

package xdp

import (
	"errors"
	"testing"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"
)

func occupants(t *testing.T, in *netlab.Namespace, iface string) (all []Occupant) {
	t.Helper()
	err := in.Do(func() (err error) {
		all, err = Occupants(iface)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestNetnsOccupantsAreNamed(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	host := bpftest.Namespace(t)
	if err := netlab.Pair(netlab.End{In: host, Interface: "a0"}, netlab.End{In: host, Interface: "b0"}); err != nil {
		t.Fatal(err)
	}
	if all := occupants(t, host, "a0"); len(all) != 0 {
		t.Errorf("nothing is there: %+v", all)
	}
	foreign, err := host.PassXDP("a0")
	if err != nil {
		t.Fatal(err)
	}
	all := occupants(t, host, "a0")
	if len(all) != 1 || all[0].Name != "pass" || all[0].Mode != "native" || all[0].ID == 0 || all[0].Link == 0 || all[0].Ours() {
		t.Errorf("%+v", all)
	}
	if err := foreign.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := attach(t, host, Config{Interface: "a0", Attach: AttachGeneric}); err != nil {
		t.Fatal(err)
	}
	if all := occupants(t, host, "a0"); len(all) != 1 || !all[0].Ours() || all[0].Mode != "generic" {
		t.Errorf("%+v", all)
	}
	err = host.Do(func() error {
		_, err := Occupants("none0")
		return err
	})
	if !errors.Is(err, ErrNoInterface) {
		t.Error(err)
	}
}
