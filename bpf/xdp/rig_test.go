//go:build linux

package xdp

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// allFeatures are what this kernel has, but for connections: tests see no others' sockets.
func allFeatures(tb testing.TB) Features {
	tb.Helper()
	f, err := probe(Config{Interface: "lo", Proof: OptionOff}.Defaults(), 65536)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// loadChanged loads the program with its spec changed. Every source gets a slot.
func loadChanged(tb testing.TB, cfg Config, change func(*ebpf.CollectionSpec) error) *Program {
	tb.Helper()
	bpftest.Require(tb, "5.15", "xdp_weir")
	cfg.Interface, cfg.Proof = "lo", OptionOff
	if cfg.Slots == 0 {
		cfg.Slots = 1 << 14
	}
	f := allFeatures(tb)
	f.Frags = f.Frags && cfg.Frags != OptionOff
	p, err := loadWith(cfg.Defaults(), f, change, slog.New(slog.DiscardHandler))
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

func load(tb testing.TB, cfg Config) *Program {
	tb.Helper()
	return loadChanged(tb, cfg, nil)
}

// guarding loads the program as it runs where connections are watched: slots need proof. Its time
// stands still: see [Program.at].
func guarding(tb testing.TB, policy Policy) *Program {
	tb.Helper()
	pinToCPU(tb) // what a CPU has sketched and leased is its own
	p := loadChanged(tb, Config{}, func(spec *ebpf.CollectionSpec) error {
		return spec.Variables[weirVarTestClock].Set(uint8(1))
	})
	p.proofless = false
	at(tb, p, time.Hour)
	setPolicy(tb, p, policy, ModeEnforce)
	return p
}

// at sets the time of a program made by guarding.
func at(tb testing.TB, p *Program, since time.Duration) {
	tb.Helper()
	if err := p.objs.TestNs.Put(uint32(0), uint64(since)); err != nil {
		tb.Fatal(err)
	}
}

func setPolicy(tb testing.TB, p *Program, policy Policy, m Mode) {
	tb.Helper()
	if err := p.Replace(policy); err != nil {
		tb.Fatal(err)
	}
	if err := p.SetMode(m); err != nil {
		tb.Fatal(err)
	}
}

// prove gives an address a slot, as a handshake would.
func prove(tb testing.TB, p *Program, addrs ...string) {
	tb.Helper()
	policy, mode := p.Policy(), p.Mode()
	open := policy.clone()
	if len(open.Classes) == 0 {
		open.Classes = []Class{{}}
	}
	for i := range open.Classes {
		open.Classes[i] = Class{SlotsForAll: true, Client: Level{IPv4Bits: open.Classes[i].Client.IPv4Bits, IPv6Bits: open.Classes[i].Client.IPv6Bits}}
	}
	setPolicy(tb, p, open, ModeEnforce)
	for _, a := range addrs {
		test(tb, p, udpFrom(a))
	}
	setPolicy(tb, p, policy, mode)
}

const (
	hour        = uint64(3600e9) << 4 // ticks
	manyPackets = 365 * 24            // a year of them is the most a quota may hold
)

// hourly is a quota of n, which come back one an hour.
func hourly(n uint64) Quota { return Quota{Interval: hour, Limit: n * hour} }

// perSecond is a quota of a rate and a burst.
func perSecond(rate, burst uint64) Quota {
	interval := (uint64(16e9) + rate - 1) / rate
	return Quota{Interval: interval, Limit: burst * interval}
}

// hourlyBytes is a quota of n bytes, which come back one an hour.
func hourlyBytes(n uint64) ByteQuota { return ByteQuota{Mult: hour >> 12, Limit: n * (hour >> 12)} }

// packets is a policy of so many packets for a client, and in total for those without a slot.
func packets(client, total uint64) Policy {
	return Policy{Classes: []Class{{Client: Level{Packets: hourly(client)}, UnprovedPackets: hourly(total), UnprovedSYNs: hourly(total)}}, Pass: []Reason{ReasonFragment}}
}

// enforce loads the program with a quota of so many packets, which come back once an hour.
func enforce(tb testing.TB, cfg Config, n uint64) *Program {
	tb.Helper()
	p := load(tb, cfg)
	setPolicy(tb, p, packets(n, 1), ModeEnforce)
	return p
}

const (
	actionDrop = 1
	actionPass = 2
	actionSend = 3
)

// run is one packet's verdict and the reasons that were counted, as "pass/pass_quota".
func run(tb testing.TB, p *Program, packet []byte) (verdict uint32, moved string) {
	tb.Helper()
	verdict, moved, _ = runOut(tb, p, packet)
	return verdict, moved
}

func runOut(tb testing.TB, p *Program, packet []byte) (verdict uint32, moved string, out []byte) {
	tb.Helper()
	before, err := p.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	out = make([]byte, 4096)
	opts := &ebpf.RunOptions{Data: packet, DataOut: out}
	if verdict, err = p.objs.XdpWeir.Run(opts); err != nil {
		tb.Fatalf("run %x: %v", packet, err)
	}
	after, err := p.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	var all []string
	for _, r := range Reasons() {
		for _, side := range []struct {
			name          string
			before, after Count
		}{{"pass", before.Passed[r], after.Passed[r]}, {"drop", before.Dropped[r], after.Dropped[r]}, {"answer", before.Answered[r], after.Answered[r]}} {
			if side.before == side.after {
				continue
			}
			if n := side.after.Packets - side.before.Packets; n != 1 || side.after.Bytes-side.before.Bytes != uint64(max(len(packet), bpftest.MinPacket)) {
				tb.Errorf("%v: counted %d packets, %d bytes", r, n, side.after.Bytes-side.before.Bytes)
			}
			all = append(all, side.name+"/"+r.String())
		}
	}
	return verdict, strings.Join(all, " "), opts.DataOut
}

func test(tb testing.TB, p *Program, packet []byte) uint32 {
	tb.Helper()
	verdict, err := p.objs.XdpWeir.Run(&ebpf.RunOptions{Data: packet})
	if err != nil {
		tb.Fatalf("run %x: %v", packet, err)
	}
	return verdict
}

// want says what becomes of a packet, which is not changed, and what is counted.
func want(tb testing.TB, p *Program, packet []byte, verdict uint32, moved string) {
	tb.Helper()
	v, m, out := runOut(tb, p, packet)
	if v != verdict || m != moved {
		tb.Errorf("got verdict %d, counted %q, want %d, %q", v, m, verdict, moved)
	}
	if !bytes.Equal(out, packet) {
		tb.Errorf("the program changed the packet to %x", out)
	}
}

// wants is want by what is counted alone: pass/... or drop/....
func wants(tb testing.TB, p *Program, packet []byte, moved string) {
	tb.Helper()
	verdict := uint32(actionPass)
	if strings.HasPrefix(moved, "drop/") {
		verdict = actionDrop
	}
	want(tb, p, packet, verdict, moved)
}

var (
	v4 = bpftest.IPv4{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("198.51.100.1")}
	v6 = bpftest.IPv6{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8:1::1")}
)

func mutate(b []byte, at int, with ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], with)
	return b
}

func from(s string, proto byte, payload []byte) []byte {
	a := netip.MustParseAddr(s)
	if a.Is4() {
		return bpftest.Eth(0x0800, bpftest.IPv4{Src: a, Dst: v4.Dst}.Packet(proto, payload))
	}
	return bpftest.Eth(0x86dd, bpftest.IPv6{Src: a, Dst: v6.Dst}.Packet(proto, payload))
}

func udpFrom(s string) []byte { return from(s, 17, bpftest.UDP(1, 2)) }

// tcpFrom is a TCP packet with flags to port 8000.
func tcpFrom(s string, flags byte) []byte {
	return from(s, 6, mutate(bpftest.TCP(1000, 8000), 13, flags))
}

const (
	fin = 0x01
	syn = 0x02
	rst = 0x04
	psh = 0x08
	ack = 0x10
)

func source(i int) []byte {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 10<<24|uint32(i)) //nolint:gosec // a test's counter
	return bpftest.Eth(0x0800, bpftest.IPv4{Src: netip.AddrFrom4(a), Dst: v4.Dst}.Packet(17, bpftest.UDP(1, 2)))
}

func prefixes(all ...string) (list []netip.Prefix) {
	for _, s := range all {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// allowed is a policy's entries that allow prefixes.
func allowed(all ...string) (entries []Entry) {
	for _, p := range prefixes(all...) {
		entries = append(entries, Entry{Prefix: p, Allow: true})
	}
	return entries
}

// client is the slot of an address.
func client(tb testing.TB, p *Program, addr string) Client {
	tb.Helper()
	all := p.Find(netip.MustParseAddr(addr))
	if len(all) == 0 {
		tb.Fatalf("%s has no slot", addr)
	}
	return all[0]
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

// pinToCPU keeps the test's goroutine on the first CPU until its end.
func pinToCPU(tb testing.TB) {
	tb.Helper()
	runtime.LockOSThread()
	tb.Cleanup(runtime.UnlockOSThread)
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		tb.Fatal(err)
	}
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.SchedSetaffinity(0, &old) })
}
