//go:build linux

package xdp

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"
)

// lab is two hosts joined by a cable; the program guards the first one's end.
func lab(t *testing.T) (guarded, other *netlab.Namespace) {
	t.Helper()
	bpftest.Require(t, "5.15", "xdp_weir")
	guarded, other = bpftest.Namespace(t), bpftest.Namespace(t)
	joined(t, guarded, other)
	return guarded, other
}

// joined joins two hosts by a cable.
func joined(t *testing.T, guarded, other *netlab.Namespace) {
	t.Helper()
	err := netlab.Pair(
		netlab.End{In: guarded, Interface: "a0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24"), netip.MustParsePrefix("2001:db8::1/64")}},
		netlab.End{In: other, Interface: "b0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("198.18.0.3/24"), netip.MustParsePrefix("2001:db8::2/64")}},
	)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel says by a task of its own that the cable is in, a second later at worst: until then what an end sends is dropped.
	for name, in := range map[string]*netlab.Namespace{"a0": guarded, "b0": other} {
		eventually(t, name+" has no carrier", func() bool {
			var at *net.Interface
			err := in.Do(func() (err error) { at, err = net.InterfaceByName(name); return err })
			return err == nil && at.Flags&net.FlagRunning != 0
		})
	}
}

// remove removes an interface, and with it the other end of its cable.
func remove(t *testing.T, in *netlab.Namespace, name string) {
	t.Helper()
	if err := in.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// receiver counts the datagrams that reach an address: it waits for as many as there are to be, and then for others.
func receiver(t *testing.T, in *netlab.Namespace, addr string) (count func(want int) int) {
	t.Helper()
	var conn net.PacketConn
	err := in.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	// What comes waits until it is counted, and native XDP on veth, in Linux 6.1, makes a page
	// of each datagram: the buffer that a socket has by default holds 49.
	if err := conn.(*net.UDPConn).SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	return func(want int) (n int) {
		buf := make([]byte, 64)
		for {
			wait := 200 * time.Millisecond
			if n < want { // a machine that is busy takes its time
				wait = 10 * time.Second
			}
			_ = conn.SetReadDeadline(time.Now().Add(wait))
			if _, _, err := conn.ReadFrom(buf); err != nil {
				return n
			}
			n++
		}
	}
}

func send(t *testing.T, in *netlab.Namespace, from, to string, n int) {
	t.Helper()
	err := in.Do(func() error {
		local, err := net.ResolveUDPAddr("udp", from)
		if err != nil {
			return err
		}
		d := net.Dialer{LocalAddr: local}
		conn, err := d.Dial("udp", to)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // nothing is buffered
		for range n {
			if _, err := conn.Write([]byte("x")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNetnsClientOverItsQuotaIsCutAndItsNeighborIsNot(t *testing.T) {
	guarded, other := lab(t)
	var p *Program
	err := guarded.Do(func() (err error) {
		if p, err = Load(Config{Interface: "a0", Attach: AttachNative, Slots: 1024, Proof: OptionOff}, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		how, err := p.Attach()
		if how != AttachNative {
			t.Errorf("attached %q", how)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer p.Close() //nolint:errcheck // closed below; again does nothing
	// Address resolution and a few packets more than those counted.
	setPolicy(t, p, packets(60, 1), ModeEnforce)
	count := receiver(t, guarded, "198.18.0.1:9")
	send(t, other, "198.18.0.2:0", "198.18.0.1:9", 200)
	if n := count(50); n < 50 || n > 60 {
		t.Errorf("%d of 200 datagrams came through a quota of 60", n)
	}
	send(t, other, "198.18.0.3:0", "198.18.0.1:9", 40)
	if n := count(40); n != 40 {
		t.Errorf("%d of the neighbor's 40 came through", n)
	}
	v6 := receiver(t, guarded, "[2001:db8::1]:9")
	send(t, other, "[2001:db8::2]:0", "[2001:db8::1]:9", 200)
	if n := v6(50); n < 50 || n > 60 {
		t.Errorf("%d of 200 datagrams over IPv6 came through a quota of 60", n)
	}
	second := guarded.Do(func() error {
		q, err := Load(Config{Interface: "a0", Slots: 16, Proof: OptionOff}, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		defer q.Close() //nolint:errcheck // it was never attached
		_, err = q.Attach()
		return err
	})
	if !errors.Is(second, ErrBusy) || !strings.Contains(second.Error(), "xdp_weir)") {
		t.Errorf("a second program: %v", second)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	send(t, other, "198.18.0.2:0", "198.18.0.1:9", 200)
	if n := count(200); n != 200 {
		t.Errorf("%d of 200 came through when the program was gone", n)
	}
}
