//go:build linux

package xdp

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
)

// bindConn binds a connection as the side that it came in on would.
func bindConn(t *testing.T, p *Program, c net.Conn, identity, class string) {
	t.Helper()
	local, remote := netip.MustParseAddrPort(c.RemoteAddr().String()), netip.MustParseAddrPort(c.LocalAddr().String())
	if err := p.Bind(local, remote, identity, class); err != nil {
		t.Fatal(err)
	}
}

func bindings(t *testing.T, p *Program) uint64 {
	t.Helper()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s.Bindings
}

// TestNetnsBindingGoesWithItsConnection: nobody in user space takes it off.
func TestNetnsBindingGoesWithItsConnection(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before bool // the connections were there before the program
		older  bool // a kernel that does not tell their ends by sockops
	}{{"new", false, false}, {"there before", true, false}, {"there before, on an older kernel", true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			guarded, other := lab(t)
			var p *Program
			start := func() {
				f := allFeatures(t)
				f.Watch, f.Cookies, f.CallbackFlags = true, false, !tt.older && hasCallbackFlags()
				err := guarded.Do(func() (err error) {
					if p, err = loadWith(Config{Interface: "a0", Slots: 1024}.Defaults(), f, nil, slog.New(slog.DiscardHandler)); err != nil {
						return err
					}
					_, err = p.Attach()
					return err
				})
				if err != nil {
					t.Fatalf("%+v", err)
				}
				t.Cleanup(func() { _ = p.Close() })
				setPolicy(t, p, named(Class{Client: Level{Packets: perSecond(1000, 1000)}}), ModeEnforce)
			}
			if !tt.before {
				start()
			}
			var conns []net.Conn
			for _, c := range []struct{ listen, from, to string }{
				{"198.18.0.1:80", "198.18.0.2", "198.18.0.1:80"},
				{"[::]:81", "198.18.0.3", "198.18.0.1:81"},
				{"[2001:db8::1]:82", "2001:db8::2", "[2001:db8::1]:82"},
			} {
				echoes(t, guarded, c.listen)
				conns = append(conns, dial(t, other, c.from, c.to))
			}
			if tt.before {
				start()
			}
			for _, c := range conns {
				bindConn(t, p, c, "alice", "c0")
				echoed(t, c)
			}
			if c, found := p.FindIdentity("alice"); !found || c.Packets < 3 || c.Connections != 0 {
				t.Errorf("%+v, %v", c, found)
			}
			for i, c := range conns {
				if n := bindings(t, p); n != uint64(3-i) { //nolint:gosec // at most 3
					t.Errorf("%d bindings, want %d", n, 3-i)
				}
				_ = c.Close()
				eventually(t, "the binding is still there", func() bool { return bindings(t, p) == uint64(2-i) }) //nolint:gosec // at most 2
			}
			if some, all, err := p.Bound(ClientName{Identity: "alice"}, 9); all != 0 || err != nil {
				t.Errorf("%+v, %v", some, err)
			}
		})
	}
}

// echoTimes is how long the echoes of a connection took. That of a packet that was lost takes 200 ms, TCP's
// least time before it sends again.
func echoTimes(t *testing.T, c net.Conn, n int) (longest time.Duration) {
	t.Helper()
	for range n {
		start := time.Now()
		echoed(t, c)
		longest = max(longest, time.Since(start))
	}
	return longest
}

func isCut(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	_, _ = c.Write([]byte{9})
	_, err := io.ReadFull(c, make([]byte, 1))
	return err != nil
}

