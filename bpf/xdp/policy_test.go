//go:build linux

package xdp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"weir/bpf/bpftest"

	"github.com/cilium/ebpf"
)

func TestBPFRaisedQuotaFreesThoseWhoOwe(t *testing.T) {
	p := enforce(t, Config{}, 3)
	packet := udpFrom("192.0.2.1")
	for range 3 {
		want(t, p, packet, actionPass, "pass/pass_quota")
	}
	want(t, p, packet, actionDrop, "drop/quota_packets")
	// A nanosecond's interval: what it owes is over as soon as it is cut to the new quota.
	setPolicy(t, p, class(Level{Packets: Quota{16, 16}}), ModeEnforce)
	run(t, p, packet) // the one that cuts it may be too early itself
	want(t, p, packet, actionPass, "pass/pass_quota")
}

func TestBPFSamePolicyAgainForgivesNothing(t *testing.T) {
	p := guarding(t, packets(1, 1))
	prove(t, p, "192.0.2.1")
	for range 3 {
		p.Replace(packets(1, 1)) //nolint:errcheck // the packets show
	}
	wants(t, p, udpFrom("192.0.2.1"), "pass/pass_quota")
	wants(t, p, udpFrom("192.0.2.2"), "pass/pass_unproved")
	setPolicy(t, p, packets(1, 1), ModeEnforce)
	wants(t, p, udpFrom("192.0.2.1"), "drop/quota_packets")
	wants(t, p, udpFrom("192.0.2.3"), "drop/unproved_total")
}

func TestBPFStricterQuotaKeepsWhatIsOwed(t *testing.T) {
	p := enforce(t, Config{}, 3)
	packet := udpFrom("192.0.2.1")
	want(t, p, packet, actionPass, "pass/pass_quota")
	setPolicy(t, p, packets(1, 1), ModeEnforce)
	want(t, p, packet, actionDrop, "drop/quota_packets")
}

func TestBPFZeroClassIsNoQuota(t *testing.T) {
	p := load(t, Config{Slots: 16})
	if err := p.SetMode(ModeEnforce); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		want(t, p, source(i), actionPass, "pass/pass_quota")
	}
}

func TestBPFAllowedClientPassesUnderTablePressure(t *testing.T) {
	p := enforce(t, Config{Slots: 16}, 1)
	policy := packets(1, 1)
	policy.Entries = allowed("192.0.2.0/24")
	setPolicy(t, p, policy, ModeEnforce)
	for i := range 200 { // all slots owe for an hour
		run(t, p, source(i))
	}
	want(t, p, source(1000), actionDrop, "drop/table_pressure")
	for i := range 64 {
		want(t, p, udpFrom(fmt.Sprintf("192.0.2.%d", i)), actionPass, "pass/pass_allowed")
	}
}

func TestBPFAllowListMeansWholeClientsOfOneFamily(t *testing.T) {
	for _, tt := range []struct {
		allow              string
		passed, notAllowed []string
	}{
		{"2001:db8::5/128", []string{"2001:db8::5", "2001:db8::6"}, []string{"2001:db8:0:1::5", "192.0.2.1"}},
		{"192.0.2.7/32", []string{"192.0.2.7"}, []string{"192.0.2.8", "::ffff:192.0.2.9"}},
		{"::ffff:192.0.2.7/128", []string{"192.0.2.7"}, []string{"192.0.2.8"}},
		{"::/0", []string{"2001:db8::1", "::1"}, []string{"192.0.2.1"}},
		{"0.0.0.0/0", []string{"192.0.2.1", "0.0.0.0", "255.255.255.255"}, []string{"2001:db8::1", "::1"}},
		{"10.0.0.0/8", []string{"10.0.0.0", "10.255.255.255"}, []string{"11.0.0.0", "9.255.255.255"}},
	} {
		t.Run(tt.allow, func(t *testing.T) {
			p := enforce(t, Config{}, 1)
			policy := packets(1, 1)
			policy.Entries = allowed(tt.allow)
			setPolicy(t, p, policy, ModeEnforce)
			for _, from := range tt.passed {
				want(t, p, udpFrom(from), actionPass, "pass/pass_allowed")
			}
			for _, from := range tt.notAllowed {
				want(t, p, udpFrom(from), actionPass, "pass/pass_quota")
			}
		})
	}
}

