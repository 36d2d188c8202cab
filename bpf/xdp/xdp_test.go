//go:build linux

package xdp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"weir/bpf/bpftest"

	"github.com/cilium/ebpf"
)

func load(tb testing.TB, cfg Config) *Program {
	tb.Helper()
	bpftest.Require(tb, "5.12", "cmpxchg in BPF")
	cfg.Interface = "lo"
	p, err := Load(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// enforce loads the program with a quota of so many packets, which come back once an hour.
func enforce(tb testing.TB, cfg Config, packets uint64) *Program {
	tb.Helper()
	p := load(tb, cfg)
	setQuota(tb, p, packets, 1)
	if err := p.SetMode(ModeEnforce); err != nil {
		tb.Fatal(err)
	}
	return p
}

const (
	hour        = uint64(3600e9) << 4 // ticks
	manyPackets = 365 * 24            // a year of them is the most a quota may hold
)

func setQuota(tb testing.TB, p *Program, packets, total uint64) {
	tb.Helper()
	if err := p.SetClass(0, Class{Interval: hour, Tolerance: (packets - 1) * hour, TotalInterval: hour, TotalTolerance: (total - 1) * hour}); err != nil {
		tb.Fatal(err)
	}
}

const (
	actionDrop = 1
	actionPass = 2
)

// run is one packet's verdict and the reasons that were counted, as "pass/pass_quota".
func run(tb testing.TB, p *Program, packet []byte) (verdict uint32, moved string) {
	tb.Helper()
	before, err := p.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	verdict = test(tb, p, packet)
	after, err := p.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	var all []string
	for _, r := range Reasons() {
		for _, side := range []struct {
			name          string
			before, after Count
		}{{"pass", before.Passed[r], after.Passed[r]}, {"drop", before.Dropped[r], after.Dropped[r]}} {
			if side.before == side.after {
				continue
			}
			if n := side.after.Packets - side.before.Packets; n != 1 || side.after.Bytes-side.before.Bytes != uint64(max(len(packet), bpftest.MinPacket)) {
				tb.Errorf("%v: counted %d packets, %d bytes", r, n, side.after.Bytes-side.before.Bytes)
			}
			all = append(all, side.name+"/"+r.String())
		}
	}
	return verdict, strings.Join(all, " ")
}

func test(tb testing.TB, p *Program, packet []byte) uint32 {
	tb.Helper()
	out := make([]byte, 4096)
	opts := &ebpf.RunOptions{Data: packet, DataOut: out}
	verdict, err := p.objs.XdpWeir.Run(opts)
	if err != nil {
		tb.Fatalf("run %x: %v", packet, err)
	}
	if !bytes.Equal(opts.DataOut, packet) {
		tb.Fatalf("the program changed the packet")
	}
	return verdict
}

func want(tb testing.TB, p *Program, packet []byte, verdict uint32, moved string) {
	tb.Helper()
	if v, m := run(tb, p, packet); v != verdict || m != moved {
		tb.Errorf("got verdict %d, counted %q, want %d, %q", v, m, verdict, moved)
	}
}

var (
	v4 = bpftest.IPv4{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("198.51.100.1")}
	v6 = bpftest.IPv6{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8:1::1")}
)

// shapes has a packet for each way through the parser. Lengths are chosen above the 14 bytes
// that a test run needs.
func shapes() []struct {
	name   string
	packet []byte
	reason Reason
} {
	tcp, udp := bpftest.TCP(1000, 8000), bpftest.UDP(1000, 53)
	ip4 := v4.Packet(6, tcp)
	ip6 := v6.Packet(6, tcp)
	eth := bpftest.Eth
	ext := func(kinds ...byte) []byte { return v6.WithExts(6, tcp, kinds...) }
	return []struct {
		name   string
		packet []byte
		reason Reason
	}{
		{"IPv4 TCP", eth(0x0800, ip4), ReasonPassQuota},
		{"IPv4 UDP", eth(0x0800, v4.Packet(17, udp)), ReasonPassQuota},
		{"IPv4 ICMP", eth(0x0800, v4.Packet(1, make([]byte, 8))), ReasonPassQuota},
		{"IPv4 of another protocol", eth(0x0800, v4.Packet(47, nil)), ReasonPassQuota},
		{"IPv4 with options", eth(0x0800, bpftest.IPv4{Src: v4.Src, Dst: v4.Dst, Options: make([]byte, 8)}.Packet(6, tcp)), ReasonPassQuota},
		{"IPv4 first fragment", eth(0x0800, bpftest.IPv4{Src: v4.Src, Dst: v4.Dst, Frag: 0x2000}.Packet(6, tcp)), ReasonPassQuota},
		{"IPv4 later fragment of two bytes", eth(0x0800, bpftest.IPv4{Src: v4.Src, Dst: v4.Dst, Frag: 0x0010}.Packet(6, make([]byte, 2))), ReasonPassQuota},
		{"one VLAN tag", eth(0x8100, bpftest.VLAN(0x0800, ip4)), ReasonPassQuota},
		{"two VLAN tags", eth(0x88a8, bpftest.VLAN(0x8100, bpftest.VLAN(0x86dd, ip6))), ReasonPassQuota},
		{"IPv6 TCP", eth(0x86dd, ip6), ReasonPassQuota},
		{"IPv6 ICMP", eth(0x86dd, v6.Packet(58, make([]byte, 8))), ReasonPassQuota},
		{"IPv6 hop-by-hop, routing, destination", eth(0x86dd, ext(0, 43, 60)), ReasonPassQuota},
		{"IPv6 six extension headers", eth(0x86dd, ext(0, 60, 43, 44, 51, 60)), ReasonPassQuota},
		{"ARP", eth(0x0806, make([]byte, 28)), ReasonPassNotIP},
		{"LLDP", eth(0x88cc, make([]byte, 28)), ReasonPassNotIP},
		{"a VLAN tag cut short", eth(0x8100, []byte{0, 1}), ReasonVLANShort},
		{"three VLAN tags", eth(0x8100, bpftest.VLAN(0x8100, bpftest.VLAN(0x8100, bpftest.VLAN(0x0800, ip4)))), ReasonVLANDepth},
		{"an IPv4 header cut short", eth(0x0800, ip4[:19]), ReasonIPv4Short},
		{"IPv4 options cut short", eth(0x0800, bpftest.IPv4{Src: v4.Src, Dst: v4.Dst, Options: make([]byte, 8)}.Packet(6, nil)[:24]), ReasonIPv4Short},
		{"ihl of 4", eth(0x0800, mutate(ip4, 0, 0x44)), ReasonIPv4Bad},
		{"version 5", eth(0x0800, mutate(ip4, 0, 0x55)), ReasonIPv4Bad},
		{"total length below the header's", eth(0x0800, mutate(ip4, 2, 0, 19)), ReasonIPv4Bad},
		{"an IPv6 header cut short", eth(0x86dd, ip6[:39]), ReasonIPv6Short},
		{"IPv6 with version 4", eth(0x86dd, mutate(ip6, 0, 0x40)), ReasonIPv6Bad},
		{"an extension header cut short", eth(0x86dd, ext(0)[:44]), ReasonExtShort},
		{"seven extension headers", eth(0x86dd, ext(0, 60, 60, 60, 60, 60, 60)), ReasonExtDepth},
		{"a TCP header cut short", eth(0x0800, v4.Packet(6, tcp[:19])), ReasonL4Short},
		{"a UDP header cut short", eth(0x86dd, v6.Packet(17, udp[:7])), ReasonL4Short},
	}
}

func mutate(b []byte, at int, with ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], with)
	return b
}

func TestBPFEachShapeHasItsVerdictAndReason(t *testing.T) {
	p := enforce(t, Config{}, manyPackets)
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

// TestBPFTruncationAlwaysHasAReason cuts every shape at every byte.
func TestBPFTruncationAlwaysHasAReason(t *testing.T) {
	p := enforce(t, Config{}, manyPackets)
	for _, tt := range shapes() {
		for n := bpftest.MinPacket; n < len(tt.packet); n++ {
			verdict, moved := run(t, p, tt.packet[:n])
			if verdict != actionDrop && verdict != actionPass || len(strings.Fields(moved)) != 1 {
				t.Errorf("%s cut at %d: verdict %d, counted %q", tt.name, n, verdict, moved)
			}
		}
	}
}

func TestBPFQuotaIsExact(t *testing.T) {
	p := enforce(t, Config{}, 5)
	a := bpftest.Eth(0x0800, v4.Packet(17, bpftest.UDP(1, 2)))
	b := bpftest.Eth(0x0800, bpftest.IPv4{Src: netip.MustParseAddr("192.0.2.2"), Dst: v4.Dst}.Packet(17, bpftest.UDP(1, 2)))
	for range 5 {
		want(t, p, a, actionPass, "pass/pass_quota")
	}
	want(t, p, a, actionDrop, "drop/quota_packets")
	want(t, p, b, actionPass, "pass/pass_quota")
	top, used, err := p.Top(10)
	if err != nil || used != 2 || len(top) != 2 {
		t.Fatalf("%v, %d, %v", top, used, err)
	}
	if c := top[0]; c.Prefix.String() != "192.0.2.1/32" || c.Packets != 6 || c.Dropped != 1 || c.SeenNanos == 0 {
		t.Errorf("top is %+v", c)
	}
}

func TestBPFQuotaComesBackAtItsRate(t *testing.T) {
	p := load(t, Config{})
	// 1000/s, burst 50: 50 at once, then what time gives.
	if err := p.SetClass(0, Class{Interval: 1e6 << 4, Tolerance: 49e6 << 4, TotalInterval: hour}); err != nil {
		t.Fatal(err)
	}
	if err := p.SetMode(ModeEnforce); err != nil {
		t.Fatal(err)
	}
	packet := bpftest.Eth(0x0800, v4.Packet(17, bpftest.UDP(1, 2)))
	start := time.Now()
	if _, _, err := p.objs.XdpWeir.Benchmark(packet, 2_000_000, nil); err != nil {
		t.Fatal(err)
	}
	total := time.Since(start).Seconds()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	admitted := float64(s.Passed[ReasonPassQuota].Packets)
	if bound := 50 + total*1000 + 2; admitted > bound || admitted < 50 {
		t.Errorf("admitted %v in %v s, the bound is %v", admitted, total, bound)
	}
}

func TestBPFPrefixIsOneClient(t *testing.T) {
	p := enforce(t, Config{IPv4PrefixBits: 24}, 1)
	from := func(s string) []byte {
		a := netip.MustParseAddr(s)
		if a.Is4() {
			return bpftest.Eth(0x0800, bpftest.IPv4{Src: a, Dst: v4.Dst}.Packet(17, bpftest.UDP(1, 2)))
		}
		return bpftest.Eth(0x86dd, bpftest.IPv6{Src: a, Dst: v6.Dst}.Packet(17, bpftest.UDP(1, 2)))
	}
	want(t, p, from("192.0.2.1"), actionPass, "pass/pass_quota")
	want(t, p, from("192.0.2.200"), actionDrop, "drop/quota_packets")
	want(t, p, from("192.0.3.1"), actionPass, "pass/pass_quota")
	want(t, p, from("2001:db8::1"), actionPass, "pass/pass_quota")
	want(t, p, from("2001:db8::ffff:1"), actionDrop, "drop/quota_packets")
	want(t, p, from("2001:db8:0:1::1"), actionPass, "pass/pass_quota")
}

func TestBPFModesSwitchByOneWrite(t *testing.T) {
	p := enforce(t, Config{}, 1)
	packet := bpftest.Eth(0x0800, v4.Packet(17, bpftest.UDP(1, 2)))
	want(t, p, packet, actionPass, "pass/pass_quota")
	want(t, p, packet, actionDrop, "drop/quota_packets")
	for _, step := range []struct {
		mode    Mode
		verdict uint32
		moved   string
	}{
		{ModeShadow, actionPass, "pass/quota_packets"},
		{ModeOff, actionPass, "pass/pass_off"},
		{ModeEnforce, actionDrop, "drop/quota_packets"},
	} {
		if err := p.SetMode(step.mode); err != nil {
			t.Fatal(err)
		}
		want(t, p, packet, step.verdict, step.moved)
	}
	if err := p.SetMode(7); err == nil || p.Mode() != ModeEnforce {
		t.Errorf("mode 7: %v, mode is %v", err, p.Mode())
	}
}

func TestBPFAllowListHoldsForClientsAlreadyInTheTable(t *testing.T) {
	p := enforce(t, Config{}, 1)
	packet := bpftest.Eth(0x0800, v4.Packet(17, bpftest.UDP(1, 2)))
	want(t, p, packet, actionPass, "pass/pass_quota")
	want(t, p, packet, actionDrop, "drop/quota_packets")
	if err := p.ReplaceAllow([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}); err != nil {
		t.Fatal(err)
	}
	want(t, p, packet, actionPass, "pass/pass_allowed")
	want(t, p, bpftest.Eth(0x86dd, v6.Packet(58, make([]byte, 8))), actionPass, "pass/pass_allowed")
	if err := p.ReplaceAllow(nil); err != nil {
		t.Fatal(err)
	}
	want(t, p, packet, actionDrop, "drop/quota_packets")
}

func source(i int) []byte {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 10<<24|uint32(i)) //nolint:gosec // a test's counter
	return bpftest.Eth(0x0800, bpftest.IPv4{Src: netip.AddrFrom4(a), Dst: v4.Dst}.Packet(17, bpftest.UDP(1, 2)))
}

func TestBPFOwingClientsAreNotEvicted(t *testing.T) {
	p := enforce(t, Config{Slots: 16}, 1)
	setQuota(t, p, 1, 3)
	pressed := 0
	admitted := map[int]bool{}
	for i := range 100 {
		switch _, moved := run(t, p, source(i)); moved {
		case "pass/pass_quota":
			admitted[i] = true
		case "pass/pass_total":
			pressed++
		case "drop/table_pressure":
		default:
			t.Fatalf("client %d: %q", i, moved)
		}
	}
	if pressed != 3 || len(admitted) > 16 || len(admitted) < 8 {
		t.Errorf("%d clients have slots, %d passed by the total of 3", len(admitted), pressed)
	}
	for i := range admitted { // all 16 owe for an hour: each is still known
		want(t, p, source(i), actionDrop, "drop/quota_packets")
	}
}

func TestBPFClientsThatOweNothingAreEvicted(t *testing.T) {
	p := load(t, Config{Slots: 16})
	// 16 M/s: a client owes for 62 ns, which is over when the next one comes.
	if err := p.SetClass(0, Class{Interval: 1000, Tolerance: 0, TotalInterval: hour}); err != nil {
		t.Fatal(err)
	}
	if err := p.SetMode(ModeEnforce); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		want(t, p, source(i), actionPass, "pass/pass_quota")
	}
}

