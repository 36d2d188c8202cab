//go:build linux

package xdp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"weir/bpf/bpftest"

	"github.com/cilium/ebpf"
)

// loadWith is load with the spec changed, for what no Config asks for.
func loadWith(tb testing.TB, cfg Config, change func(*ebpf.CollectionSpec) error) *Program {
	tb.Helper()
	bpftest.Require(tb, "5.12", "cmpxchg in BPF")
	cfg.Interface = "lo"
	spec, err := Spec(cfg, [2]uint64{1, 2})
	if err == nil {
		err = change(spec)
	}
	if err != nil {
		tb.Fatal(err)
	}
	p, err := loadSpec(cfg.Defaults(), spec, slog.New(slog.DiscardHandler))
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

func udpFrom(s string) []byte {
	a := netip.MustParseAddr(s)
	if a.Is4() {
		return bpftest.Eth(0x0800, bpftest.IPv4{Src: a, Dst: v4.Dst}.Packet(17, bpftest.UDP(1, 2)))
	}
	return bpftest.Eth(0x86dd, bpftest.IPv6{Src: a, Dst: v6.Dst}.Packet(17, bpftest.UDP(1, 2)))
}

func prefixes(all ...string) (list []netip.Prefix) {
	for _, s := range all {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func TestBPFRaisedQuotaFreesThoseWhoOwe(t *testing.T) {
	p := enforce(t, Config{}, 3)
	packet := udpFrom("192.0.2.1")
	for range 3 {
		want(t, p, packet, actionPass, "pass/pass_quota")
	}
	want(t, p, packet, actionDrop, "drop/quota_packets")
	// A nanosecond's interval: what it owes is over as soon as it is cut to the new quota.
	if err := p.SetClass(0, Class{Interval: 16, TotalInterval: 16}); err != nil {
		t.Fatal(err)
	}
	run(t, p, packet) // the one that cuts it may be too early itself
	want(t, p, packet, actionPass, "pass/pass_quota")
}

func TestBPFSameQuotaAgainForgivesNothing(t *testing.T) {
	p := enforce(t, Config{}, 1)
	packet := udpFrom("192.0.2.1")
	want(t, p, packet, actionPass, "pass/pass_quota")
	epoch := p.policy.Epoch
	setQuota(t, p, 1, 1)
	if err := p.ReplaceAllow(nil); err != nil || p.policy.Epoch != epoch {
		t.Errorf("%v, epoch %d to %d", err, epoch, p.policy.Epoch)
	}
	want(t, p, packet, actionDrop, "drop/quota_packets")
}

func TestBPFStricterQuotaKeepsWhatIsOwed(t *testing.T) {
	p := enforce(t, Config{}, 3)
	packet := udpFrom("192.0.2.1")
	want(t, p, packet, actionPass, "pass/pass_quota")
	setQuota(t, p, 1, 1)
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
	if err := p.ReplaceAllow(prefixes("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
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
			if err := p.ReplaceAllow(prefixes(tt.allow)); err != nil {
				t.Fatal(err)
			}
			for _, from := range tt.passed {
				want(t, p, udpFrom(from), actionPass, "pass/pass_allowed")
			}
			for _, from := range tt.notAllowed {
				want(t, p, udpFrom(from), actionPass, "pass/pass_quota")
			}
		})
	}
}

func TestBPFFullAllowListStaysAsItWas(t *testing.T) {
	p := loadWith(t, Config{}, func(spec *ebpf.CollectionSpec) error {
		spec.Maps[weirMapLists].MaxEntries = 2
		return nil
	})
	setQuota(t, p, 1, 1)
	if err := p.SetMode(ModeEnforce); err != nil {
		t.Fatal(err)
	}
	if err := p.ReplaceAllow(prefixes("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
	err := p.ReplaceAllow(prefixes("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
	if !errors.Is(err, ErrListFull) || !strings.Contains(err.Error(), "it holds 2") {
		t.Errorf("got %v", err)
	}
	if err := p.ReplaceAllow([]netip.Prefix{{}}); err == nil {
		t.Error("no error for an invalid prefix")
	}
	for range 3 {
		want(t, p, udpFrom("192.0.2.1"), actionPass, "pass/pass_allowed")
	}
	for _, from := range []string{"198.51.100.1", "203.0.113.1", "2001:db8::1"} {
		want(t, p, udpFrom(from), actionPass, "pass/pass_quota")
		want(t, p, udpFrom(from), actionDrop, "drop/quota_packets")
	}
}

func TestBPFContentionRefusesWhatIsNotCharged(t *testing.T) {
	p := loadWith(t, Config{}, func(spec *ebpf.CollectionSpec) error {
		return spec.Variables[weirVarCasTries].Set(uint32(0)) // as if each swap were lost
	})
	setQuota(t, p, 10, 1)
	if err := p.SetMode(ModeEnforce); err != nil {
		t.Fatal(err)
	}
	want(t, p, udpFrom("192.0.2.1"), actionDrop, "drop/contention")
	if err := p.SetMode(ModeShadow); err != nil {
		t.Fatal(err)
	}
	want(t, p, udpFrom("192.0.2.1"), actionPass, "pass/contention")
}

func TestClassOutOfRangeIsRefused(t *testing.T) {
	for _, tt := range []struct {
		class Class
		field string
	}{
		{Class{}, ""},
		{Class{Interval: 1, TotalInterval: 1}, ""},
		{Class{Interval: hour, Tolerance: (manyPackets - 1) * hour, TotalInterval: hour}, ""},
		{Class{Interval: hour, Tolerance: manyPackets * hour, TotalInterval: hour}, "Tolerance"},
		{Class{Interval: 1 << 63, Tolerance: 1 << 63, TotalInterval: hour}, "Tolerance"},
		{Class{Interval: 1, TotalInterval: 1, TotalTolerance: 1 << 63}, "TotalTolerance"},
		{Class{Interval: 1}, "TotalInterval"},
		{Class{TotalInterval: 1}, "TotalInterval"},
	} {
		err := tt.class.Validate()
		var field *FieldError
		if tt.field == "" && err != nil || tt.field != "" && (!errors.As(err, &field) || field.Field != tt.field) {
			t.Errorf("%+v: %v, want %q", tt.class, err, tt.field)
		}
	}
}

func TestBPFClassesAreNumberedTo15(t *testing.T) {
	p := load(t, Config{Slots: 16})
	for _, id := range []int{-1, 16} {
		if err := p.SetClass(id, Class{}); err == nil || !strings.Contains(err.Error(), "want 0 to 15") {
			t.Errorf("class %d: %v", id, err)
		}
	}
	if err := p.SetClass(15, Class{Interval: 1 << 62, TotalInterval: 1}); err == nil || !strings.Contains(err.Error(), "class 15") {
		t.Errorf("a class out of range: %v", err)
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
	_, _, top := p.Top(1)
	for name, err := range map[string]error{
		"stats": stats, "top": top, "mode": p.SetMode(ModeShadow),
		"class": p.SetClass(0, Class{Interval: 1, TotalInterval: 1}), "allow": p.ReplaceAllow(nil),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