func TestBPFContentionRefusesWhatIsNotCharged(t *testing.T) {
	p := loadChanged(t, Config{}, func(spec *ebpf.CollectionSpec) error {
		return spec.Variables[weirVarCasTries].Set(uint32(0)) // as if each swap were lost
	})
	setPolicy(t, p, packets(10, 1), ModeEnforce)
	want(t, p, udpFrom("192.0.2.1"), actionDrop, "drop/contention")
	if err := p.SetMode(ModeShadow); err != nil {
		t.Fatal(err)
	}
	want(t, p, udpFrom("192.0.2.1"), actionPass, "pass/contention")
}

func TestPolicyOutOfRangeIsRefused(t *testing.T) {
	year := Quota{hour, manyPackets * hour}
	for _, tt := range []struct {
		name   string
		policy Policy
		want   string // in the error; empty: none
	}{
		{"none", Policy{}, ""},
		{"a year", class(Level{Packets: year, Connections: year, Concurrent: 65535}), ""},
		{"over a year", class(Level{Packets: Quota{hour, manyPackets*hour + 1}}), "Client.Packets"},
		{"a burst below one packet", class(Level{Packets: Quota{hour, hour - 1}}), "a burst below one never passes"},
		{"a burst of bytes below one packet", class(Level{Bytes: hourlyBytes(1521)}), "a frame would never pass"},
		{"a factor too large", class(Level{Bytes: ByteQuota{Mult: 1 << 43, Limit: 1 << 50}}), "Client.Bytes"},
		{"too many connections", class(Level{Concurrent: 65536}), "Client.Concurrent"},
		{"a client narrower than a slot", class(Level{IPv6Bits: 65}), "Client.IPv6Bits"},
		{"an aggregate not wider", Policy{Classes: []Class{{Aggregate: Level{IPv6Bits: 64}}}}, "below the client's 64"},
		{"an aggregate wider", Policy{Classes: []Class{{Aggregate: Level{IPv6Bits: 48, IPv4Bits: 24}}}}, ""},
		{"a budget", Policy{Classes: []Class{{UnprovedSYNs: Quota{2, 1}}}}, "UnprovedSYNs"},
		{"too many classes", Policy{Classes: make([]Class, 65)}, "64 at most"},
		{"a class that is none", Policy{Entries: []Entry{{Prefix: prefixes("192.0.2.0/24")[0], Class: 1}}}, "class 1: there are 0"},
		{"no prefix", Policy{Entries: []Entry{{}}}, "want a prefix"},
		{"both lists", Policy{Entries: []Entry{{Prefix: prefixes("192.0.2.0/24")[0], Allow: true, Deny: true}}}, "both allowed and denied"},
		{"the same twice", Policy{Entries: append(allowed("192.0.2.0/24"), Entry{Prefix: prefixes("192.0.2.7/24")[0], Deny: true})}, "it is listed already as 192.0.2.0/24"},
		{"the same twice alike", Policy{Entries: allowed("192.0.2.0/24", "192.0.2.0/24")}, ""},
		{"overlapping", Policy{Entries: append(allowed("192.0.2.0/24"), Entry{Prefix: prefixes("192.0.2.7/32")[0], Deny: true})}, ""},
		{"denied narrower than a client", Policy{Entries: []Entry{{Prefix: prefixes("2001:db8::5/128")[0], Deny: true}}}, "list 2001:db8::/64"},
		{"passing what is no shape", Policy{Pass: []Reason{ReasonQuotaPackets}}, "reasons of the parser"},
	} {
		err := tt.policy.Validate(Config{})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestBPFRefusedPolicyChangesNothing also has no half of it holding.
func TestBPFRefusedPolicyChangesNothing(t *testing.T) {
	p := guarding(t, packets(1, 2))
	bad := packets(5, 5)
	bad.Entries = append(allowed("192.0.2.0/24"), Entry{Prefix: netip.Prefix{}})
	if err := p.Replace(bad); err == nil {
		t.Fatal("no error")
	}
	wants(t, p, udpFrom("192.0.2.1"), "pass/pass_unproved")
	wants(t, p, udpFrom("192.0.2.1"), "drop/unproved_source")
}

func TestBPFTenThousandPrefixes(t *testing.T) {
	p := guarding(t, Policy{})
	policy := packets(1, 1)
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}) //nolint:gosec // a counter
		policy.Entries = append(policy.Entries, Entry{Prefix: netip.PrefixFrom(a, 24), Deny: true})
		b := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i >> 8), byte(i)}) //nolint:gosec // a counter
		policy.Entries = append(policy.Entries, Entry{Prefix: netip.PrefixFrom(b, 48), Allow: true})
	}
	setPolicy(t, p, policy, ModeEnforce)
	wants(t, p, udpFrom("10.39.15.200"), "drop/denied") // 9999
	wants(t, p, udpFrom("2001:db8:270f::1"), "pass/pass_allowed")
	wants(t, p, udpFrom("10.39.16.1"), "pass/pass_unproved")
}

