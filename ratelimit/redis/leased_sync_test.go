package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/ratelimit"
)

func (f *fakeServer) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trips
}

func (f *fakeServer) set(way func(ctx context.Context, lending, done bool) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.way = way
}

// mustTake is a request that is to be allowed, or not, by Redis or a lease.
func mustTake(t *testing.T, s *Store, want bool, checks []ratelimit.Check) []ratelimit.Decision {
	t.Helper()
	out := make([]ratelimit.Decision, len(checks))
	if allowed, err := s.Take(t.Context(), checks, out); err != nil || allowed != want {
		t.Fatalf("allowed: %v, %v: %+v", allowed, err, out)
	}
	return out
}

// TestGatewaysWithLeasesUseTheQuotaAndNoMore: three of them, for a minute, each at five times the quota, or one alone
// after the others took what they could hold. In any time as much is let through as the quota and the bound that
// is stated; and over all as good as all of it.
func TestGatewaysWithLeasesUseTheQuotaAndNoMore(t *testing.T) {
	const gateways, runs = 3, time.Minute
	for _, row := range []struct {
		p     Policy
		alone bool
	}{
		{leased("hundred a second", 100, time.Second, 50, 0), false},
		{leased("one by one", 20, time.Second, 2, 0), false},
		{leased("few", 60, time.Minute, 12, 4), false},
		{counted(leased("counter", 100, 10*time.Second, 0, 0)), false},
		{leased("hundred a second", 100, time.Second, 50, 16), true},
		{counted(leased("counter", 100, 10*time.Second, 0, 33)), true},
	} {
		t.Run(fmt.Sprintf("%s, alone %v", row.p.Quota.Name, row.alone), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer()
				f.set(later(500 * time.Microsecond))
				w := &world{server: f}
				var mu sync.Mutex
				var wg sync.WaitGroup
				var stores []*Store
				for g := range gateways {
					s := openFake(t, f, Config{Gateways: gateways}, row.p)
					sweep(t, s)
					stores = append(stores, s)
					every := s.Limit(row.p.Quota.Name).Window() * gateways / time.Duration(5*s.Limit(row.p.Quota.Name).Count())
					wg.Go(func() {
						for began := time.Now(); time.Since(began) < runs; time.Sleep(every) {
							if row.alone && g > 0 && time.Since(began) > 2*time.Second {
								return
							}
							checks := checksOf(s, "x", 1, row.p.Quota.Name)
							var out [1]ratelimit.Decision
							allowed, err := s.Take(t.Context(), checks, out[:])
							if err != nil {
								t.Error(err)
							}
							if allowed {
								mu.Lock()
								w.through = append(w.through, admitted{time.Since(f.began), 1})
								mu.Unlock()
							}
						}
					})
				}
				wg.Wait()
				w.store, w.policy = stores[0], stores[0].shared[stores[0].Limit(row.p.Quota.Name)]
				if err := w.check(); err != nil {
					t.Error(err)
				}
				quota := w.quota(0, runs)
				if w.policy.window > 0 { // its windows begin at other times
					quota = w.policy.limit.Count() * uint64(runs/time.Microsecond) / w.policy.window
				}
				if got := uint64(len(w.through)); (got+1)*100 < quota*99 {
					t.Errorf("%d were let through, the quota is %d", got, quota)
				}
				t.Logf("%d were let through, the quota is %d, the bound %d; %d round trips", len(w.through), quota, w.store.Bound(row.p.Quota.Name).Lease, f.asked())
			})
		})
	}
}

// TestManyWhoFindALeaseEmptyAskOnce, and all are decided rightly.
func TestManyWhoFindALeaseEmptyAskOnce(t *testing.T) {
	for _, row := range []struct {
		requests, trips int
		crowded         uint64
	}{{1, 1, 0}, {100, 3, 0}, {maxWaiting + 5, 4 + 5, 5}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeServer()
			f.set(later(time.Millisecond))
			s := openFake(t, f, Config{}, leased("p", 100, time.Hour, 90, 90))
			var wg sync.WaitGroup
			var allowed, refused int
			var mu sync.Mutex
			for range row.requests {
				wg.Go(func() {
					began := time.Now()
					var out [1]ratelimit.Decision
					ok, err := s.Take(t.Context(), checksOf(s, "x", 1, "p"), out[:])
					if err != nil || time.Since(began) > 8*time.Millisecond {
						t.Errorf("%v after %v", err, time.Since(began))
					}
					mu.Lock()
					defer mu.Unlock()
					if ok {
						allowed++
					} else {
						refused++
					}
				})
			}
			wg.Wait()
			if allowed != min(row.requests, 90) || allowed+refused != row.requests {
				t.Errorf("%d were allowed, %d refused", allowed, refused)
			}
			if st := s.Stats(); f.asked() > row.trips || st.Crowded != row.crowded || st.Asked != 0 {
				t.Errorf("%d requests: %d round trips, %+v", row.requests, f.asked(), st)
			}
		})
	}
}

