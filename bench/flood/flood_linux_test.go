package flood

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestNetnsFloodOnTheMachinesNetworkIsRefused(t *testing.T) {
	_, err := Open(Config{Interface: "lo", To: make(net.HardwareAddr, 6), Sources: []netip.Addr{netip.MustParseAddr("127.0.0.9")}, Target: netip.MustParseAddrPort("127.0.0.1:9")})
	if !errors.Is(err, ErrNotIsolated) {
		t.Fatalf("got %v", err)
	}
}