// randomLists are entries that overlap, of all lengths, in a few corners of both families.
func randomLists(random *rand.Rand) []Entry {
	seen := map[netip.Prefix]bool{}
	var entries []Entry
	for range 400 {
		p, err := randomAddr(random).Prefix(16 + random.IntN(17))
		if err != nil || seen[p] {
			continue
		}
		seen[p] = true
		e := Entry{Prefix: p}
		switch random.IntN(3) {
		case 0:
			e.Allow = true
		case 1:
			e.Deny = true
		default:
			e.Class = random.IntN(2)
		}
		entries = append(entries, e)
	}
	for _, p := range prefixes("16.0.0.0/8", "2000::/12") {
		entries = append(entries, Entry{Prefix: p, Deny: true})
	}
	return entries
}

// randomAddr is one of an IPv4 or IPv6 address's whose first bits are nearly always the same.
func randomAddr(random *rand.Rand) netip.Addr {
	if random.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(16 + random.IntN(2)), byte(random.IntN(4)), byte(random.IntN(256)), byte(random.IntN(256))}) //nolint:gosec // below 256
	}
	return netip.AddrFrom16([16]byte{0x20, byte(random.IntN(20)), byte(random.IntN(256)), byte(random.IntN(4)), 15: 1}) //nolint:gosec // below 256
}

// TestBPFLongestPrefixWins holds what the lists say of random addresses, by heads or by trie, to a
// search through all entries, in both generations.
func TestBPFLongestPrefixWins(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same in each run
	p := guarding(t, Policy{})
	for range 4 {
		entries := randomLists(random)
		setPolicy(t, p, Policy{Classes: []Class{{}, {SlotsForAll: true}}, Entries: entries}, ModeEnforce)
		for range 300 {
			a := randomAddr(random)
			longest := Entry{Prefix: netip.PrefixFrom(a, 0)}
			for _, e := range entries {
				if e.Prefix.Contains(a) && e.Prefix.Bits() > longest.Prefix.Bits() {
					longest = e
				}
			}
			want := "pass/pass_unproved"
			switch {
			case longest.Allow:
				want = "pass/pass_allowed"
			case longest.Deny:
				want = "drop/denied"
			case longest.Class == 1:
				want = "pass/pass_quota"
			}
			wants(t, p, udpFrom(a.String()), want)
			if t.Failed() {
				t.Fatalf("%v is in %+v", a, longest)
			}
		}
	}
}

// TestBPFPolicySwapsAreAllOrNothing swaps two policies under packets: what one says is passed the
// other denies, and a packet judged by half of each would be seen as charged.
func TestBPFPolicySwapsAreAllOrNothing(t *testing.T) {
	pass := Policy{Classes: []Class{{}, {Client: Level{Packets: hourly(1)}}}, Entries: allowed("10.0.0.0/8")}
	deny := Policy{Classes: []Class{{Client: Level{Packets: hourly(1)}}, {}}, Entries: []Entry{{Prefix: prefixes("10.0.0.0/8")[0], Deny: true}}}
	p := guarding(t, pass)
	prove(t, p, "10.0.0.1")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, i := range []int{1, 2} { // one with a slot, one without
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := p.objs.XdpWeir.Benchmark(source(i), bpftest.Often(10_000, 1000), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	before, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for i := range bpftest.Often(50, 10) {
		if err := p.Replace([]Policy{deny, pass}[i%2]); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	after, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Reasons() {
		n := after.Passed[r].Packets - before.Passed[r].Packets + after.Dropped[r].Packets - before.Dropped[r].Packets
		if allowed := r == ReasonPassAllowed || r == ReasonDenied; n > 0 && !allowed || n == 0 && allowed {
			t.Errorf("%v: %d packets", r, n)
		}
	}
}

func TestBPFClosedProgramSaysSo(t *testing.T) {
	p := load(t, Config{Slots: 16})
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, stats := p.Stats()
	_, _, top := p.Top(1, ByPackets)
	for name, err := range map[string]error{
		"stats": stats, "top": top, "mode": p.SetMode(ModeShadow),
		"policy": p.Replace(Policy{}),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
