//go:build linux

package xdp

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"weir/bpf/bpftest"
)

func TestBPFQuotaIsExact(t *testing.T) {
	p := enforce(t, Config{}, 5)
	a := bpftest.Eth(0x0800, v4.Packet(17, bpftest.UDP(1, 2)))
	b := bpftest.Eth(0x0800, bpftest.IPv4{Src: netip.MustParseAddr("192.0.2.2"), Dst: v4.Dst}.Packet(17, bpftest.UDP(1, 2)))
	for range 5 {
		want(t, p, a, actionPass, "pass/pass_quota")
	}
	want(t, p, a, actionDrop, "drop/quota_packets")
	want(t, p, b, actionPass, "pass/pass_quota")
	top, used, err := p.Top(10, ByPackets)
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
	setPolicy(t, p, Policy{Classes: []Class{{Client: Level{Packets: perSecond(1000, 50)}}}}, ModeEnforce)
	packet := bpftest.Eth(0x0800, v4.Packet(17, bpftest.UDP(1, 2)))
	start := time.Now()
	if _, _, err := p.objs.XdpWeir.Benchmark(packet, bpftest.Often(2_000_000, 200_000), nil); err != nil {
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
	want(t, p, udpFrom("192.0.2.1"), actionPass, "pass/pass_quota")
	want(t, p, udpFrom("192.0.2.200"), actionDrop, "drop/quota_packets")
	want(t, p, udpFrom("192.0.3.1"), actionPass, "pass/pass_quota")
	want(t, p, udpFrom("2001:db8::1"), actionPass, "pass/pass_quota")
	want(t, p, udpFrom("2001:db8::ffff:1"), actionDrop, "drop/quota_packets")
	want(t, p, udpFrom("2001:db8:0:1::1"), actionPass, "pass/pass_quota")
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
	policy := packets(1, 1)
	policy.Entries = allowed("192.0.2.0/24", "2001:db8::/32")
	setPolicy(t, p, policy, ModeEnforce)
	want(t, p, packet, actionPass, "pass/pass_allowed")
	want(t, p, bpftest.Eth(0x86dd, v6.Packet(58, make([]byte, 8))), actionPass, "pass/pass_allowed")
	setPolicy(t, p, packets(1, 1), ModeEnforce)
	want(t, p, packet, actionDrop, "drop/quota_packets")
}

func TestBPFOwingClientsAreNotEvicted(t *testing.T) {
	p := enforce(t, Config{Slots: 16}, 1)
	setPolicy(t, p, packets(1, 3), ModeEnforce)
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
	setPolicy(t, p, Policy{Classes: []Class{{Client: Level{Packets: Quota{1000, 1000}}, UnprovedPackets: hourly(1)}}}, ModeEnforce)
	for i := range bpftest.Often(1000, 100) {
		want(t, p, source(i), actionPass, "pass/pass_quota")
	}
}

func TestBPFReasonsAreAllNamedAndProduced(t *testing.T) {
	produced := map[Reason]bool{
		// By tests of their own, each named for its reason.
		ReasonPassOff: true, ReasonPassAllowed: true, ReasonPassTotal: true, ReasonQuotaPackets: true, ReasonTablePressure: true,
		ReasonContention: true, ReasonEthShort: true, ReasonFragment: true,
	}
	for _, s := range shapes() {
		produced[s.reason] = true
	}
	for _, r := range quotaReasons() {
		produced[r] = true
	}
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if !produced[r] {
			t.Errorf("no packet produces %v", r)
		}
		if r.String() == "" || seen[r.String()] || r.Means() == "" {
			t.Errorf("reason %d is named %q, %q", r, r, r.Means())
		}
		seen[r.String()] = true
		if again, err := ParseReason(r.String()); again != r || err != nil {
			t.Errorf("%v is read as %v, %v", r, again, err)
		}
	}
}

func TestLayoutIsTheOneOfABI(t *testing.T) {
	var s weirSlot
	var set weirSet
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"size", unsafe.Sizeof(s), slotBytes},
		{"set", unsafe.Sizeof(set), setBytes},
		{"policy name", unsafe.Sizeof(weirEscalation{}.Policy), policyBytes},
		{"identity", unsafe.Sizeof(weirEscalation{}.Name), maxIdentity},
		{"heads", unsafe.Sizeof(weirHeads{}), 1 << headLow},
		{"spared", unsafe.Offsetof(set.Spared), offSpared},
		{"slot", unsafe.Offsetof(set.Slot), offSlot},
		{"addr", unsafe.Offsetof(set.Addr), offAddr},
		{"byte_tat", unsafe.Offsetof(s.ByteTat), offByteTAT},
		{"connection_tat", unsafe.Offsetof(s.ConnectionTat), offConnTAT},
		{"held", unsafe.Offsetof(s.Held), offHeld},
		{"epoch", unsafe.Offsetof(s.Epoch), offEpoch},
		{"class_id", unsafe.Offsetof(s.ClassId), offClass},
		{"flags", unsafe.Offsetof(s.Flags), offFlags},
		{"reason", unsafe.Offsetof(s.Reason), offReason},
		{"bits", unsafe.Offsetof(s.Bits), offBits},
		{"seen", unsafe.Offsetof(s.Seen), offSeen},
		{"packets", unsafe.Offsetof(s.Packets), offPackets},
		{"dropped", unsafe.Offsetof(s.Dropped), offDropped},
	} {
		if f.got != f.want {
			t.Errorf("%s is at %d, want %d", f.name, f.got, f.want)
		}
	}
	spec, err := loadWeir()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{
		weirMapVerdictStats: uint32(actionCount) * maxReasons, weirMapClasses: generations * maxClasses, weirMapSampled: maxReasons,
		weirMapListHeads: generations * 2 * headBlocks, weirMapClassLabels: maxLabels,
	} {
		if n := spec.Maps[name].MaxEntries; n != want {
			t.Errorf("%s has %d entries, want %d", name, n, want)
		}
	}
}

func TestSpecIsTheSameOnEveryMachine(t *testing.T) {
	spec, err := Spec(Config{Interface: "eth9", Slots: 1024}, Features{}, [2]uint64{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if n := spec.Maps[weirMapQuotaState].MaxEntries; n != 256 {
		t.Errorf("%d sets, want 256", n)
	}
	if _, err := Spec(Config{Slots: 1000}, Features{}, [2]uint64{}); err == nil || !strings.Contains(err.Error(), "Interface") || !strings.Contains(err.Error(), "power of two") {
		t.Errorf("got %v", err)
	}
}

func TestBPFMissingInterfaceIsSaid(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	_, err := Load(Config{Interface: "nope0"}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "lo") {
		t.Fatalf("got %v", err)
	}
}
