//go:build linux

package xdp

import (
	"fmt"
	"strings"
	"testing"

	"weir/bpf/bpftest"
)

// fixture is a packet of its own way through the parser.
type fixture struct {
	name   string
	packet []byte
	reason Reason
}

// l3 is an IP packet, and what is to become of it.
type l3 struct {
	name   string
	proto  uint16
	packet []byte
	reason Reason
}

// ipv4Shapes and ipv6Shapes have one mutation a row.
func ipv4Shapes() []l3 {
	tcp, udp := bpftest.TCP(1000, 8000), bpftest.UDP(1000, 53)
	ip4 := v4.Packet(6, tcp)
	options := bpftest.IPv4{Src: v4.Src, Dst: v4.Dst, Options: make([]byte, 8)}
	frag := func(bits uint16) bpftest.IPv4 { return bpftest.IPv4{Src: v4.Src, Dst: v4.Dst, Frag: bits} }
	tcpWith := func(at int, with ...byte) []byte { return v4.Packet(6, mutate(tcp, at, with...)) }
	return []l3{
		{"TCP", 0x0800, ip4, ReasonPassQuota},
		{"TCP with options", 0x0800, v4.Packet(6, append(mutate(tcp, 12, 0x60), 2, 4, 5, 180)), ReasonPassQuota},
		{"TCP ACK", 0x0800, tcpWith(13, ack), ReasonPassQuota},
		{"TCP RST", 0x0800, tcpWith(13, rst), ReasonPassQuota},
		{"TCP FIN ACK", 0x0800, tcpWith(13, fin|ack), ReasonPassQuota},
		{"TCP SYN ACK", 0x0800, tcpWith(13, syn|ack), ReasonPassQuota},
		{"TCP without flags", 0x0800, tcpWith(13, 0), ReasonTCPBad},
		{"TCP FIN alone", 0x0800, tcpWith(13, fin), ReasonTCPBad},
		{"TCP Xmas", 0x0800, tcpWith(13, 0x29), ReasonTCPBad},
		{"TCP SYN FIN", 0x0800, tcpWith(13, syn|fin), ReasonTCPBad},
		{"TCP SYN RST", 0x0800, tcpWith(13, syn|rst), ReasonTCPBad},
		{"TCP data offset of 4", 0x0800, tcpWith(12, 0x40), ReasonTCPBad},
		{"TCP data offset beyond the end", 0x0800, tcpWith(12, 0x60), ReasonTCPBad},
		{"TCP cut short", 0x0800, v4.Packet(6, tcp[:19]), ReasonL4Short},
		{"UDP", 0x0800, v4.Packet(17, udp), ReasonPassQuota},
		{"UDP cut short", 0x0800, v4.Packet(17, udp[:7]), ReasonL4Short},
		{"ICMP", 0x0800, v4.Packet(1, make([]byte, 8)), ReasonPassQuota},
		{"ICMP cut short", 0x0800, v4.Packet(1, make([]byte, 7)), ReasonL4Short},
		{"of another protocol", 0x0800, v4.Packet(47, nil), ReasonPassQuota},
		{"with options", 0x0800, options.Packet(6, tcp), ReasonPassQuota},
		{"with all options", 0x0800, bpftest.IPv4{Src: v4.Src, Dst: v4.Dst, Options: make([]byte, 40)}.Packet(17, udp), ReasonPassQuota},
		{"with options cut short", 0x0800, options.Packet(6, nil)[:24], ReasonIPv4Short},
		{"first fragment", 0x0800, frag(0x2000).Packet(6, tcp), ReasonPassQuota},
		{"tiny first fragment", 0x0800, frag(0x2000).Packet(6, tcp[:8]), ReasonL4Short},
		{"middle fragment", 0x0800, frag(0x2010).Packet(6, make([]byte, 8)), ReasonPassQuota},
		{"last fragment of two bytes", 0x0800, frag(0x0010).Packet(6, make([]byte, 2)), ReasonPassQuota},
		{"do not fragment", 0x0800, frag(0x4000).Packet(17, udp), ReasonPassQuota},
		{"cut short", 0x0800, ip4[:19], ReasonIPv4Short},
		{"cut before its total length", 0x0800, ip4[:39], ReasonIPv4Short},
		{"padded", 0x0800, append(v4.Packet(17, udp), make([]byte, 18)...), ReasonPassQuota},
		{"UDP header in the padding", 0x0800, append(v4.Packet(17, nil), udp...), ReasonL4Short},
		{"ihl of 4", 0x0800, mutate(ip4, 0, 0x44), ReasonIPv4Bad},
		{"ihl of 0", 0x0800, mutate(ip4, 0, 0x40), ReasonIPv4Bad},
		{"version 5", 0x0800, mutate(ip4, 0, 0x55), ReasonIPv4Bad},
		{"total length below the header's", 0x0800, mutate(ip4, 2, 0, 19), ReasonIPv4Bad},
		{"total length of 0", 0x0800, mutate(ip4, 2, 0, 0), ReasonIPv4Bad},
		{"version 6 in IPv4", 0x0800, v6.Packet(6, tcp), ReasonIPv4Bad},
	}
}

