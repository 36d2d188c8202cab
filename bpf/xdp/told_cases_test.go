//go:build linux

package xdp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"weir/bpf/bpftest"
)

// identified is a connection of the cases below: from a port of an address to 8000 of ours.
func identified(remote string, port uint16) (local, to netip.AddrPort) {
	at := netip.MustParseAddr(remote)
	ours := v4.Dst
	if at.Is6() && !at.Is4In6() {
		ours = v6.Dst
	}
	return netip.AddrPortFrom(ours, 8000), netip.AddrPortFrom(at, port)
}

// ackFrom is a packet of an established connection, from a port of an address.
func ackFrom(s string, port uint16) []byte {
	return from(s, 6, mutate(bpftest.TCP(port, 8000), 13, ack|psh))
}

func bind(tb testing.TB, p *Program, remote string, port uint16, identity, class string) {
	tb.Helper()
	local, to := identified(remote, port)
	if err := p.Bind(local, to, identity, class); err != nil {
		tb.Fatal(err)
	}
}

// until is a time of a program made by guarding, which begins at an hour.
func until(d time.Duration) uint64 { return uint64(time.Hour + d) } //nolint:gosec // positive

func escalate(tb testing.TB, p *Program, client string, d time.Duration, q Quota) {
	tb.Helper()
	c := ClientName{Identity: client}
	if prefix, err := netip.ParsePrefix(client); err == nil {
		c = ClientName{Prefix: prefix}
	}
	if err := p.Escalate(Escalation{Client: c, Policy: "api", SinceNanos: until(0), UntilNanos: until(d), Packets: q}); err != nil {
		tb.Fatal(err)
	}
}

// toldCase is what user space has told, and packets.
type toldCase struct {
	name    string
	policy  Policy
	proved  []string
	tell    func(tb testing.TB, p *Program)
	steps   []step
	reasons []Reason
}

func named(classes ...Class) Policy {
	for i := range classes {
		classes[i].Name = fmt.Sprintf("c%d", i)
	}
	return Policy{Classes: classes, Pass: []Reason{ReasonFragment}}
}

const (
	nat   = "192.0.2.1" // an address that many are behind
	other = "192.0.2.2"
)

func toldCases() []toldCase {
	return append(boundCases(), escalatedCases()...)
}

