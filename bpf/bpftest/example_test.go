package bpftest_test

import (
	"fmt"
	"net/netip"

	"weir/bpf/bpftest"
)

// A UDP datagram in two VLAN tags.
func Example() {
	ip := bpftest.IPv4{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("198.51.100.1")}
	packet := bpftest.Eth(0x88a8, bpftest.VLAN(0x8100, bpftest.VLAN(0x0800, ip.Packet(17, bpftest.UDP(1000, 53)))))
	fmt.Printf("%x\n", packet[12:26])
	// Output:
	// 88a8002a8100002a08004500001c
}