func ipv6Shapes() []l3 {
	tcp, udp := bpftest.TCP(1000, 8000), bpftest.UDP(1000, 53)
	ip6 := v6.Packet(6, tcp)
	ext := func(kinds ...byte) []byte { return v6.WithExts(6, tcp, kinds...) }
	neighbor := func(kind, hops byte) []byte {
		return mutate(v6.Packet(58, append([]byte{kind}, make([]byte, 23)...)), 7, hops)
	}
	fragment := func(next byte, bits uint16, payload []byte) []byte {
		return v6.Packet(44, append([]byte{next, 0, byte(bits >> 8), byte(bits), 0, 0, 0, 1}, payload...))
	}
	return []l3{
		{"TCP", 0x86dd, ip6, ReasonPassQuota},
		{"TCP without flags", 0x86dd, v6.Packet(6, mutate(tcp, 13, 0)), ReasonTCPBad},
		{"TCP data offset beyond the end", 0x86dd, v6.Packet(6, mutate(tcp, 12, 0xf0)), ReasonTCPBad},
		{"UDP", 0x86dd, v6.Packet(17, udp), ReasonPassQuota},
		{"UDP cut short", 0x86dd, v6.Packet(17, udp[:7]), ReasonL4Short},
		{"echo request", 0x86dd, v6.Packet(58, append([]byte{128}, make([]byte, 7)...)), ReasonPassQuota},
		{"router solicitation", 0x86dd, neighbor(133, 255), ReasonPassNeighbor},
		{"neighbor solicitation", 0x86dd, neighbor(135, 255), ReasonPassNeighbor},
		{"redirect", 0x86dd, neighbor(137, 255), ReasonPassNeighbor},
		{"neighbor solicitation through a router", 0x86dd, neighbor(135, 254), ReasonPassQuota},
		{"type after neighbor discovery", 0x86dd, neighbor(138, 255), ReasonPassQuota},
		{"no next header", 0x86dd, v6.Packet(59, nil), ReasonPassQuota},
		{"hop-by-hop", 0x86dd, ext(0), ReasonPassQuota},
		{"routing", 0x86dd, ext(43), ReasonPassQuota},
		{"destination options", 0x86dd, ext(60), ReasonPassQuota},
		{"authentication", 0x86dd, ext(51), ReasonPassQuota},
		{"atomic fragment", 0x86dd, fragment(6, 0, tcp), ReasonPassQuota},
		{"first fragment", 0x86dd, fragment(6, 1, tcp), ReasonPassQuota},
		{"tiny first fragment", 0x86dd, fragment(6, 1, tcp[:8]), ReasonL4Short},
		{"later fragment", 0x86dd, fragment(6, 8, tcp[:2]), ReasonPassQuota},
		{"hop-by-hop, routing, destination", 0x86dd, ext(0, 43, 60), ReasonPassQuota},
		{"six extension headers", 0x86dd, ext(0, 60, 43, 44, 51, 60), ReasonPassQuota},
		{"seven extension headers", 0x86dd, ext(0, 60, 60, 60, 60, 60, 60), ReasonExtDepth},
		{"an extension header cut short", 0x86dd, v6.Packet(0, []byte{6, 0, 0, 0}), ReasonExtShort},
		{"an extension header of 2048 bytes", 0x86dd, v6.Packet(0, append([]byte{6, 255}, make([]byte, 30)...)), ReasonExtShort},
		{"extension headers in the padding", 0x86dd, append(v6.Packet(0, nil), ext(60)[40:]...), ReasonExtShort},
		{"TCP bad behind an extension header", 0x86dd, v6.WithExts(6, mutate(tcp, 13, 0), 60), ReasonTCPBad},
		{"neighbor discovery behind an extension header", 0x86dd, mutate(v6.WithExts(58, append([]byte{135}, make([]byte, 23)...), 60), 7, 255), ReasonPassNeighbor},
		{"cut short", 0x86dd, ip6[:39], ReasonIPv6Short},
		{"cut before its payload length", 0x86dd, ip6[:59], ReasonIPv6Short},
		{"version 4", 0x86dd, mutate(ip6, 0, 0x40), ReasonIPv6Bad},
		{"version 0", 0x86dd, mutate(ip6, 0, 0), ReasonIPv6Bad},
	}
}