func boundCases() []toldCase {
	three := Class{Client: Level{Packets: hourly(3)}}
	options := bpftest.IPv4{Src: netip.MustParseAddr(nat), Dst: v4.Dst, Options: make([]byte, 8)}
	return []toldCase{
		{
			"a bound connection is its identity's, and neither its address's nor another connection's",
			named(three),
			[]string{nat},
			func(tb testing.TB, p *Program) { tb.Helper(); bind(tb, p, nat, 1, "alice", "c0") },
			[]step{
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "drop/quota_packets"},
				{ackFrom(nat, 2), "pass/pass_quota"},
				{udpFrom(nat), "pass/pass_quota"},
				{tcpFrom(nat, syn), "pass/pass_quota"},
				{ackFrom(nat, 2), "drop/quota_packets"},
			},
			nil,
		},
		{
			"an identity is one client, from wherever it comes",
			named(three),
			nil,
			func(tb testing.TB, p *Program) {
				tb.Helper()
				bind(tb, p, nat, 1, "alice", "c0")
				bind(tb, p, other, 2, "alice", "c0")
				bind(tb, p, "2001:db8::1", 3, "alice", "c0")
				bind(tb, p, other, 4, "bob", "c0")
			},
			[]step{
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(other, 2), "pass/pass_quota"},
				{ackFrom("2001:db8::1", 3), "pass/pass_quota"},
				{ackFrom(other, 2), "drop/quota_packets"},
				{ackFrom("2001:db8::1", 3), "drop/quota_packets"},
				{ackFrom(other, 4), "pass/pass_quota"},
			},
			nil,
		},
		{
			"a new connection of a bound one's ports is its address's",
			named(Class{Client: Level{Packets: hourly(1)}}),
			[]string{nat},
			func(tb testing.TB, p *Program) { tb.Helper(); bind(tb, p, nat, 1, "alice", "c0") },
			[]step{
				{ackFrom(nat, 1), "pass/pass_quota"},
				{from(nat, 6, bpftest.TCP(1, 8000)), "pass/pass_quota"},
				{from(nat, 6, bpftest.TCP(1, 8000)), "drop/quota_packets"},
			},
			nil,
		},
		{
			"whatever headers and tags there are, the connection is found",
			named(three),
			[]string{nat, "2001:db8::1"},
			func(tb testing.TB, p *Program) {
				tb.Helper()
				bind(tb, p, nat, 1, "alice", "c0")
				bind(tb, p, "2001:db8::1", 1, "alice", "c0")
			},
			[]step{
				{bpftest.Eth(0x0800, options.Packet(6, mutate(bpftest.TCP(1, 8000), 13, ack))), "pass/pass_quota"},
				{bpftest.Eth(0x8100, bpftest.VLAN(0x0800, ackFrom(nat, 1)[14:])), "pass/pass_quota"},
				{bpftest.Eth(0x86dd, v6.WithExts(6, mutate(bpftest.TCP(1, 8000), 13, ack), 60, 43)), "pass/pass_quota"},
				{ackFrom(nat, 1), "drop/quota_packets"},
			},
			nil,
		},
		{
			"a connection to another port or address of ours is another one",
			named(three),
			[]string{nat},
			func(tb testing.TB, p *Program) {
				tb.Helper()
				local, remote := identified(nat, 1)
				for _, l := range []netip.AddrPort{netip.AddrPortFrom(local.Addr(), 8001), netip.AddrPortFrom(local.Addr().Next(), 8000)} {
					if err := p.Bind(l, remote, "alice", "c0"); err != nil {
						tb.Fatal(err)
					}
				}
			},
			[]step{
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 2), "pass/pass_quota"},
				{ackFrom(nat, 2), "drop/quota_packets"},
			},
			nil,
		},
		{
			"it is charged under its class; one that the policy has not is the default one",
			named(three, Class{Client: Level{Packets: hourly(1)}}),
			nil,
			func(tb testing.TB, p *Program) {
				tb.Helper()
				bind(tb, p, nat, 1, "alice", "c1")
				bind(tb, p, nat, 2, "bob", "none")
			},
			[]step{
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "drop/quota_packets"},
				{ackFrom(nat, 2), "pass/pass_quota"},
				{ackFrom(nat, 2), "pass/pass_quota"},
				{ackFrom(nat, 2), "pass/pass_quota"},
				{ackFrom(nat, 2), "drop/quota_packets"},
			},
			nil,
		},
		{
			"the aggregate of its class holds, and what it refuses is not charged to the identity",
			named(Class{Client: Level{Packets: hourly(3)}, Aggregate: Level{Packets: hourly(4), IPv4Bits: 24}}),
			nil,
			func(tb testing.TB, p *Program) {
				tb.Helper()
				bind(tb, p, nat, 1, "alice", "c0")
				bind(tb, p, other, 1, "bob", "c0")
				bind(tb, p, "198.51.100.9", 1, "bob", "c0")
			},
			[]step{
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "drop/quota_packets"},
				{ackFrom(other, 1), "pass/pass_quota"},
				{ackFrom(other, 1), "drop/aggregate"},
				{ackFrom("198.51.100.9", 1), "pass/pass_quota"},
				{ackFrom("198.51.100.9", 1), "pass/pass_quota"},
				{ackFrom("198.51.100.9", 1), "drop/quota_packets"},
			},
			nil,
		},
		{
			"the lists of addresses come first",
			Policy{
				Classes: []Class{{Name: "c0", Client: Level{Packets: hourly(1)}}},
				Entries: []Entry{{Prefix: prefixes(nat + "/32")[0], Allow: true}, {Prefix: prefixes(other + "/32")[0], Deny: true}},
			},
			nil,
			func(tb testing.TB, p *Program) {
				tb.Helper()
				bind(tb, p, nat, 1, "alice", "c0")
				bind(tb, p, other, 1, "alice", "c0")
			},
			[]step{
				{ackFrom(nat, 1), "pass/pass_allowed"},
				{ackFrom(nat, 1), "pass/pass_allowed"},
				{ackFrom(other, 1), "drop/denied"},
			},
			nil,
		},
		{
			"unbound it is its address's again",
			named(Class{Client: Level{Packets: hourly(1)}}),
			[]string{nat},
			func(tb testing.TB, p *Program) {
				tb.Helper()
				bind(tb, p, nat, 1, "alice", "c0")
				bind(tb, p, nat, 2, "alice", "c0")
				if err := p.Unbind(identified(nat, 1)); err != nil {
					tb.Fatal(err)
				}
			},
			[]step{
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "drop/quota_packets"},
				{ackFrom(nat, 2), "pass/pass_quota"},
				{ackFrom(nat, 2), "drop/quota_packets"},
			},
			nil,
		},
	}
}