func TestBPFReasonsAreAllNamedAndProduced(t *testing.T) {
	produced := map[Reason]bool{
		// By the tests of modes, lists and the table, each named for its reason.
		ReasonPassOff: true, ReasonPassAllowed: true, ReasonPassTotal: true, ReasonQuotaPackets: true, ReasonTablePressure: true,
		ReasonContention: true, ReasonEthShort: true,
	}
	for _, s := range shapes() {
		produced[s.reason] = true
	}
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if !produced[r] {
			t.Errorf("no packet produces %v", r)
		}
		if r.String() == "" || seen[r.String()] {
			t.Errorf("reason %d is named %q", r, r)
		}
		seen[r.String()] = true
	}
}

func TestLayoutIsTheOneOfABI(t *testing.T) {
	var s weirSlot
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"size", unsafe.Sizeof(s), slotBytes},
		{"set", unsafe.Sizeof(weirSet{}), slotBytes * slotsPerSet},
		{"key", unsafe.Offsetof(s.Key), offKey},
		{"packets", unsafe.Offsetof(s.Packets), offPackets},
		{"dropped", unsafe.Offsetof(s.Dropped), offDropped},
		{"addr", unsafe.Offsetof(s.Addr), offAddr},
		{"flags", unsafe.Offsetof(s.Flags), offFlags},
		{"seen", unsafe.Offsetof(s.Seen), offSeen},
	} {
		if f.got != f.want {
			t.Errorf("%s is at %d, want %d", f.name, f.got, f.want)
		}
	}
}

func TestSpecIsTheSameOnEveryMachine(t *testing.T) {
	spec, err := Spec(Config{Interface: "eth9", Slots: 1024}, [2]uint64{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if n := spec.Maps[weirMapQuotaState].MaxEntries; n != 256 {
		t.Errorf("%d sets, want 256", n)
	}
	if _, err := Spec(Config{Slots: 1000}, [2]uint64{}); err == nil || !strings.Contains(err.Error(), "Interface") || !strings.Contains(err.Error(), "power of two") {
		t.Errorf("got %v", err)
	}
}

func TestBPFMissingInterfaceIsSaid(t *testing.T) {
	bpftest.Require(t, "5.12", "cmpxchg in BPF")
	_, err := Load(Config{Interface: "nope0"}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "lo") {
		t.Fatalf("got %v", err)
	}
}