// TestNetnsEscalatedIdentityIsCutAndComesBackItsNeighborLosesNothing: two identities behind one address. The
// abusive one comes back on its own connection, with nothing done in user space.
func TestNetnsEscalatedIdentityIsCutAndComesBackItsNeighborLosesNothing(t *testing.T) {
	guarded, other := lab(t)
	p := watched(t, guarded, Config{}, named(Class{Client: Level{Packets: perSecond(10_000, 10_000)}}))
	echoes(t, guarded, "198.18.0.1:80")
	const shared = "198.18.0.2"
	mallory, alice, nobody := dial(t, other, shared, "198.18.0.1:80"), dial(t, other, shared, "198.18.0.1:80"), dial(t, other, shared, "198.18.0.1:80")
	bindConn(t, p, mallory, "mallory", "c0")
	bindConn(t, p, alice, "alice", "c0")
	before := echoTimes(t, alice, 50)
	lasts := time.Duration(bpftest.Often(1500, 6000)) * time.Millisecond
	now := Now()
	if err := p.Escalate(Escalation{Client: ClientName{Identity: "mallory"}, Policy: "api", SinceNanos: now, UntilNanos: now + uint64(lasts)}); err != nil { //nolint:gosec // positive
		t.Fatal(err)
	}
	if !isCut(mallory) {
		t.Error("the escalated identity was answered")
	}
	after, own := echoTimes(t, alice, 50), echoTimes(t, nobody, 50)
	t.Logf("the longest of the neighbor's 50 echoes: %v before, %v while its neighbor is cut; of one without an identity %v", before, after, own)
	if !bpftest.Slow() && max(after, own) > 150*time.Millisecond {
		t.Errorf("a neighbor's echo took %v: it lost a packet", max(after, own))
	}
	if left := time.Duration(now + uint64(lasts) - Now()); left < 0 { //nolint:gosec // it may be past
		t.Fatalf("it took %v too long to see", -left)
	}
	dial(t, other, shared, "198.18.0.1:80") // whose it is nobody can tell yet
	s, err := p.Stats()
	if err != nil || s.Dropped[ReasonEscalated].Packets == 0 || s.Dropped[ReasonEscalatedSYN].Packets != 0 {
		t.Errorf("%+v, %v", s.Dropped, err)
	}
	e, is := p.Escalation(ClientName{Identity: "mallory"}, now)
	if !is || e.Dropped == 0 || e.Policy != "api" {
		t.Errorf("%+v, %v", e, is)
	}
	// What was sent meanwhile is sent again by TCP, and answered.
	_ = mallory.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(mallory, make([]byte, 1)); err != nil || Now() < now+uint64(lasts) { //nolint:gosec // positive
		t.Errorf("it did not come back by itself: %v", err)
	}
	if longest := echoTimes(t, mallory, 20); !bpftest.Slow() && longest > 150*time.Millisecond {
		t.Errorf("back, an echo took %v", longest)
	}
}