// shapes has a packet for each way through the parser: every IP packet without a tag, with one,
// and with two.
func shapes() (all []fixture) {
	for _, s := range append(ipv4Shapes(), ipv6Shapes()...) {
		family := map[uint16]string{0x0800: "IPv4 ", 0x86dd: "IPv6 "}[s.proto]
		all = append(all,
			fixture{family + s.name, bpftest.Eth(s.proto, s.packet), s.reason},
			fixture{family + s.name + ", tagged", bpftest.Eth(0x8100, bpftest.VLAN(s.proto, s.packet)), s.reason},
			fixture{family + s.name + ", tagged twice", bpftest.Eth(0x88a8, bpftest.VLAN(0x8100, bpftest.VLAN(s.proto, s.packet))), s.reason},
		)
	}
	ip4 := v4.Packet(6, bpftest.TCP(1000, 8000))
	return append(all,
		fixture{"ARP", bpftest.Eth(0x0806, make([]byte, 28)), ReasonPassNotIP},
		fixture{"LLDP", bpftest.Eth(0x88cc, make([]byte, 28)), ReasonPassNotIP},
		fixture{"ARP, tagged", bpftest.Eth(0x8100, bpftest.VLAN(0x0806, make([]byte, 28))), ReasonPassNotIP},
		fixture{"a VLAN tag cut short", bpftest.Eth(0x8100, []byte{0, 1}), ReasonVLANShort},
		fixture{"a second VLAN tag cut short", bpftest.Eth(0x8100, bpftest.VLAN(0x8100, []byte{0, 1})), ReasonVLANShort},
		fixture{"three VLAN tags", bpftest.Eth(0x8100, bpftest.VLAN(0x8100, bpftest.VLAN(0x8100, bpftest.VLAN(0x0800, ip4)))), ReasonVLANDepth},
		fixture{"three service tags", bpftest.Eth(0x88a8, bpftest.VLAN(0x88a8, bpftest.VLAN(0x88a8, bpftest.VLAN(0x0800, ip4)))), ReasonVLANDepth},
	)
}