// TestRefillsComeBeforeTheyAreNeeded: a client whose requests are evenly spaced waits only in the beginning.
func TestRefillsComeBeforeTheyAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer()
		f.set(later(2 * time.Millisecond))
		s := openFake(t, f, Config{}, leased("p", 1000, time.Second, 1000, 64))
		waited := 0
		for range 1000 {
			began := time.Now()
			mustTake(t, s, true, checksOf(s, "x", 1, "p"))
			if time.Since(began) > 0 {
				waited++
			}
			time.Sleep(time.Millisecond)
		}
		if waited > 5 || f.asked() > 40 {
			t.Errorf("%d of 1000 waited, for %d refills", waited, f.asked())
		}
	})
}

// refusedTimes is how often the server was asked for a hundred refusals.
func refusedTimes(t *testing.T, s *Store, f *fakeServer, checks []ratelimit.Check) (trips int) {
	t.Helper()
	before := f.asked()
	for range 100 {
		if d := mustTake(t, s, false, checks); d[0].RetryAfter <= 0 || d[0].Reset < d[0].RetryAfter || d[0].Allowed {
			t.Fatalf("%+v", d[0])
		}
	}
	return f.asked() - before
}

func TestRefusalsAreRememberedUntilTheyMayBeWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer()
		s := openFake(t, f, Config{}, leased("quick", 10, time.Second, 2, 1), leased("slow", 1, time.Hour, 1, 1), leased("big", 10, time.Second, 9, 4))
		refusals := func(name string, cost uint64) (trips int) {
			return refusedTimes(t, s, f, checksOf(s, "x", cost, name))
		}
		for range 2 {
			mustTake(t, s, true, checksOf(s, "x", 1, "quick"))
		}
		if n := refusals("quick", 1); n != 0 {
			t.Errorf("%d round trips after the last was given", n)
		}
		time.Sleep(100*time.Millisecond - time.Microsecond)
		if n := refusals("quick", 1); n != 0 {
			t.Errorf("%d round trips just before it may be allowed", n)
		}
		time.Sleep(2 * time.Microsecond)
		mustTake(t, s, true, checksOf(s, "x", 1, "quick"))

		mustTake(t, s, true, checksOf(s, "x", 1, "slow"))
		if n := refusals("slow", 1); n != 0 {
			t.Errorf("%d round trips", n)
		}
		if d := mustTake(t, s, false, checksOf(s, "x", 1, "slow")); d[0].RetryAfter < time.Hour-time.Millisecond {
			t.Errorf("%+v", d[0])
		}
		time.Sleep(time.Second) // an age: others may have given some back
		if n := refusals("slow", 1); n != 1 {
			t.Errorf("%d round trips after an age", n)
		}

		for range 2 {
			mustTake(t, s, true, checksOf(s, "x", 4, "big"))
		}
		synctest.Wait() // a refill in the background has one more
		if n := refusals("big", 4); n != 0 {
			t.Errorf("%d round trips", n)
		}
		mustTake(t, s, true, checksOf(s, "x", 1, "big")) // who wants less is not refused for it
		mustTake(t, s, true, checksOf(s, "y", 4, "big"))
		mustTake(t, s, true, checksOf(s, "y", 2, "big"))
		synctest.Wait()
		if n := refusedTimes(t, s, f, checksOf(s, "y", 4, "big")); n != 1 {
			t.Errorf("%d round trips", n)
		}
		if st := s.Stats(); st.Cached != 100+100+100+1+99+100+99 {
			t.Errorf("%d refusals without asking", st.Cached)
		}
	})
}

// TestAllOrNoneOfThePoliciesAreCharged, with leases and without, whichever refuses.
func TestAllOrNoneOfThePoliciesAreCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer()
		f.set(later(time.Millisecond))
		strict := perHour("strict", 3)
		s := openFake(t, f, Config{}, leased("a", 100, time.Hour, 100, 50), leased("b", 5, time.Hour, 5, 5), strict)
		left := func(name string) uint64 {
			t.Helper()
			var out [1]ratelimit.Decision
			checks := checksOf(s, "x", 0, name)
			if _, err := s.takeStrict(t.Context(), checks, out[:]); err != nil {
				t.Fatal(err)
			}
			p, here := s.shared[checks[0].Limit], uint64(0)
			if s.leases != nil && p.mode == ModeLease {
				sh := s.leases.lock(p, checks[0].Key)
				if l := sh.find(p, checks[0].Key); l != nil {
					here = l.left()
					if l.held != 0 {
						t.Errorf("%s: %d are held", name, l.held)
					}
				}
				sh.mu.Unlock()
			}
			return out[0].Remaining + here
		}
		want := func(a, b, strict uint64) {
			t.Helper()
			time.Sleep(10 * time.Millisecond) // for refills in the background
			if left("a") != a || left("b") != b || left("strict") != strict {
				t.Fatalf("left are %d, %d and %d, want %d, %d and %d", left("a"), left("b"), left("strict"), a, b, strict)
			}
		}
		all := checksOf(s, "x", 1, "a", "strict", "b")
		for range 3 {
			mustTake(t, s, true, all)
		}
		want(97, 2, 0)
		if d := mustTake(t, s, false, all); !d[0].Allowed || d[1].Allowed || !d[2].Allowed {
			t.Errorf("%+v", d)
		}
		want(97, 2, 0)
		shadow := checksOf(s, "x", 1, "a", "strict", "b")
		shadow[1].Shadow = true
		for range 2 {
			if d := mustTake(t, s, true, shadow); d[1].Allowed {
				t.Errorf("%+v", d)
			}
		}
		want(95, 0, 0)
		mustTake(t, s, false, shadow)
		before := f.asked()
		if d := mustTake(t, s, false, all); !d[1].Allowed || d[1].Remaining != 0 || d[2].Allowed || d[2].RetryAfter == 0 {
			t.Errorf("%+v", d)
		}
		if f.asked() != before {
			t.Error("a strict policy is asked about what a lease refuses")
		}
		want(95, 0, 0)
		shadow[1].Shadow, shadow[2].Shadow = true, true
		if d := mustTake(t, s, true, shadow); !d[0].Allowed || d[1].Allowed || d[2].Allowed {
			t.Errorf("%+v", d)
		}
		want(94, 0, 0)
		mustTake(t, s, false, checksOf(s, "x", 51, "a", "b")) // more than a slice is decided strictly
		mustTake(t, s, true, checksOf(s, "x", 51, "a"))
		mustTake(t, s, true, checksOf(s, "y", 0, "a"))
		want(43, 0, 0)
	})
}