func TestNetnsEscalatedAddressOpensNothingUnlessItIsAllowed(t *testing.T) {
	guarded, other := lab(t)
	policy := named(Class{Client: Level{Packets: perSecond(10_000, 10_000)}})
	p := watched(t, guarded, Config{}, policy)
	echoes(t, guarded, "198.18.0.1:80")
	const shared, neighbor = "198.18.0.2", "198.18.0.3"
	alice, mallory := dial(t, other, shared, "198.18.0.1:80"), dial(t, other, shared, "198.18.0.1:80")
	bindConn(t, p, alice, "alice", "c0")
	client := p.ClientOf(netip.MustParseAddr(shared))
	now := Now()
	if err := p.Escalate(Escalation{Client: client, SinceNanos: now, UntilNanos: now + uint64(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if c, err := tryDialQuick(other, shared, "198.18.0.1:80"); err == nil {
		_ = c.Close()
		t.Error("it opened a connection")
	}
	if !isCut(mallory) {
		t.Error("a connection of its own goes on")
	}
	if longest := echoTimes(t, alice, 20); !bpftest.Slow() && longest > 150*time.Millisecond {
		t.Errorf("who has an identity behind it waited %v", longest)
	}
	dial(t, other, neighbor, "198.18.0.1:80")
	s, err := p.Stats()
	if err != nil || s.Dropped[ReasonEscalatedSYN].Packets == 0 || s.Dropped[ReasonEscalated].Packets == 0 {
		t.Errorf("%+v, %v", s.Dropped, err)
	}
	policy.Entries = allowed(shared + "/32")
	setPolicy(t, p, policy, ModeEnforce)
	dial(t, other, shared, "198.18.0.1:80")
}

// TestNetnsProgramThatIsTakenOverFromGoesOnTelling: it binds while the next one holds its own policy, which stays.
func TestNetnsProgramThatIsTakenOverFromGoesOnTelling(t *testing.T) {
	guarded, other := lab(t)
	dir := pinDir(t)
	p, err := loadPinned(t, guarded, dir, nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	setPolicy(t, p, named(Class{}), ModeEnforce)
	echoes(t, guarded, "198.18.0.1:80")
	alice := dial(t, other, "198.18.0.2", "198.18.0.1:80")
	next, err := loadPinned(t, guarded, dir, nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	setPolicy(t, next, named(Class{}, Class{}), ModeEnforce)
	bindConn(t, p, alice, "alice", "c0")
	var word weirPolicy
	if err := next.objs.CurrentPolicy.Lookup(uint32(0), &word); err != nil || word.Epoch != next.policyWord().Epoch || word.Flags&policyBound == 0 {
		t.Errorf("%+v, the one that took over has %+v, %v", word, next.policyWord(), err)
	}
	if _, err := next.Sweep(Now()); err != nil {
		t.Fatal(err)
	}
	setPolicy(t, next, named(Class{}), ModeEnforce)
	echoed(t, alice)
	if c, found := next.FindIdentity("alice"); !found || c.Packets == 0 {
		t.Errorf("%+v, %v", c, found)
	}
	// What the one before takes back for want of bindings is told again.
	if err := errors.Join(next.Unbind(netip.MustParseAddrPort("198.18.0.1:80"), netip.MustParseAddrPort(alice.LocalAddr().String())), p.setTold(policyBound, false)); err != nil {
		t.Fatal(err)
	}
	bindConn(t, next, alice, "alice", "c0")
	if _, err := next.Sweep(Now()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := next.objs.CurrentPolicy.Lookup(uint32(0), &word); err != nil || word != next.policyWord() || word.Flags&policyBound == 0 {
		t.Errorf("%+v, want %+v, %v", word, next.policyWord(), err)
	}
}

// TestNetnsWhatWasToldOutlivesItsProcess: another program takes over, with other numbers for classes.
func TestNetnsWhatWasToldOutlivesItsProcess(t *testing.T) {
	guarded, other := lab(t)
	dir := pinDir(t)
	few, many := Class{Name: "few", Client: Level{Packets: hourly(40)}}, Class{Name: "many", Client: Level{Packets: perSecond(1000, 1000)}}
	p, err := loadPinned(t, guarded, dir, nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	setPolicy(t, p, Policy{Classes: []Class{{}, few, many}}, ModeEnforce)
	echoes(t, guarded, "198.18.0.1:80")
	alice, mallory := dial(t, other, "198.18.0.2", "198.18.0.1:80"), dial(t, other, "198.18.0.2", "198.18.0.1:80")
	bindConn(t, p, alice, "alice", "few")
	bindConn(t, p, mallory, "mallory", "many")
	now := Now()
	if err := p.Escalate(Escalation{Client: ClientName{Identity: "mallory"}, Policy: "api", SinceNanos: now, UntilNanos: now + uint64(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	next, err := loadPinned(t, guarded, dir, nil)
	if err != nil || !next.Adopted() {
		t.Fatalf("%+v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	setPolicy(t, next, Policy{Classes: []Class{{}, many, {Name: "more"}, few}}, ModeEnforce)
	echoed(t, alice)
	if c, found := next.FindIdentity("alice"); !found || c.Class != 3 {
		t.Errorf("%+v, %v", c, found)
	}
	if !isCut(mallory) {
		t.Error("it is no longer escalated")
	}
	if all, err := next.Escalations(Now()); err != nil || len(all) != 1 || all[0].Client.Identity != "mallory" || all[0].Policy != "api" || all[0].SinceNanos != now {
		t.Errorf("%+v, %v", all, err)
	}
	if s, err := next.Stats(); err != nil || s.Bindings != 2 || s.Escalations != 1 {
		t.Errorf("%d bindings, %d escalations, %v", s.Bindings, s.Escalations, err)
	}
	if was, err := next.Relieve(ClientName{Identity: "mallory"}); !was || err != nil {
		t.Errorf("%v, %v", was, err)
	}
	_ = alice.Close()
	_ = mallory.Close()
	eventually(t, "a binding outlived its connection", func() bool { return bindings(t, next) == 0 })
	_, err = loadPinned(t, guarded, dir, func(c *Config) { c.Bindings = 4096 })
	if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "its bindings is 16, the configuration's 4096") {
		t.Errorf("other bindings: %v", err)
	}
	// Where connections are not watched what was bound has no end.
	bindConn(t, next, mallory, "mallory", "many")
	blind, err := loadPinned(t, guarded, dir, func(c *Config) { c.Proof = OptionOff })
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if n := bindings(t, blind); n != 0 {
		t.Errorf("%d bindings in a program that sees no connections", n)
	}
}
