//go:build linux

package latency

import (
	"errors"
	"net/netip"
	"testing"

	"weir/bpf/bpftest"

	"golang.org/x/sys/unix"
)

// lateAnswers has the server answer with the made delay, and acknowledge with the answer, not before. It
// bounds the round trips, and unread leaves the server something to read.
func lateAnswers(tb testing.TB, rounds int) (trips span, port uint16, unread func()) {
	tb.Helper()
	trips.least = made
	client, server, port := pair(tb)
	raw, err := server.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	buffer := make([]byte, 10)
	for range rounds {
		err := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
		})
		if err != nil {
			tb.Fatal(err)
		}
		trip := late(func() { write(tb, client, []byte("question")) }, func() {
			read(tb, server, buffer)
			write(tb, server, []byte("answer"))
			read(tb, client, buffer)
		})
		trips.most = max(trips.most, trip.most)
	}
	return trips, port, func() { write(tb, client, []byte("unread")) }
}

func TestBPFRTTHasEachConnection(t *testing.T) {
	tracer := trace(t, RTT, Config{})
	_, port, unread := lateAnswers(t, 1)
	unread()
	var of []Socket
	err := tracer.Sockets(func(s *Socket) bool {
		if s.Local.Port() == port {
			of = append(of, *s)
		}
		return true
	})
	if err != nil || len(of) != 2 || !of[0].Listens() || of[1].Listens() {
		t.Fatalf("%+v, %v: want the listener, then the connection", of, err)
	}
	home := netip.MustParseAddr("127.0.0.1")
	if c := of[1]; c.Unread != uint32(len("unread")) || c.Local != netip.AddrPortFrom(home, port) || c.Remote.Addr() != home || c.State != 1 || c.Window == 0 || c.PeerWindow == 0 {
		t.Errorf("the connection is %+v", c)
	}
}

func TestBPFRTTIsThatOfThePeer(t *testing.T) {
	tracer := trace(t, RTT, Config{})
	trips, port, _ := lateAnswers(t, 60)
	seen := 0
	for _, c := range snapshot(t, tracer).Classes {
		if c.Port != port {
			continue
		}
		seen++
		if c.Conns != 1 || c.RTT.Count != 1 || c.Inbound != (c.MostBacklog > 0) {
			t.Errorf("a class is %+v: want one connection", c)
		}
	}
	if seen != 2 {
		t.Errorf("%d classes: want what came in, and what went out", seen)
	}
	var client Socket
	err := tracer.Sockets(func(s *Socket) bool {
		if s.Remote.Port() == port {
			client = *s
		}
		return client.State == 0
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := bucketOf(client.RTT); got < bucketOf(trips.least)-1 || client.RTT > trips.most { // it is smoothed
		t.Errorf("the client's round trip is %v: want about %v, at most %v", client.RTT, trips.least, trips.most)
	}
}

func TestBPFRTTOfOtherPortsIsNotCounted(t *testing.T) {
	_, _, port := pair(t)
	tracer := trace(t, RTT, Config{Ports: []uint16{port}})
	s := snapshot(t, tracer)
	if len(s.Classes) != 1 || s.Classes[0].Port != port || !s.Classes[0].Inbound || s.Classes[0].Conns != 1 || s.Classes[0].MostBacklog == 0 {
		t.Errorf("classes are %+v: want one of port %d with its connection", s.Classes, port)
	}
	if err := trace(t, XDP, Config{}).Sockets(nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("another tracer's sockets: %v", err)
	}
}

func TestBPFWriteMeasuresTheWayToThePeer(t *testing.T) {
	bpftest.Require(t, "6.15", "BPF timestamps of what is sent")
	for _, before := range []bool{true, false} { // whether the connection was there before the tracer
		var tracer *Tracer
		l, port := listen(t)
		if !before {
			tracer = trace(t, Write, Config{PIDs: us(), Ports: []uint16{port}})
		}
		client := dial(t, l)
		server := accept(t, l)
		if before {
			tracer = trace(t, Write, Config{PIDs: us(), Ports: []uint16{port}})
		}
		raw, err := client.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0) }); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 10)
		took := late(func() { write(t, server, []byte("question")) }, func() {
			read(t, client, buffer)
			write(t, client, []byte("answer"))
			read(t, server, buffer)
		})
		s := snapshot(t, tracer)
		took.holds(t, &s.Histograms[2], 0)
		for _, h := range s.Histograms[:2] {
			span{0, took.most}.holds(t, &h, 0)
		}
	}
}

func TestBPFWriteOfOthersIsNotCounted(t *testing.T) {
	bpftest.Require(t, "6.15", "BPF timestamps of what is sent")
	for name, cfg := range map[string]Config{"another process": {PIDs: []int{nobody}}, "another port": {Ports: []uint16{1}}} {
		tracer := trace(t, Write, cfg)
		client, server, _ := pair(t)
		write(t, client, []byte("one"))
		read(t, server, make([]byte, 10))
		for _, h := range snapshot(t, tracer).Histograms {
			if h.Count != 0 {
				t.Errorf("%s: %s counts %d", name, h.Name, h.Count)
			}
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	client, server, port := pair(b)
	tracer := trace(b, Write, Config{PIDs: us(), Ports: []uint16{port}, Cost: true})
	buffer := make([]byte, 64)
	for b.Loop() {
		write(b, server, buffer)
		read(b, client, buffer)
		write(b, client, buffer)
		read(b, server, buffer)
	}
	perEvent(b, tracer)
}

func BenchmarkRTT(b *testing.B) {
	l, port := listen(b)
	const conns = 1000
	for range conns {
		dial(b, l)
		accept(b, l)
	}
	tracer := trace(b, RTT, Config{Ports: []uint16{port}})
	var s Snapshot
	for b.Loop() {
		if err := tracer.SnapshotInto(&s); err != nil {
			b.Fatal(err)
		}
	}
	if len(s.Classes) != 1 || s.Classes[0].Conns != conns {
		b.Fatalf("%+v", s.Classes)
	}
}
