package local

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/ratelimit"

	"pgregory.net/rapid"
)

const second = uint64(time.Second) * ratelimit.TicksPerNano

func limit(t rapid.TB, q ratelimit.Quota) *ratelimit.Limit {
	t.Helper()
	l, err := q.Compile()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return l
}

func store(tb testing.TB, clients int) *Store {
	tb.Helper()
	s, err := New(Config{Clients: clients})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// client is one client of one policy, as it would be without a bound.
type client struct {
	ratelimit.State
	ratelimit.Log
}

func (c *client) decide(l *ratelimit.Limit, now, cost uint64) ratelimit.Decision {
	if l.Algorithm() == ratelimit.AlgorithmLog {
		return l.DecideLog(&c.Log, now, cost)
	}
	return l.Decide(&c.State, now, cost)
}

func (c *client) charge(l *ratelimit.Limit, now, cost uint64) {
	if l.Algorithm() == ratelimit.AlgorithmLog {
		l.ChargeLog(&c.Log, now, cost)
		return
	}
	l.Charge(&c.State, now, cost)
}

// TestStoreDecidesAsAMapWithoutBound: several policies of a request, of all algorithms and units, are charged all or
// none of them; while there is room the store says what a map of every client would.
func TestStoreDecidesAsAMapWithoutBound(t *testing.T) {
	limits := []*ratelimit.Limit{
		limit(t, ratelimit.Quota{Name: "gcra", Rate: ratelimit.Rate{Count: 5, Per: time.Second}}),
		limit(t, ratelimit.Quota{Name: "counter", Algorithm: ratelimit.AlgorithmCounter, Rate: ratelimit.Rate{Count: 8, Per: 2 * time.Second}}),
		limit(t, ratelimit.Quota{Name: "log", Algorithm: ratelimit.AlgorithmLog, Rate: ratelimit.Rate{Count: 6, Per: time.Second}}),
		limit(t, ratelimit.Quota{Name: "bytes", Unit: ratelimit.UnitContentBytes, Bytes: ratelimit.ByteRate{Bytes: 4000, Per: time.Second}}),
		limit(t, ratelimit.Quota{Name: "at once", Unit: ratelimit.UnitConcurrentRequests, Burst: 3}),
	}
	rapid.Check(t, func(t *rapid.T) {
		s, err := New(Config{Clients: 1024})
		if err != nil {
			t.Fatal(err)
		}
		clients := map[string]*client{}
		of := func(c *ratelimit.Check) *client {
			name := c.Limit.Name() + " " + string(c.Key)
			if clients[name] == nil {
				clients[name] = &client{}
			}
			return clients[name]
		}
		var served [][]ratelimit.Check
		now := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"later": func(t *rapid.T) { now += rapid.Uint64Range(0, second).Draw(t, "ticks") },
			"take": func(t *rapid.T) {
				checks := make([]ratelimit.Check, rapid.IntRange(1, len(limits)).Draw(t, "policies"))
				for i, at := range rapid.Permutation([]int{0, 1, 2, 3, 4}).Draw(t, "which")[:len(checks)] {
					checks[i] = ratelimit.Check{
						Limit: limits[at], Key: []byte(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "client")),
						Cost: rapid.Uint64Range(0, 2).Draw(t, "cost"), Shadow: rapid.IntRange(0, 3).Draw(t, "shadow") == 0,
					}
					if limits[at].Unit() == ratelimit.UnitContentBytes {
						checks[i].Cost *= 1000
					}
				}
				want := make([]ratelimit.Decision, len(checks))
				allowed := true
				for i := range checks {
					c := &checks[i]
					want[i] = of(c).decide(c.Limit, now, c.Cost)
					allowed = allowed && (want[i].Allowed || c.Shadow)
				}
				got := make([]ratelimit.Decision, len(checks))
				if s.Take(now, checks, got) != allowed || !slices.Equal(got, want) {
					t.Fatalf("at %d: %+v, want %v, %+v", now, got, allowed, want)
				}
				var held []ratelimit.Check
				for i := range checks {
					c := &checks[i]
					if allowed && want[i].Allowed {
						of(c).charge(c.Limit, now, c.Cost)
						if c.Limit.Unit() == ratelimit.UnitConcurrentRequests {
							held = append(held, *c)
						}
					}
				}
				served = append(served, held)
			},
			"end": func(t *rapid.T) {
				if len(served) == 0 {
					return
				}
				at := rapid.IntRange(0, len(served)-1).Draw(t, "request")
				for _, c := range served[at] {
					s.Release(&c)
					c.Limit.Release(&of(&c).State, c.Cost)
				}
				served = slices.Delete(served, at, at+1)
			},
			"peek": func(t *rapid.T) {
				c := ratelimit.Check{Limit: rapid.SampledFrom(limits).Draw(t, "policy"), Key: []byte("a"), Cost: 1}
				if got, want := s.Peek(now, &c), of(&c).decide(c.Limit, now, 1); got != want {
					t.Fatalf("%+v, want %+v", got, want)
				}
			},
		})
		if s.Stats().Pressure > 0 {
			t.Fatalf("pressure with %d clients", len(clients))
		}
	})
}