func escalatedCases() []toldCase {
	plenty := named(Class{Client: Level{Packets: hourly(100)}, UnprovedPackets: hourly(100), UnprovedSYNs: hourly(100)})
	listed := plenty.clone()
	listed.Entries = []Entry{{Prefix: prefixes(nat + "/32")[0], Allow: true}, {Prefix: prefixes(other + "/32")[0], Deny: true}}
	v6client := "2001:db8::/64"
	return []toldCase{
		{
			"an escalated address opens nothing, and of its packets a few pass",
			plenty,
			[]string{nat, other},
			func(tb testing.TB, p *Program) { tb.Helper(); escalate(tb, p, nat+"/32", time.Minute, hourly(2)) },
			[]step{
				{tcpFrom(nat, syn), "drop/escalated_syn"},
				{tcpFrom(nat, ack), "pass/pass_quota"},
				{tcpFrom(nat, fin|ack), "pass/pass_quota"},
				{tcpFrom(nat, ack), "drop/escalated"},
				{udpFrom(nat), "drop/escalated"},
				{bpftest.Eth(0x8100, bpftest.VLAN(0x0800, tcpFrom(nat, syn)[14:])), "drop/escalated_syn"},
				{tcpFrom(other, syn), "pass/pass_quota"},
			},
			[]Reason{ReasonEscalatedSYN, ReasonEscalated},
		},
		{
			"one without a slot is refused as well",
			plenty,
			nil,
			func(tb testing.TB, p *Program) { tb.Helper(); escalate(tb, p, nat+"/32", time.Minute, hourly(1)) },
			[]step{
				{tcpFrom(nat, syn), "drop/escalated_syn"},
				{tcpFrom(nat, ack), "pass/pass_unproved"},
				{tcpFrom(nat, ack), "drop/escalated"},
				{tcpFrom(other, syn), "pass/pass_unproved"},
			},
			nil,
		},
		{
			"with no packets at all nothing passes",
			plenty,
			[]string{nat},
			func(tb testing.TB, p *Program) { tb.Helper(); escalate(tb, p, nat+"/32", time.Minute, Quota{}) },
			[]step{{tcpFrom(nat, ack), "drop/escalated"}, {tcpFrom(nat, syn), "drop/escalated_syn"}},
			nil,
		},
		{
			"what passes is within the client's own quotas as well",
			named(Class{Client: Level{Packets: hourly(1)}}),
			[]string{nat},
			func(tb testing.TB, p *Program) { tb.Helper(); escalate(tb, p, nat+"/32", time.Minute, hourly(2)) },
			[]step{{tcpFrom(nat, ack), "pass/pass_quota"}, {tcpFrom(nat, ack), "drop/quota_packets"}, {tcpFrom(nat, ack), "drop/escalated"}},
			nil,
		},
		{
			"of an IPv6 client neighbor discovery passes",
			plenty,
			[]string{"2001:db8::1"},
			func(tb testing.TB, p *Program) { tb.Helper(); escalate(tb, p, v6client, time.Minute, Quota{}) },
			[]step{{udpFrom("2001:db8::77"), "drop/escalated"}, {neighborFrom("2001:db8::1"), "pass/pass_neighbor"}, {udpFrom("2001:db8:0:1::1"), "pass/pass_unproved"}},
			nil,
		},
		{
			"who has an identity behind an escalated address keeps its connections",
			plenty,
			[]string{nat},
			func(tb testing.TB, p *Program) {
				tb.Helper()
				bind(tb, p, nat, 1, "alice", "c0")
				escalate(tb, p, nat+"/32", time.Minute, Quota{})
			},
			[]step{{ackFrom(nat, 1), "pass/pass_quota"}, {ackFrom(nat, 2), "drop/escalated"}, {ackFrom(nat, 1), "pass/pass_quota"}},
			nil,
		},
		{
			"an escalated identity is cut in its connections, its neighbors in none",
			plenty,
			[]string{nat},
			func(tb testing.TB, p *Program) {
				tb.Helper()
				bind(tb, p, nat, 1, "mallory", "c0")
				bind(tb, p, other, 1, "mallory", "c0")
				bind(tb, p, nat, 2, "alice", "c0")
				escalate(tb, p, "mallory", time.Minute, hourly(1))
			},
			[]step{
				{ackFrom(nat, 1), "pass/pass_quota"},
				{ackFrom(nat, 1), "drop/escalated"},
				{ackFrom(other, 1), "drop/escalated"},
				{ackFrom(nat, 2), "pass/pass_quota"},
				{ackFrom(nat, 3), "pass/pass_quota"},
				{tcpFrom(nat, syn), "pass/pass_quota"}, // whose it is nobody can tell yet
			},
			nil,
		},
		{
			"the operator's lists win",
			listed,
			[]string{nat},
			func(tb testing.TB, p *Program) {
				tb.Helper()
				escalate(tb, p, nat+"/32", time.Minute, Quota{})
				escalate(tb, p, other+"/32", time.Minute, hourly(9))
				bind(tb, p, nat, 1, "mallory", "c0")
				escalate(tb, p, "mallory", time.Minute, Quota{})
			},
			[]step{
				{tcpFrom(nat, syn), "pass/pass_allowed"},
				{tcpFrom(nat, ack), "pass/pass_allowed"},
				{ackFrom(nat, 1), "pass/pass_allowed"},
				{tcpFrom(other, ack), "drop/denied"},
			},
			nil,
		},
		{
			"new connections may be allowed, as packets",
			plenty,
			[]string{nat},
			func(tb testing.TB, p *Program) {
				tb.Helper()
				e := Escalation{Client: ClientName{Prefix: prefixes(nat + "/32")[0]}, UntilNanos: until(time.Minute), Packets: hourly(1), AllowNew: true}
				if err := p.Escalate(e); err != nil {
					tb.Fatal(err)
				}
			},
			[]step{{tcpFrom(nat, syn), "pass/pass_quota"}, {tcpFrom(nat, syn), "drop/escalated"}},
			nil,
		},
		{
			"relieved it is as it was",
			plenty,
			[]string{nat},
			func(tb testing.TB, p *Program) {
				tb.Helper()
				escalate(tb, p, nat+"/32", time.Minute, Quota{})
				if was, err := p.Relieve(ClientName{Prefix: prefixes(nat + "/32")[0]}); !was || err != nil {
					tb.Errorf("%v, %v", was, err)
				}
			},
			[]step{{tcpFrom(nat, syn), "pass/pass_quota"}},
			nil,
		},
	}
}
