package redis

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"weir/ratelimit"
)

// TestGatewaysWithLeasesOnRedis: three of them, ten clients, each at five times its quota. In any time no more is let
// through than the quota and the bound that is stated, and over all 99 % of the quota.
func TestGatewaysWithLeasesOnRedis(t *testing.T) {
	const gateways, clients, perSecond, burst, lasts = 3, 10, 100, 100, 5 * time.Second
	// late is by how much what is let through may be written down later than it is.
	const late = 50 * time.Millisecond
	address := startRedis(t, "").address
	p := leased("p", perSecond, time.Second, burst, 8)
	var mu [clients]sync.Mutex
	var worlds [clients]world
	var wg sync.WaitGroup
	var stores []*Store
	for range gateways {
		s := open(t, Config{Addresses: []string{address}, Gateways: gateways}, p)
		sweep(t, s)
		stores = append(stores, s)
	}
	began := time.Now() // all are full until then
	for g, s := range stores {
		for i := range clients {
			wg.Go(func() {
				tick := time.NewTicker(time.Second * gateways / (5 * perSecond))
				defer tick.Stop()
				checks := checksOf(s, fmt.Sprint(i), 1, "p")
				var out [1]ratelimit.Decision
				for time.Since(began) < lasts {
					<-tick.C
					allowed, err := s.Take(t.Context(), checks, out[:])
					if err != nil {
						t.Errorf("gateway %d: %v", g, err)
						return
					}
					if allowed {
						mu[i].Lock()
						worlds[i].through = append(worlds[i].through, admitted{time.Since(began), 1})
						mu[i].Unlock()
					}
				}
			})
		}
	}
	wg.Wait()
	quota := float64(perSecond*lasts/time.Second + burst)
	bound := stores[0].Bound("p").Lease
	for i := range worlds {
		w := &worlds[i]
		if got := float64(len(w.through)); got < 0.99*quota {
			t.Errorf("client %d: %v were let through, the quota is %v", i, got, quota)
		}
		for from := range w.through {
			for to, a := range w.through[from:] {
				given := perSecond*(a.at-w.through[from].at+late).Seconds() + burst
				if float64(to+1) > given+float64(bound) {
					t.Fatalf("client %d: %d from %v to %v: the quota is %v, the bound %d", i, to+1, w.through[from].at, a.at, given, bound)
				}
			}
		}
	}
	var all Stats
	for _, s := range stores {
		st := s.Stats()
		all.Asked += st.Asked
		all.Cached += st.Cached
		if st.Gone > 0 || st.Full+st.Crowded+st.Forfeited > 0 {
			t.Errorf("%+v", st)
		}
	}
	t.Logf("client 0 had %d, its quota is %v, the bound %d; %d round trips, %d refused without", len(worlds[0].through), quota, bound, all.Asked, all.Cached)
}