// TestFullStoreForgetsNobodyWhoOwes: with many times as many clients as there is room for, each is let through no
// more than its quota, those without a slot less; and when nobody owes any more there is room for others.
func TestFullStoreForgetsNobodyWhoOwes(t *testing.T) {
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.AlgorithmGCRA, ratelimit.AlgorithmCounter, ratelimit.AlgorithmLog} {
		t.Run(algorithm.String(), func(t *testing.T) {
			s := store(t, 1024)
			l := limit(t, ratelimit.Quota{Name: "p", Algorithm: algorithm, Rate: ratelimit.Rate{Count: 2, Per: time.Hour}})
			const clients = 20_000
			through := make([]int, clients)
			round := func(now uint64, name string) (all int) {
				for i := range clients {
					checks := []ratelimit.Check{{Limit: l, Key: fmt.Append(nil, name, i), Cost: 1}}
					if s.Take(now, checks, make([]ratelimit.Decision, 1)) {
						through[i]++
						all++
					}
				}
				return all
			}
			first := round(0, "a")
			for range 3 {
				round(1, "a")
			}
			for i, n := range through {
				if n > 2 {
					t.Fatalf("client %d was let through %d times", i, n)
				}
			}
			if s.Stats().Pressure == 0 || first < 1024 || first > clients/2 {
				t.Errorf("%d of %d were let through at first, pressure %d", first, clients, s.Stats().Pressure)
			}
			clear(through)
			if later := round(3*3600*second, "b"); later < first {
				t.Errorf("%d other clients were let through when nobody owed, %d before", later, first)
			}
		})
	}
}

func TestConcurrentRequestsOfACrowdedSetAreGivenBack(t *testing.T) {
	s := store(t, 1024)
	l := limit(t, ratelimit.Quota{Name: "p", Unit: ratelimit.UnitConcurrentRequests, Burst: 1})
	var held []ratelimit.Check
	for i := range 20_000 {
		checks := []ratelimit.Check{{Limit: l, Key: fmt.Append(nil, i), Cost: 1}}
		if s.Take(1, checks, make([]ratelimit.Decision, 1)) {
			held = append(held, checks[0])
		}
	}
	for i := range held {
		s.Release(&held[i])
	}
	for i := range s.shards {
		sh := &s.shards[i]
		for _, set := range sh.sets {
			if slices.Max(set.until[:]) > 1 {
				t.Fatalf("left: %+v", set)
			}
		}
		for _, st := range sh.crowded {
			if st.Owes(1) {
				t.Fatalf("left of a crowd: %+v", st)
			}
		}
	}
}

// TestManyAtOnceAreNeverOverTheQuota: requests that are decided at the same moment, under two policies each in
// another order, are let through exactly as many as there are.
func TestManyAtOnceAreNeverOverTheQuota(t *testing.T) {
	s := store(t, 1024)
	a := limit(t, ratelimit.Quota{Name: "a", Rate: ratelimit.Rate{Count: 500, Per: time.Hour}})
	b := limit(t, ratelimit.Quota{Name: "b", Algorithm: ratelimit.AlgorithmCounter, Rate: ratelimit.Rate{Count: 700, Per: time.Hour}})
	var through atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			checks := []ratelimit.Check{{Limit: a, Key: []byte("x"), Cost: 1}, {Limit: b, Key: []byte("y"), Cost: 1}}
			if i%2 == 1 {
				slices.Reverse(checks)
			}
			out := make([]ratelimit.Decision, 2)
			for range 1000 {
				if s.Take(1, checks, out) {
					through.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if through.Load() != 500 {
		t.Errorf("%d were let through, want 500", through.Load())
	}
	if d := s.Peek(1, &ratelimit.Check{Limit: b, Key: []byte("y")}); d.Remaining != 200 {
		t.Errorf("of the other policy %d are left, want 200: what is refused is charged to none", d.Remaining)
	}
}

func TestWhatIsOwedStaysOverAChangeOfThePolicy(t *testing.T) {
	s := store(t, 1024)
	q := ratelimit.Quota{Name: "p", Rate: ratelimit.Rate{Count: 10, Per: time.Minute}}
	check := ratelimit.Check{Limit: limit(t, q), Key: []byte("x"), Cost: 10}
	if !s.Take(1, []ratelimit.Check{check}, make([]ratelimit.Decision, 1)) {
		t.Fatal("refused")
	}
	q.Burst = 12
	check.Limit = limit(t, q)
	if d := s.Peek(1, &check); d.Remaining != 2 {
		t.Errorf("%d are left under the new policy, want 2", d.Remaining)
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	s := store(t, 1024)
	out := make([]ratelimit.Decision, 3)
	checks := []ratelimit.Check{
		{Limit: limit(t, ratelimit.Quota{Name: "a", Rate: ratelimit.Rate{Count: 1 << 20, Per: time.Hour}}), Key: []byte("203.0.113.7"), Cost: 1},
		{Limit: limit(t, ratelimit.Quota{Name: "b", Algorithm: ratelimit.AlgorithmCounter, Rate: ratelimit.Rate{Count: 1 << 20, Per: time.Hour}}), Key: []byte("key"), Cost: 1},
		{Limit: limit(t, ratelimit.Quota{Name: "c", Algorithm: ratelimit.AlgorithmLog, Rate: ratelimit.Rate{Count: 1, Per: time.Hour}}), Key: []byte("key"), Cost: 1},
	}
	s.Take(1, checks, out)
	for n := 1; n <= len(checks); n++ {
		if got := testing.AllocsPerRun(1000, func() { s.Take(2, checks[:n], out) }); got != 0 {
			t.Errorf("%d policies: %v allocations", n, got)
		}
	}
}

func TestConfigIsValidated(t *testing.T) {
	for _, clients := range []int{-1, 1, 1023, maxClients + 1} {
		if s, err := New(Config{Clients: clients}); s != nil || err == nil {
			t.Errorf("%d clients: %v", clients, err)
		}
	}
}
