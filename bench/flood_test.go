package bench

import (
	"maps"
	"strings"
	"testing"
	"time"

	"weir/bpf/flood"
	"weir/internal/golden"
)

func TestFloodConfigIsHeldToItsRanges(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  FloodConfig
		want []string
	}{
		{"zero is valid", FloodConfig{}, nil},
		{"all in range", FloodConfig{Kind: "mix", Rate: 1, Sources: 250, Spoofed: true, Conns: 10_000, Quota: 100, Duration: time.Second, Only: []string{"off", "nftables"}}, nil},
		{"kind", FloodConfig{Kind: "sin"}, []string{"--kind is sin: want one of syn, ack"}},
		{"rate", FloodConfig{Rate: -1}, []string{"--rate is -1: want 0 (as fast as it goes) to"}},
		{"spoofed conns", FloodConfig{Kind: "connect", Spoofed: true}, []string{"--spoofed is true: want none with --kind connect"}},
		{"only", FloodConfig{Only: []string{"baseline"}}, []string{"--only is baseline: want some of off, shadow, enforce, no-cookies, under-attack, nftables"}},
		{
			"all at once",
			FloodConfig{Sources: 251, Conns: -1, Quota: 1, Duration: time.Hour},
			[]string{"--sources is 251", "--conns is -1", "--quota is 1: want 100", "--duration is 1h0m0s: want 1s to 10m"},
		},
	} {
		err := tt.cfg.Validate()
		if (err == nil) != (len(tt.want) == 0) {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, want %q", tt.name, err, want)
			}
		}
	}
}

func TestLabAddressesAreApart(t *testing.T) {
	seen := map[string]bool{}
	for _, group := range []int{LabSubscribers, LabFlooders, LabProbers} {
		for _, a := range append(LabAddrs(group, LabMaxAddrs), LabAddrs6(group, LabMaxAddrs)...) {
			client := a.String()
			if a.Is6() { // a client is a network of 64 bits
				p, err := a.Prefix(64)
				if err != nil {
					t.Fatal(err)
				}
				client = p.String()
			}
			if seen[client] || a == LabEdge().Addr() || a == labRouter4 {
				t.Fatalf("%v is somebody else's", a)
			}
			seen[client] = true
			for _, p := range LabSpoofed() {
				if p.Contains(a) {
					t.Fatalf("%v is spoofed", a)
				}
			}
		}
	}
}

func TestFloodTableShowsRatiosToTheBaselineAndTopReasons(t *testing.T) {
	rows := []FloodRow{
		{Setting: calmRow, Goodput: 1, Handshakes: 1, HandshakeP50: 0.5, HandshakeP99: 2, DeliveryP99: 8, Softirq: 0.02},
		{Setting: "off", Goodput: 0.5, Handshakes: 0.25, HandshakeP50: 10, HandshakeP99: 1000, DeliveryP99: 400, Softirq: 0.5, FloodPerSecond: 1_234_567, LostPerSecond: 45_678},
		{Setting: "shadow", Goodput: 0.5, Handshakes: 0.25, HandshakeP50: 10, HandshakeP99: 1000, DeliveryP99: 400, Softirq: 0.5, FloodPerSecond: 200_000, WouldDrop: map[string]uint64{"quota_packets": 2_000_000}},
		{Setting: "enforce", Goodput: 1, Handshakes: 1, HandshakeP50: 0.6, HandshakeP99: 2, DeliveryP99: 8, Softirq: 0.1, FloodPerSecond: 9999, Dropped: map[string]uint64{"a": 7, "b": 70_000, "c": 700, "d": 5, "e": 1, "f": 0}},
	}
	for i := range rows {
		rows[i].Ratio = rows[i].over(rows[0])
	}
	var b strings.Builder
	if err := (&FloodResult{Rows: rows}).Print(&b); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/floodtable.txt", b.String())
}

func TestRatioToNothingIsZero(t *testing.T) {
	if r := (FloodRow{Softirq: 1, Goodput: 1}).over(FloodRow{Goodput: 2}); r.Softirq != 0 || r.Goodput != 0.5 {
		t.Errorf("%+v", r)
	}
}

func TestCountsAreThoseOfTheMeasuredTime(t *testing.T) {
	start := time.Now()
	before := floodCount{at: start, sent: 100, queueLost: 10, softirq: 5, allCPU: 1000, serverCPU: 1, dropped: map[string]uint64{"a": 1, "b": 2}}
	after := floodCount{at: start.Add(2 * time.Second), sent: 2100, queueLost: 30, softirq: 105, allCPU: 1400, serverCPU: 2, dropped: map[string]uint64{"a": 5, "b": 2, "c": 3}, wouldHit: map[string]uint64{"d": 1}}
	var row FloodRow
	row.settle(before, after)
	if row.Seconds != 2 || row.FloodPerSecond != 1000 || row.LostPerSecond != 10 || row.Softirq != 0.25 || row.ServerCores != 0.5 {
		t.Errorf("%+v", row)
	}
	if !maps.Equal(row.Dropped, map[string]uint64{"a": 4, "c": 3}) || !maps.Equal(row.WouldDrop, map[string]uint64{"d": 1}) {
		t.Errorf("dropped %v, would drop %v", row.Dropped, row.WouldDrop)
	}
}

func TestSoftirqTimeIsReadFromStat(t *testing.T) {
	const stat = "cpu  10 20 30 400 5 6 77 8 1000 2000\ncpu0 1 2 3 4 5 6 7 8 0 0\n"
	if softirq, all, err := softirqTicks(stat); softirq != 77 || all != 10+20+30+400+5+6+77+8 || err != nil {
		t.Errorf("%d of %d, %v", softirq, all, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8 9\n", "cpu 1 2 3 4 5 6 x 8\n"} {
		if _, _, err := softirqTicks(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestNFTablesGetsTheSameQuotaAndItsCountersAreRead(t *testing.T) {
	rules := nftRules(LabEdgeEnd, 1234)
	if strings.Count(rules, "limit rate over 1234/second burst 1234 packets") != 2 || strings.Count(rules, "size 262144") != 2 || !strings.Contains(rules, `device "edge0"`) {
		t.Error(rules)
	}
	const list = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"counter": {"family": "netdev", "name": "over_limit", "table": "weir", "handle": 2, "packets": 42, "bytes": 1}}]}`
	if got, err := nftCounters([]byte(list)); err != nil || !maps.Equal(got, map[string]uint64{"over_limit": 42}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := nftCounters([]byte("table")); err == nil {
		t.Error("what is no JSON is read")
	}
}

func TestEveryKindHasAFloodThatSaysWhatItIs(t *testing.T) {
	for _, kind := range flood.Kinds() {
		cfg := FloodConfig{Kind: string(kind), Rate: 7}.withDefaults()
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if got := cfg.describe(setting{}); got != "flood of "+string(kind)+", 7/s from 8 addresses" {
			t.Error(got)
		}
	}
	cfg := FloodConfig{Spoofed: true}.withDefaults()
	if got := cfg.describe(setting{}); got != "flood of syn, as fast as it goes from random addresses" {
		t.Error(got)
	}
	if got := cfg.describe(setting{calm: true}); got != "no flood" {
		t.Error(got)
	}
}