// TestDecisionFromALeaseAllocatesNothing, whether it allows or refuses, of one policy or two, with Take and with TryTake.
func TestDecisionFromALeaseAllocatesNothing(t *testing.T) {
	s := openFake(t, newFakeServer(), Config{LeaseAge: time.Minute}, leased("a", 1_000_000, time.Hour, 1_000_000, 100_000),
		leased("b", 1_000_000, time.Hour, 1_000_000, 100_000), leased("one", 1, time.Hour, 1, 1))
	a, ab, one := checksOf(s, "x", 1, "a"), checksOf(s, "x", 1, "a", "b"), checksOf(s, "x", 1, "a", "one")
	out := make([]ratelimit.Decision, 2)
	take := func(checks []ratelimit.Check, want bool) func() {
		return func() {
			if allowed, err := s.Take(t.Context(), checks, out); allowed != want || err != nil {
				t.Fatal(allowed, err)
			}
		}
	}
	try := func(checks []ratelimit.Check, want bool) func() {
		return func() {
			if allowed, known := s.TryTake(checks, out); allowed != want || !known {
				t.Fatal(allowed, known)
			}
		}
	}
	take(ab, true)()
	take(one, true)()
	for _, name := range []string{"a", "b"} { // a slice that is not low for long
		l := s.leaseOf(name, "x")
		l.home.mu.Lock()
		l.fresh = part{units: 100_000, at: s.clock()}
		l.home.mu.Unlock()
	}
	for name, f := range map[string]func(){
		"take": take(a, true), "take two": take(ab, true), "take, refused": take(one, false),
		"try": try(a, true), "try two": try(ab, true), "try, refused": try(one, false),
	} {
		if n := testing.AllocsPerRun(1000, f); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// leaseOf is the lease of a client, which has one.
func (s *Store) leaseOf(name, client string) *lease {
	p := s.shared[s.Limit(name)]
	sh := s.leases.lock(p, []byte(client))
	defer sh.mu.Unlock()
	return sh.find(p, []byte(client))
}

func TestWrongAnswersLeaseNothing(t *testing.T) {
	for _, reply := range []string{
		"-READONLY You can't write against a read only replica.\r\n", "-NOSCRIPT No matching script.\r\n",
		"+OK\r\n", "$-1\r\n", ":1\r\n", "*0\r\n", "*1\r\n:1\r\n", "*4\r\n:1\r\n:1\r\n:-7\r\n:0\r\n",
		"*4\r\n:1\r\n:9\r\n:0\r\n:0\r\n",          // a choice that there is not
		"*4\r\n:1\r\n:1\r\n:9000000000\r\n:0\r\n", // units that there are not
		"*5\r\n:1\r\n:1\r\n:0\r\n:0\r\n:0\r\n",    // too long
		"*4\r\n:1\r\n:-9\r\n:0\r\n:0\r\n",         // no choice at all
		"*4\r\n:1\r\n:1\r\n:0\r\n$1\r\nx\r\n", "_\r\n",
	} {
		p := leased("p", 10, time.Hour, 10, 5)
		p.WhenGone = FallbackClosed
		s := open(t, Config{Addresses: []string{startImpostor(t, reply).address}, Failures: 1000}, p)
		checks := checksOf(s, "x", 1, "p")
		var out [1]ratelimit.Decision
		for range 3 {
			if allowed, err := s.Take(t.Context(), checks, out[:]); !errors.Is(err, ErrGone) || allowed {
				t.Errorf("%q: %v, %v", reply, allowed, err)
			}
		}
		if st := s.Stats(); st.Outstanding > 0 || st.Leased > 0 {
			t.Errorf("%q: %+v", reply, st)
		}
	}
}

func TestBoundSaysWhatEachPartIs(t *testing.T) {
	closed := leased("closed", 100, time.Hour, 100, 0)
	closed.WhenGone = FallbackClosed
	strict, whenOpen := perHour("strict", 30), leased("open", 10, time.Hour, 10, 2)
	whenOpen.WhenGone = FallbackOpen
	s := openFake(t, nil, Config{Gateways: 3}, leased("share", 120, time.Hour, 60, 7), closed, strict, whenOpen, leased("small", 5, time.Hour, 5, 0))
	for name, want := range map[string]Bound{
		"share":  {Lease: 21, Late: 21, Failover: 60, Fallback: 60},
		"closed": {Lease: 24, Late: 24, Failover: 100},
		"strict": {Failover: 30, Fallback: 30},
		"open":   {Lease: 6, Late: 6, Failover: 10, Open: true},
		"small":  {Lease: 3, Late: 3, Failover: 5, Fallback: 3},
		"none":   {},
	} {
		got := s.Bound(name)
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		units, bounded := s.Overshoot(name)
		if sum := want.Lease + want.Late + want.Failover + want.Fallback; bounded == want.Open || bounded && units != sum {
			t.Errorf("%s: %d, %v", name, units, bounded)
		}
	}
}