// TestWithoutRedisTheLeaseIsSpentFirst, then each policy does what its fallback says; and nobody waits for longer than the
// timeout.
func TestWithoutRedisTheLeaseIsSpentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer()
		p := leased("p", 100, time.Hour, 100, 60)
		p.WhenGone = FallbackClosed
		s := openFake(t, f, Config{Timeout: 10 * time.Millisecond, Failures: 3, LeaseAge: time.Minute}, p, perHour("strict", 100))
		for range 16 {
			mustTake(t, s, true, checksOf(s, "x", 1, "p"))
			synctest.Wait()
		}
		left := s.Stats().Outstanding
		if left == 0 {
			t.Fatal("nothing is leased")
		}
		f.set(later(time.Hour))
		began := time.Now()
		for range left {
			mustTake(t, s, true, checksOf(s, "x", 1, "p"))
		}
		if time.Since(began) > 0 {
			t.Error("who has a lease waits")
		}
		var out [2]ratelimit.Decision
		for i := range 10 {
			began := time.Now()
			allowed, err := s.Take(t.Context(), checksOf(s, "x", 1, "p"), out[:1])
			if allowed || !errors.Is(err, ErrGone) {
				t.Errorf("%v, %v", allowed, err)
			}
			if d := time.Since(began); d > s.cfg.Timeout || i > 6 && d > 0 {
				t.Errorf("request %d waits for %v", i, d)
			}
		}
		if allowed, err := s.Take(t.Context(), checksOf(s, "z", 1, "strict", "p"), out[:]); allowed || !errors.Is(err, ErrGone) {
			t.Errorf("%v, %v", allowed, err)
		}
		if allowed, known := s.TryTake(checksOf(s, "x", 1, "p"), out[:]); allowed || known {
			t.Errorf("%v, %v", allowed, known)
		}
		time.Sleep(s.cfg.Retry)
		f.set(func(context.Context, bool, bool) error { return errAnswer })
		before := f.asked()
		if allowed, err := s.Take(t.Context(), checksOf(s, "x", 1, "p"), out[:1]); allowed || !errors.Is(err, ErrGone) || f.asked() != before+1 {
			t.Errorf("%v, %v, asked %d times", allowed, err, f.asked()-before)
		}
		f.set(nil)
		time.Sleep(s.cfg.Retry)
		mustTake(t, s, true, checksOf(s, "x", 1, "p"))
	})
}

func TestTryTakeNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer()
		f.set(later(500 * time.Microsecond))
		s := openFake(t, f, Config{}, leased("p", 8, time.Hour, 8, 4), perHour("strict", 100))
		var out [2]ratelimit.Decision
		try := func(names ...string) string {
			began := time.Now()
			allowed, known := s.TryTake(checksOf(s, "x", 1, names...), out[:])
			if time.Since(began) > 0 {
				t.Error("it waits")
			}
			return fmt.Sprint(allowed, known)
		}
		var got []string
		for range 24 {
			got = append(got, try("p"))
			time.Sleep(2 * time.Millisecond)
		}
		all := strings.Join(got, ",")
		if n := strings.Count(all, "true true"); n != 8 {
			t.Errorf("%d were allowed: %v", n, got)
		}
		if got[0] != "false false" || got[1] != "true true" || got[23] != "false true" || out[0].RetryAfter == 0 {
			t.Errorf("%v, %+v", got, out[0])
		}
		if try("strict") != "false false" || try("strict", "p") != "false true" {
			t.Error("a strict policy is not known, unless another refuses")
		}
	})
}
