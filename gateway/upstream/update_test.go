package upstream

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestServersThatStayKeepWhatIsKnown(t *testing.T) {
	cfg := Config{Servers: servers(3), Health: Health{Interval: time.Second}}
	r, bad := failing(t, cfg)
	held := r.pick(nil)
	down := r.members()[2]
	if down == bad || down == held {
		down = r.members()[0]
	}
	if down == bad || down == held {
		down = r.members()[1]
	}
	r.checked(down, 0, errCheck)
	before := r.Status(r.now)
	slices.Reverse(cfg.Servers)
	cfg.MaxConns = 7
	if err := r.Update(cfg, r.now); err != nil {
		t.Fatal(err)
	}
	after := r.Status(r.now)
	slices.Reverse(after)
	if !slices.Equal(before, after) {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	held.Done(r.now, OK, 0)
}

func TestARemovedServerFinishesWhatItHas(t *testing.T) {
	cfg := Config{Servers: servers(2)}
	r := newRig(t, cfg)
	gone := r.members()[1]
	var held []*Server
	for range 20 {
		if s := r.pick(nil); s == gone {
			held = append(held, s)
		}
	}
	cfg.Servers = cfg.Servers[:1]
	if err := r.Update(cfg, r.now); err != nil {
		t.Fatal(err)
	}
	r.want(gone, Draining)
	if r.gets(gone) {
		t.Error("it gets more")
	}
	requests := r.Counters().Requests
	r.now = r.now.Add(time.Hour)
	r.want(gone, Draining)
	for _, s := range held {
		s.Done(r.now, TimedOut, time.Hour)
	}
	r.now = r.now.Add(time.Hour)
	if st := r.Status(r.now); len(st) != 1 {
		t.Errorf("it is still there: %+v", st)
	}
	if got := r.Counters().Requests; got != requests {
		t.Errorf("%d requests, were %d", got, requests)
	}
}

func TestAServerThatComesBackWhileItDrainsHasWhatItHad(t *testing.T) {
	cfg := Config{Servers: servers(2), MaxConns: 1}
	r := newRig(t, cfg)
	r.pick(nil)
	r.pick(nil)
	one := cfg
	one.Servers = cfg.Servers[:1]
	for _, c := range []Config{one, cfg} {
		if err := r.Update(c, r.now); err != nil {
			t.Fatal(err)
		}
	}
	r.refused(ErrFull)
}

func TestNewServersStartSlowly(t *testing.T) {
	cfg := Config{Servers: servers(3), SlowStart: time.Minute}
	r := newRig(t, cfg)
	for _, st := range r.Status(r.now) {
		if st.Warming {
			t.Error("the first ones do")
		}
	}
	cfg.Servers = servers(4)
	if err := r.Update(cfg, r.now); err != nil {
		t.Fatal(err)
	}
	if got := r.counts(30000, nil)[cfg.Servers[3].Address]; got < 800 || got > 1100 { // 25/256 of a share
		t.Errorf("a new one got %d of 30000", got)
	}
}

func TestAWrongUpdateChangesNothing(t *testing.T) {
	r := newRig(t, Config{Servers: servers(3)})
	if err := r.Update(Config{}, r.now); err == nil {
		t.Error("it is taken")
	}
	if got := len(r.Status(r.now)); got != 3 {
		t.Errorf("%d servers", got)
	}
}

func TestFewerServersReleaseEjections(t *testing.T) {
	cfg := Config{Servers: servers(20), Balance: RoundRobin, Ejection: Ejection{ConsecutiveGateway: 1, MaxPercent: 20}}
	r := newRig(t, cfg)
	var ejected []ServerConfig
	for len(ejected) < 4 {
		s := r.pick(nil)
		s.Done(r.now, Broken, 0)
		ejected = append(ejected, ServerConfig{Address: s.address})
		r.now = r.now.Add(time.Second)
	}
	cfg.Servers = ejected
	if err := r.Update(cfg, r.now); err != nil {
		t.Fatal(err)
	}
	for i, st := range r.Status(r.now) {
		if want := i == 3; (st.State == Ejected) != want { // the last one has the longest to go
			t.Errorf("server %d is %v", i, st.State)
		}
	}
}

func TestWithoutChecksNobodyIsDown(t *testing.T) {
	cfg := Config{Servers: servers(3), Health: Health{Interval: time.Second}}
	r := newRig(t, cfg)
	s := r.members()[0]
	r.checked(s, 0, errCheck)
	r.want(s, Down)
	cfg.Health = Health{}
	if err := r.Update(cfg, r.now); err != nil {
		t.Fatal(err)
	}
	r.want(s, Up)
	if !r.gets(s) {
		t.Error("it gets nothing")
	}
}

// names is a Resolver by a map.
type names map[string][]netip.Addr

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if ips, ok := n[host]; ok {
		return ips, nil
	}
	return nil, errors.New("no such host")
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, s := range texts {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func TestEachAddressOfANameIsAServer(t *testing.T) {
	dns := names{}
	env := seeded()
	env.Resolver = dns
	p, err := New(Config{
		Servers: []ServerConfig{{Address: "a.test:80", Weight: 3}, {Address: "192.0.2.7:80"}, {Address: "b.test:81"}},
	}, env, epoch)
	if err != nil {
		t.Fatal(err)
	}
	want := func(failures uint64, addresses ...string) {
		t.Helper()
		var got []string
		for _, st := range p.Status(epoch) {
			got = append(got, st.Address)
		}
		if !slices.Equal(got, addresses) {
			t.Errorf("servers are %q, want %q", got, addresses)
		}
		if got := p.Counters().ResolveFailures; got != failures {
			t.Errorf("%d failures, want %d", got, failures)
		}
	}
	resolve := func(good bool) {
		t.Helper()
		if err := p.Resolve(t.Context(), epoch); (err == nil) != good || (err != nil && !errors.Is(err, ErrResolve)) {
			t.Errorf("resolve: %v", err)
		}
	}
	want(0, "192.0.2.7:80")
	resolve(false)
	want(2, "192.0.2.7:80")
	dns["a.test"] = addrs("192.0.2.9", "::ffff:192.0.2.8", "192.0.2.7", "192.0.2.9")
	dns["b.test"] = addrs("2001:db8::1")
	resolve(true)
	all := []string{"192.0.2.7:80", "192.0.2.8:80", "192.0.2.9:80", "[2001:db8::1]:81"}
	want(2, all...)
	if st := p.Status(epoch)[1]; st.Name != "a.test:80" || st.Weight != 3 {
		t.Errorf("it is %+v", st)
	}
	held := p.members()
	dns["a.test"] = nil
	delete(dns, "b.test")
	resolve(false) // the old ones stay
	want(4, all...)
	if !slices.Equal(held, p.members()) {
		t.Error("they are others")
	}
	dns["a.test"], dns["b.test"] = addrs("192.0.2.9"), addrs("2001:db8::2")
	resolve(true)
	if now := p.members(); len(now) != 3 || now[0] != held[2] || now[1] != held[0] || now[2].Address() != "[2001:db8::2]:81" {
		t.Errorf("servers are %v", now)
	}
	if err := p.Update(Config{Servers: []ServerConfig{{Address: "c.test:80"}, {Address: "a.test:80"}}}, epoch.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := p.members(); len(got) != 1 || got[0] != held[2] {
		t.Errorf("what was resolved is not kept: %v", got)
	}
}

func TestMoreAddressesThanServersAreLeftOut(t *testing.T) {
	var many []netip.Addr
	for i := range 300 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	env := seeded()
	env.Resolver = names{"a.test": many}
	p, err := New(Config{Servers: []ServerConfig{{Address: "a.test:80"}}}, env, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Resolve(t.Context(), epoch); err != nil {
		t.Fatal(err)
	}
	if c := p.Counters(); c.Surplus != 44 || len(p.members()) != MaxServers {
		t.Errorf("%d servers, %d left out", len(p.members()), c.Surplus)
	}
	var tried Tried
	for i := range MaxServers {
		if s, err := p.Pick(epoch, 0, &tried); err != nil || s.InFlight() != 1 {
			t.Fatalf("try %d: %v", i, err)
		}
	}
}
