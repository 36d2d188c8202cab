//go:build linux

package xdp

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"
)

// watched loads the program in a namespace with connections watched, and attaches it to a0.
func watched(t *testing.T, in *netlab.Namespace, cfg Config, policy Policy) *Program {
	t.Helper()
	cfg.Interface, cfg.Attach, cfg.Slots, cfg.Proof = "a0", AttachNative, 1024, OptionOn
	p, _, err := loadIn(t, in, cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	setPolicy(t, p, policy, ModeEnforce)
	return p
}

// echoes listens in a namespace and answers with what it gets.
func echoes(t *testing.T, in *netlab.Namespace, addr string) {
	t.Helper()
	var l net.Listener
	err := in.Do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
}

// dial connects from a namespace and has one byte echoed.
func dial(t *testing.T, in *netlab.Namespace, from, to string) net.Conn {
	t.Helper()
	c, err := tryDial(in, from, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func tryDial(in *netlab.Namespace, from, to string) (c net.Conn, err error) {
	err = in.Do(func() (err error) {
		d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		c, err = d.Dial("tcp", to)
		return err
	})
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err = c.Write([]byte{7}); err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// eventually polls until ok, or fails with what says.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// connections are those that an address's slot counts, -1 if it has none.
func connections(p *Program, addr string) int {
	all := p.Find(netip.MustParseAddr(addr))
	if len(all) == 0 {
		return -1
	}
	return all[0].Connections
}

func TestNetnsHandshakeIsProofAndConnectionsAreCounted(t *testing.T) {
	guarded, other := lab(t)
	p := watched(t, guarded, Config{}, Policy{Classes: []Class{{Client: Level{Packets: perSecond(1000, 1000), Concurrent: 3}, Aggregate: Level{IPv6Bits: 48}}}})
	for _, tt := range []struct{ listen, from, to string }{
		{"198.18.0.1:80", "198.18.0.2", "198.18.0.1:80"},
		{"[::]:81", "198.18.0.3", "198.18.0.1:81"}, // IPv4 on an IPv6 socket
		{"[2001:db8::1]:82", "2001:db8::2", "[2001:db8::1]:82"},
	} {
		t.Run(tt.to, func(t *testing.T) {
			echoes(t, guarded, tt.listen)
			if n := connections(p, tt.from); n != -1 {
				t.Errorf("%d connections before there were any", n)
			}
			var open []net.Conn
			for range 3 {
				open = append(open, dial(t, other, tt.from, tt.to))
			}
			if n := connections(p, tt.from); n != 3 {
				t.Errorf("%d connections, want 3", n)
			}
			for _, c := range p.Find(netip.MustParseAddr(tt.from)) {
				if c.Connections != 3 || c.HalfOpen != 0 {
					t.Errorf("%+v", c)
				}
			}
			if c, err := tryDialQuick(other, tt.from, tt.to); err == nil {
				_ = c.Close()
				t.Error("a fourth connection was let in")
			}
			_ = open[0].Close()
			eventually(t, "the end of a connection is not seen", func() bool { return connections(p, tt.from) == 2 })
			for _, c := range open {
				_ = c.Close()
			}
			eventually(t, "the ends of connections are not seen", func() bool { return connections(p, tt.from) == 0 })
		})
	}
	s, err := p.Stats()
	if err != nil || s.ConnsLost != 0 || s.SlotsLost != 0 || s.Dropped[ReasonQuotaConcurrent].Packets == 0 {
		t.Errorf("%d connections lost, %d slots lost, %d refused, %v", s.ConnsLost, s.SlotsLost, s.Dropped[ReasonQuotaConcurrent].Packets, err)
	}
}

// tryDialQuick does not wait for what is refused.
func tryDialQuick(in *netlab.Namespace, from, to string) (c net.Conn, err error) {
	err = in.Do(func() (err error) {
		d := net.Dialer{Timeout: 300 * time.Millisecond, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		c, err = d.Dial("tcp", to)
		return err
	})
	return c, err
}

func TestNetnsConnectionsThatWereThereBeforeAreCounted(t *testing.T) {
	guarded, other := lab(t)
	echoes(t, guarded, "198.18.0.1:80")
	echoes(t, other, "198.18.0.3:90")
	a, b := dial(t, other, "198.18.0.2", "198.18.0.1:80"), dial(t, other, "198.18.0.2", "198.18.0.1:80")
	dial(t, guarded, "198.18.0.1", "198.18.0.3:90") // this host's own: its peer is proved and not charged
	p := watched(t, guarded, Config{}, class(Level{Packets: perSecond(1000, 1000)}))
	if n, own := connections(p, "198.18.0.2"), connections(p, "198.18.0.3"); n != 2 || own != 0 {
		t.Errorf("%d connections, want 2; %d of a peer of this host's, want 0", n, own)
	}
	if _, err := p.Listeners(); err != nil { // walks again: nothing is counted twice
		t.Fatal(err)
	}
	if n := connections(p, "198.18.0.2"); n != 2 {
		t.Errorf("%d connections after another walk, want 2", n)
	}
	_ = a.Close()
	eventually(t, "the end of a connection is not seen", func() bool { return connections(p, "198.18.0.2") == 1 })
	_ = b.Close()
	eventually(t, "the end of a connection is not seen", func() bool { return connections(p, "198.18.0.2") == 0 })
}

// passAll has what XDP sends back arrive at an end of the cable.
func passAll(t *testing.T, in *netlab.Namespace, iface string) {
	t.Helper()
	l, err := in.PassXDP(iface)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

// stampAll tells all listeners of a namespace to expect cookies.
func stampAll(t *testing.T, p *Program, in *netlab.Namespace) (told int) {
	t.Helper()
	err := in.Do(func() error {
		listeners, err := p.Listeners()
		if err != nil {
			return err
		}
		told, err = p.Stamp(listeners)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return told
}

func TestNetnsSYNsOverTheirBudgetAreAnsweredWithCookies(t *testing.T) {
	bpftest.Require(t, "6.0", "SYN cookies in XDP")
	guarded, other := lab(t)
	passAll(t, other, "b0")
	for _, tt := range []struct{ listen, from, to string }{
		{"198.18.0.1:80", "198.18.0.2", "198.18.0.1:80"},
		{"[::]:81", "198.18.0.3", "198.18.0.1:81"},
		{"[2001:db8::1]:82", "2001:db8::2", "[2001:db8::1]:82"},
	} {
		t.Run(tt.to, func(t *testing.T) {
			p := watched(t, guarded, Config{Cookies: OptionOn}, Policy{Classes: []Class{{Client: Level{Connections: perSecond(100, 100)}, UnprovedSYNs: hourly(1)}}})
			echoes(t, guarded, tt.listen)
			if n := stampAll(t, p, guarded); n == 0 {
				t.Fatal("no listener was told")
			}
			// The budget's one SYN goes to a port that nobody listens on.
			_, _ = tryDialQuick(other, tt.from, netip.AddrPortFrom(netip.MustParseAddrPort(tt.to).Addr(), 9).String())
			before, err := p.Stats()
			if err != nil {
				t.Fatal(err)
			}
			c := dial(t, other, tt.from, tt.to)
			s, err := p.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if sent, came := s.Answered[ReasonCookieSent].Packets-before.Answered[ReasonCookieSent].Packets, s.Passed[ReasonPassCookie].Packets; sent == 0 || came != 1 {
				t.Errorf("%d cookies sent, %d came back", sent, came)
			}
			if n := connections(p, tt.from); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
			if s.Sieges != 1 || s.SiegeUntil < Now() {
				t.Errorf("%d sieges", s.Sieges)
			}
			_ = c.Close()
			eventually(t, "the end of the connection is not seen", func() bool { return connections(p, tt.from) == 0 })
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestNetnsUnderAttackHandshakesGoByCookieAlone(t *testing.T) {
	bpftest.Require(t, "6.0", "SYN cookies in XDP")
	guarded, other := lab(t)
	passAll(t, other, "b0")
	p := watched(t, guarded, Config{Cookies: OptionOn}, Policy{})
	echoes(t, guarded, "198.18.0.1:80")
	stampAll(t, p, guarded)
	if err := p.SetMode(ModeUnderAttack); err != nil {
		t.Fatal(err)
	}
	dial(t, other, "198.18.0.2", "198.18.0.1:80")
	dial(t, other, "198.18.0.2", "198.18.0.1:80") // proved by now: the kernel answers
	s, err := p.Stats()
	if err != nil || s.Answered[ReasonCookieSent].Packets != 1 || s.Passed[ReasonPassCookie].Packets != 1 {
		t.Errorf("%d cookies sent, %d came back, %v", s.Answered[ReasonCookieSent].Packets, s.Passed[ReasonPassCookie].Packets, err)
	}
}
