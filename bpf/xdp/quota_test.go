//go:build linux

package xdp

import (
	"testing"
	"time"

	"weir/bpf/bpftest"
)

// step is one packet of a case, and what is counted: pass/... or drop/....
type step struct {
	packet []byte
	moved  string
}

// quotaCase is a policy, who has proved its return path, and packets.
type quotaCase struct {
	name    string
	policy  Policy
	mode    Mode // ModeEnforce if it is zero
	proved  []string
	steps   []step
	reasons []Reason // that it produces
}

func class(l Level) Policy { return Policy{Classes: []Class{{Client: l}}} }

func quotaCases() []quotaCase {
	const a, b = "192.0.2.1", "192.0.2.2"
	udp := udpFrom(a)
	return []quotaCase{
		{
			"packets", class(Level{Packets: hourly(2)}), 0,
			[]string{a, b},
			[]step{{udp, "pass/pass_quota"}, {udp, "pass/pass_quota"}, {udp, "drop/quota_packets"}, {udpFrom(b), "pass/pass_quota"}},
			[]Reason{ReasonQuotaPackets},
		},
		{
			"bytes", class(Level{Bytes: hourlyBytes(1522)}), 0,
			[]string{a},
			[]step{
				{from(a, 17, make([]byte, 966)), "pass/pass_quota"},  // 1000 bytes
				{from(a, 17, make([]byte, 966)), "drop/quota_bytes"}, // 522 are left
				{from(a, 17, make([]byte, 488)), "pass/pass_quota"},  // all of them
				{from(a, 17, make([]byte, 8)), "drop/quota_bytes"},   // and no more
				{from(b, 17, make([]byte, 8)), "pass/pass_unproved"}, // its neighbor
			},
			[]Reason{ReasonQuotaBytes},
		},
		{
			"a packet over the bytes is not charged as a packet", class(Level{Packets: hourly(2), Bytes: hourlyBytes(1522)}), 0,
			[]string{a},
			[]step{
				{from(a, 17, make([]byte, 1400)), "pass/pass_quota"},
				{from(a, 17, make([]byte, 1400)), "drop/quota_bytes"},
				{from(a, 17, make([]byte, 1400)), "drop/quota_bytes"},
				{from(a, 17, nil), "drop/l4_short"},
				{from(a, 47, make([]byte, 0)), "pass/pass_quota"},
				{from(a, 47, make([]byte, 0)), "drop/quota_packets"},
			},
			nil,
		},
		{
			"new connections", class(Level{Connections: hourly(2)}), 0,
			[]string{a},
			[]step{
				{tcpFrom(a, syn), "pass/pass_quota"},
				{tcpFrom(a, syn), "pass/pass_quota"},
				{tcpFrom(a, syn), "drop/quota_connections"},
				{tcpFrom(a, ack), "pass/pass_quota"},
				{tcpFrom(a, syn|ack), "pass/pass_quota"},
				{udp, "pass/pass_quota"},
			},
			[]Reason{ReasonQuotaConnections},
		},
		{
			"a refused SYN is not charged as a packet", class(Level{Packets: hourly(3), Connections: hourly(1)}), 0,
			[]string{a},
			[]step{
				{tcpFrom(a, syn), "pass/pass_quota"},
				{tcpFrom(a, syn), "drop/quota_connections"},
				{tcpFrom(a, syn), "drop/quota_connections"},
				{udp, "pass/pass_quota"},
				{udp, "pass/pass_quota"},
				{udp, "drop/quota_packets"},
			},
			nil,
		},
		{
			"concurrent connections, half open", class(Level{Concurrent: 2}), 0,
			[]string{a},
			[]step{{tcpFrom(a, syn), "pass/pass_quota"}, {tcpFrom(a, syn), "pass/pass_quota"}, {tcpFrom(a, syn), "drop/quota_concurrent"}, {tcpFrom(a, ack), "pass/pass_quota"}},
			[]Reason{ReasonQuotaConcurrent},
		},
		{
			"an aggregate over its clients",
			Policy{Classes: []Class{{Client: Level{Packets: hourly(3)}, Aggregate: Level{Packets: hourly(4), IPv6Bits: 48}}}},
			0,
			[]string{"2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1"},
			[]step{
				{udpFrom("2001:db8::1"), "pass/pass_quota"},
				{udpFrom("2001:db8::2"), "pass/pass_quota"},
				{udpFrom("2001:db8::3"), "pass/pass_quota"},
				{udpFrom("2001:db8::4"), "drop/quota_packets"},
				{udpFrom("2001:db8:0:1::1"), "pass/pass_quota"},
				{udpFrom("2001:db8:0:1::1"), "drop/aggregate"},
				{udpFrom("2001:db8:1::1"), "pass/pass_quota"},
			},
			[]Reason{ReasonAggregate},
		},
		{
			"a class whose clients are wider than a slot",
			Policy{Classes: []Class{{Client: Level{Packets: hourly(2), IPv4Bits: 24}}}},
			0,
			[]string{a, b, "192.0.3.1"},
			[]step{{udp, "pass/pass_quota"}, {udpFrom(b), "pass/pass_quota"}, {udp, "drop/quota_packets"}, {udpFrom(b), "drop/quota_packets"}, {udpFrom("192.0.3.1"), "pass/pass_quota"}},
			nil,
		},
		{
			"lists: the longest prefix holds",
			Policy{
				Classes: []Class{{Client: Level{Packets: hourly(1)}}, {Client: Level{Packets: hourly(2)}}},
				Entries: []Entry{
					{Prefix: prefixes("192.0.0.0/16")[0], Deny: true},
					{Prefix: prefixes("192.0.2.0/24")[0], Class: 1},
					{Prefix: prefixes("192.0.2.2/32")[0], Allow: true},
				},
			},
			0,
			[]string{a, b, "192.0.3.1", "198.51.100.9"},
			[]step{
				{udp, "pass/pass_quota"},
				{udp, "pass/pass_quota"},
				{udp, "drop/quota_packets"},
				{udpFrom(b), "pass/pass_allowed"},
				{udpFrom("192.0.3.1"), "drop/denied"},
				{udpFrom("192.0.4.1"), "drop/denied"},
				{udpFrom("198.51.100.9"), "pass/pass_quota"},
				{udpFrom("198.51.100.9"), "drop/quota_packets"},
			},
			[]Reason{ReasonDenied, ReasonPassAllowed},
		},
		{
			"unproved sources share a budget",
			Policy{Classes: []Class{{Client: Level{Packets: hourly(2)}, UnprovedPackets: hourly(3)}}},
			0,
			nil,
			[]step{
				{udp, "pass/pass_unproved"},
				{udp, "pass/pass_unproved"},
				{udp, "drop/unproved_source"},
				{udpFrom(b), "pass/pass_unproved"},
				{udpFrom("192.0.2.3"), "drop/unproved_total"},
			},
			[]Reason{ReasonPassUnproved, ReasonUnprovedSource, ReasonUnprovedTotal},
		},
		{
			"an unproved budget of bytes",
			Policy{Classes: []Class{{UnprovedBytes: hourlyBytes(3044)}}},
			0,
			nil,
			[]step{{from(a, 17, make([]byte, 1480)), "pass/pass_unproved"}, {from(b, 17, make([]byte, 1480)), "pass/pass_unproved"}, {udpFrom("192.0.2.3"), "drop/unproved_total"}},
			nil,
		},
		{
			"unproved SYNs have a budget of their own, without cookies",
			Policy{Classes: []Class{{Client: Level{Packets: hourly(5), Connections: hourly(2)}, UnprovedPackets: hourly(1), UnprovedSYNs: hourly(3)}}},
			0,
			nil,
			[]step{
				{udp, "pass/pass_unproved"},
				{udp, "drop/unproved_total"},
				{tcpFrom(a, syn), "pass/pass_unproved"},
				{tcpFrom(a, syn), "pass/pass_unproved"},
				{tcpFrom(a, syn), "drop/unproved_source"},
				{tcpFrom(b, syn), "pass/pass_unproved"},
				{tcpFrom(b, syn), "drop/syn_flood"},
			},
			[]Reason{ReasonSYNFlood},
		},
		{
			"under attack TCP without proof is out of state",
			Policy{Classes: []Class{{UnprovedPackets: hourly(9)}}},
			ModeUnderAttack,
			[]string{b},
			[]step{
				{tcpFrom(a, ack), "drop/out_of_state"},
				{tcpFrom(a, rst), "drop/out_of_state"},
				{tcpFrom(a, fin|ack), "drop/out_of_state"},
				{tcpFrom(a, syn|ack), "pass/pass_unproved"}, // an answer to this host
				{tcpFrom(a, syn), "drop/syn_flood"},         // nobody listens: no cookie
				{udp, "pass/pass_unproved"},
				{tcpFrom(b, ack), "pass/pass_quota"},
				{tcpFrom(b, syn), "pass/pass_quota"},
			},
			[]Reason{ReasonOutOfState},
		},
		{
			"neighbor discovery passes whatever is used up",
			Policy{Classes: []Class{{UnprovedPackets: hourly(1)}}},
			ModeUnderAttack,
			nil,
			[]step{{udpFrom("2001:db8::1"), "pass/pass_unproved"}, {udpFrom("2001:db8::1"), "drop/unproved_total"}, {neighborFrom("2001:db8::1"), "pass/pass_neighbor"}},
			[]Reason{ReasonPassNeighbor},
		},
	}
}