func TestBPFEachShapeHasItsVerdictAndReason(t *testing.T) {
	p := enforce(t, Config{}, manyPackets)
	if n := len(shapes()); n < 120 {
		t.Errorf("%d fixtures", n)
	}
	for _, tt := range shapes() {
		t.Run(tt.name, func(t *testing.T) {
			if tt.reason.Drops() {
				want(t, p, tt.packet, actionDrop, "drop/"+tt.reason.String())
			} else {
				want(t, p, tt.packet, actionPass, "pass/"+tt.reason.String())
			}
		})
	}
}

// TestBPFUnparsedIsChargedWhereThePolicyPassesIt: nobody walks around a quota.
func TestBPFUnparsedIsChargedWhereThePolicyPassesIt(t *testing.T) {
	p := load(t, Config{Slots: 16})
	for _, tt := range shapes() {
		if !tt.reason.Parser() || bpftest.Slow() && strings.Contains(tt.name, "tagged") {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			setPolicy(t, p, Policy{}, ModeEnforce) // another class: what the budget has used is forgotten
			policy := packets(1, 2)
			policy.Pass = append(policy.Pass, tt.reason)
			setPolicy(t, p, policy, ModeEnforce)
			wants(t, p, tt.packet, "pass/"+tt.reason.String())
			wants(t, p, tt.packet, "pass/"+tt.reason.String())
			wants(t, p, tt.packet, "drop/unproved_total")
		})
	}
}

// TestBPFTruncationAlwaysHasAReason cuts every shape at every byte.
func TestBPFTruncationAlwaysHasAReason(t *testing.T) {
	p := enforce(t, Config{}, manyPackets)
	for i, tt := range shapes() {
		if bpftest.Slow() && i%14 != 0 {
			continue
		}
		for n := bpftest.MinPacket; n < len(tt.packet); n++ {
			verdict, moved := run(t, p, tt.packet[:n])
			if verdict != actionDrop && verdict != actionPass || len(strings.Fields(moved)) != 1 {
				t.Errorf("%s cut at %d: verdict %d, counted %q", tt.name, n, verdict, moved)
			}
		}
	}
}

func TestBPFFragmentsAreDroppedWhereThePolicySaysSo(t *testing.T) {
	policy := packets(manyPackets, manyPackets)
	policy.Pass = nil
	p := load(t, Config{Slots: 16})
	setPolicy(t, p, policy, ModeEnforce)
	for _, s := range shapes() {
		if strings.Contains(s.name, "fragment") && !strings.Contains(s.name, "not fragment") && !strings.Contains(s.name, "atomic") && s.reason == ReasonPassQuota {
			wants(t, p, s.packet, "drop/fragment")
		}
	}
	wants(t, p, udpFrom("192.0.2.1"), "pass/pass_quota")
}

func ExampleReason_Means() {
	fmt.Println(ReasonQuotaBytes, "is:", ReasonQuotaBytes.Means())
	// Output:
	// quota_bytes is: over its client's quota of bytes
}

// TestBPFJumboFramesAreChargedWhole gives the program a packet of several buffers: its headers are
// in the first one, all its bytes are charged.
func TestBPFJumboFramesAreChargedWhole(t *testing.T) {
	bpftest.Require(t, "5.18", "XDP packets of several buffers")
	p := guarding(t, class(Level{Bytes: hourlyBytes(10_000)}))
	prove(t, p, "192.0.2.1")
	packet := from("192.0.2.1", 17, append(bpftest.UDP(1, 2), make([]byte, 8958)...)) // 9000 bytes
	before, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for _, verdict := range []uint32{actionPass, actionDrop} {
		if v := test(t, p, packet); v != verdict {
			t.Errorf("verdict %d, want %d", v, verdict)
		}
	}
	after, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	passed, dropped := after.Passed[ReasonPassQuota].Bytes-before.Passed[ReasonPassQuota].Bytes, after.Dropped[ReasonQuotaBytes].Bytes
	if passed != 9000 || dropped != 9000 {
		t.Errorf("%d bytes passed, %d dropped, want 9000 each", passed, dropped)
	}
}
