package main

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/bpf/latency"
	"weir/edge"
	"weir/edge/loop"
	"weir/internal/golden"
)

// Ends of sockets in tests.
var (
	whyLocal = netip.MustParseAddrPort("198.51.100.1:8000")
	whySlow  = netip.MustParseAddrPort("192.0.2.7:51234")
	whyProxy = netip.MustParseAddrPort("10.0.0.9:4444")
)

// whyConns are two of a client that weir holds, one of them through a proxy, and one that ended.
func whyConns() []edge.ConnReport {
	return []edge.ConnReport{
		{Client: whySlow, Local: whyLocal, Remote: whySlow, State: "websocket", Topics: []string{"a"}, Falls: map[string]int{"receive_window": 2}, Outstanding: 9, TCP: &loop.TCPInfo{UnsentBytes: 5, UnackedSegments: 1, CongestionWindow: 10, SegmentBytes: 1448, RTT: time.Millisecond}},
		{Client: netip.MustParseAddrPort("192.0.2.7:7"), Local: whyLocal, Remote: whyProxy, State: "stream", TCP: &loop.TCPInfo{}},
		{Client: netip.MustParseAddrPort("192.0.2.7:99"), State: "closed", Reason: "peer_gone"},
	}
}

// whyWalk gives a listener, what the kernel has of whyConns, and others of the client and of others.
func whyWalk(f func(*latency.Socket) bool) error {
	for _, s := range []latency.Socket{
		{Local: netip.AddrPortFrom(netip.IPv6Unspecified(), 8000), State: 10, Backlog: 3},
		{Local: whyLocal, Remote: netip.MustParseAddrPort("192.0.2.7:99"), State: 4, Unacked: 4000, TotalRetransmits: 9, Retransmits: 6},
		{Local: whyLocal, Remote: netip.MustParseAddrPort("192.0.2.8:51234"), State: 1},
		{Local: whyLocal, Remote: whySlow, State: 1, Unsent: 5, Unacked: 1448, Unread: 3, RTT: time.Millisecond, Deviation: 250 * time.Microsecond, TotalRetransmits: 4, Window: 10},
		{Local: whyLocal, Remote: whyProxy, State: 1, TotalRetransmits: 1},
		{Local: netip.MustParseAddrPort("198.51.100.1:22"), Remote: netip.MustParseAddrPort("192.0.2.7:50000"), State: 1, Window: 20, PeerWindow: 64000, RTT: 3 * time.Millisecond},
	} {
		if !f(&s) {
			return nil
		}
	}
	return nil
}

func TestWhyJoinsTheKernelsSocketsByTheirEnds(t *testing.T) {
	k, err := kernelStateOf("192.0.2.7", whyConns(), whyWalk)
	if err != nil {
		t.Fatal(err)
	}
	answer := whyAnswer{Conns: whyConns(), Kernel: &k}
	var out bytes.Buffer
	if err := answer.print(&out, "192.0.2.7"); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/why_kernel.txt", out.String())
	for client, want := range map[string]int{"192.0.2.7": 4, "192.0.2.7:51234": 2, "192.0.2.7:99": 3, "sub=alice": 2, "::ffff:192.0.2.7": 4} {
		if k, err := kernelStateOf(client, whyConns(), whyWalk); err != nil || len(k.Sockets) != want || !k.Sockets[0].Held || k.Off != "" {
			t.Errorf("%s has %d sockets, %v, %s: want %d", client, len(k.Sockets), err, k.Off, want)
		}
	}
}

func TestWhyShowsWhatTheKernelHasOfAClientThatWeirDoesNotKnow(t *testing.T) {
	k, err := kernelStateOf("192.0.2.8", nil, whyWalk)
	if err != nil || len(k.Sockets) != 1 || k.Sockets[0].Held || k.Off != "" {
		t.Fatalf("%+v, %v", k, err)
	}
	var out bytes.Buffer
	if err := (&whyAnswer{Kernel: &k}).print(&out, "192.0.2.8"); err != nil || !strings.Contains(out.String(), "no connection of 192.0.2.8 is held") || !strings.Contains(out.String(), "192.0.2.8:51234  established") {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestWhySaysWhyTheKernelWasNotAsked(t *testing.T) {
	k, err := kernelStateOf("192.0.2.7", whyConns(), func(func(*latency.Socket) bool) error { return nil })
	if err != nil || !strings.Contains(k.Off, "nsenter") {
		t.Errorf("in another namespace: %+v, %v", k, err)
	}
	var out bytes.Buffer
	if err := k.printRest(&out); err != nil || !strings.Contains(out.String(), "the kernel was not asked: no connection that weir holds") {
		t.Errorf("%v: %s", err, &out)
	}
	broken := errors.New("walk the sockets: broken")
	if _, err := kernelStateOf("192.0.2.7", nil, func(func(*latency.Socket) bool) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a walk that fails: %v", err)
	}
	if k := lookInKernel("http://192.0.2.1:8001", "192.0.2.7", nil); !strings.Contains(k.Off, "192.0.2.1 is another host") {
		t.Errorf("of another host: %+v", k)
	}
	for _, admin := range []string{"http://127.0.0.1:8001", "http://localhost:8001", "http://[::1]:8001"} {
		if err := isHere(admin); err != nil {
			t.Errorf("%s: %v", admin, err)
		}
	}
}

func TestStatesOfTCPHaveNames(t *testing.T) {
	for state, want := range map[uint8]string{1: "established", 4: "fin-wait-1", 9: "last-ack", 12: "new", 13: "state 13", 0: "state 0"} {
		if got := tcpState(state); got != want {
			t.Errorf("%d is %s, want %s", state, got, want)
		}
	}
}