func neighborFrom(s string) []byte {
	return mutate(from(s, 58, append([]byte{135}, make([]byte, 23)...)), bpftest.MinPacket+7, 255)
}

// quotaReasons are those that the cases produce, those of toldCases, and those of cookies.
func quotaReasons() (all []Reason) {
	for _, c := range quotaCases() {
		all = append(all, c.reasons...)
	}
	for _, c := range toldCases() {
		all = append(all, c.reasons...)
	}
	return append(all, ReasonCookieSent, ReasonPassCookie)
}

func TestBPFQuotas(t *testing.T) {
	for _, tt := range quotaCases() {
		t.Run(tt.name, func(t *testing.T) {
			p := guarding(t, tt.policy)
			if tt.mode != 0 {
				if err := p.SetMode(tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			prove(t, p, tt.proved...)
			for i, s := range tt.steps {
				if v, moved := run(t, p, s.packet); moved != s.moved || (v == actionPass) != (s.moved[0] == 'p') {
					t.Errorf("packet %d: verdict %d, counted %q, want %q", i, v, moved, s.moved)
				}
			}
		})
	}
}

func TestBPFShadowCountsAsEnforceAndPassesAll(t *testing.T) {
	for _, tt := range quotaCases() {
		if tt.mode != 0 {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			p := guarding(t, tt.policy)
			if err := p.SetMode(ModeShadow); err != nil {
				t.Fatal(err)
			}
			prove(t, p, tt.proved...)
			for i, s := range tt.steps {
				if v, moved := run(t, p, s.packet); moved != "pass/"+s.moved[5:] || v != actionPass {
					t.Errorf("packet %d: verdict %d, counted %q, want %q", i, v, moved, "pass/"+s.moved[5:])
				}
			}
		})
	}
}

func TestBPFShadowSaysPerClientWhatItSpared(t *testing.T) {
	p := guarding(t, class(Level{Packets: hourly(1)}))
	prove(t, p, "192.0.2.1")
	if err := p.SetMode(ModeShadow); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		run(t, p, udpFrom("192.0.2.1"))
	}
	if c := client(t, p, "192.0.2.1"); c.Dropped != 4 || c.Spared != 4 || c.Reason != ReasonQuotaPackets {
		t.Errorf("%+v", c)
	}
}

// TestBPFRatesAreExact runs a client at twice its rate for a thousand intervals of a clock that the
// test sets: it admits the burst and what time gives, to the packet.
func TestBPFRatesAreExact(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rate  time.Duration // between two
		burst uint64
	}{{"1 a minute", time.Minute, 1}, {"1 a second", time.Second, 5}, {"1000 a second", time.Millisecond, 50}, {"1000000 a second", time.Microsecond, 100}} {
		t.Run(tt.name, func(t *testing.T) {
			interval := uint64(tt.rate) * ticksPerNano
			p := guarding(t, class(Level{Packets: Quota{interval, tt.burst * interval}}))
			prove(t, p, "192.0.2.1")
			packet := udpFrom("192.0.2.1")
			start := 10 * 365 * 24 * time.Hour // ten years of uptime
			admitted := uint64(0)
			steps := bpftest.Often(2000, 500)
			for i := range steps {
				at(t, p, start+time.Duration(i)*tt.rate/2)
				if test(t, p, packet) == actionPass {
					admitted++
				}
			}
			if bound := tt.burst + uint64(steps-1)/2; admitted != bound {
				t.Errorf("admitted %d, want %d", admitted, bound)
			}
		})
	}
}

func TestBPFHalfOpenConnectionsRunOut(t *testing.T) {
	p := guarding(t, class(Level{Concurrent: 1}))
	prove(t, p, "192.0.2.1")
	wants(t, p, tcpFrom("192.0.2.1", syn), "pass/pass_quota")
	wants(t, p, tcpFrom("192.0.2.1", syn), "drop/quota_concurrent")
	if c := client(t, p, "192.0.2.1"); c.HalfOpen != 1 || c.Connections != 0 {
		t.Errorf("%+v", c)
	}
	at(t, p, time.Hour+70*time.Second) // more than two windows of 34 s
	wants(t, p, tcpFrom("192.0.2.1", syn), "pass/pass_quota")
}

// TestBPFBudgetsAreNeverExceeded leaves the CPUs' leases in: a budget of 100000 a second with a
// burst of 10000, asked for ten times that.
func TestBPFBudgetsAreNeverExceeded(t *testing.T) {
	p := guarding(t, Policy{Classes: []Class{{UnprovedPackets: perSecond(100_000, 10_000)}}})
	passed := 0
	steps := bpftest.Often(200_000, 20_000)
	for i := range steps {
		at(t, p, time.Hour+time.Duration(i)*time.Microsecond)
		if test(t, p, source(i)) == actionPass {
			passed++
		}
	}
	if bound := 10_000 + steps/10; passed > bound || passed < bound*95/100 {
		t.Errorf("passed %d, the bound is %d", passed, bound)
	}
}
