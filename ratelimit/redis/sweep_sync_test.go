package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sweep has a store swept until the test ends, or it is stopped.
func sweep(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s.Run(ctx)
		close(done)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func TestWhatIsNotSpentIsGivenBack(t *testing.T) {
	for _, p := range []Policy{leased("p", 100, time.Hour, 100, 60), counted(leased("p", 100, time.Hour, 0, 60))} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeServer()
			s, other := openFake(t, f, Config{}, p), openFake(t, f, Config{}, Policy{Quota: p.Quota})
			stop := sweep(t, s)
			left := func() uint64 {
				synctest.Wait()
				return mustTake(t, other, true, checksOf(other, "x", 0, "p"))[0].Remaining
			}
			spend := func() {
				for range 20 {
					mustTake(t, s, true, checksOf(s, "x", 1, "p"))
					synctest.Wait()
				}
			}
			spend()
			if n := left(); n > 75 {
				t.Errorf("%d are left: nothing is leased", n)
			}
			time.Sleep(2 * time.Second)
			if n := left(); n != 80 {
				t.Errorf("%d are left, want 80", n)
			}
			time.Sleep(2 * time.Second)
			if st := s.Stats(); st.Leases != 0 || st.GivenBack == 0 || st.Forfeited != 0 || st.Outstanding != 0 {
				t.Errorf("%+v", st)
			}
			spend()
			if n := left(); n >= 60 {
				t.Errorf("%d are left: nothing is leased", n)
			}
			stop()
			if n := left(); n != 60 {
				t.Errorf("%d are left when it has ended, want 60", n)
			}
		})
	}
}

func TestWhatIsChargedLateIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer()
		p := bytesOf(leased("p", 10000, 1000*time.Hour, 10000, 1000))
		s, other := openFake(t, f, Config{}, p), openFake(t, f, Config{}, Policy{Quota: p.Quota})
		sweep(t, s)
		left := func() uint64 {
			synctest.Wait()
			return mustTake(t, other, true, checksOf(other, "x", 0, "p"))[0].Remaining
		}
		charge := func(cost uint64) {
			t.Helper()
			if err := s.Charge(t.Context(), checksOf(s, "x", cost, "p")); err != nil {
				t.Fatal(err)
			}
		}
		charge(400)
		if n, trips := left(), f.asked(); n != 10000 || trips != 1 {
			t.Errorf("%d are left after %d round trips: it is told at once", n, trips)
		}
		time.Sleep(time.Second)
		if n := left(); n != 9600 {
			t.Errorf("%d are left within an age, want 9600", n)
		}
		charge(300)
		charge(300) // half a slice and more: it is told, and a unit is leased
		if n := left(); n != 8999 {
			t.Errorf("%d are left, want 8999", n)
		}
		charge(5000) // more than a slice
		if n := left(); n != 3999 {
			t.Errorf("%d are left, want 3999", n)
		}
		f.set(later(time.Hour))
		for range 5 { // which opens the breaker
			if err := s.Charge(t.Context(), checksOf(s, "y", 2000, "p")); !errors.Is(err, ErrGone) {
				t.Error(err)
			}
		}
		charge(900)
		if err := s.Charge(t.Context(), checksOf(s, "x", 200, "p")); !errors.Is(err, ErrGone) {
			t.Errorf("more is owed than a slice: %v", err)
		}
		f.set(nil)
		time.Sleep(3 * time.Second)
		if n := left(); n < 3099 || n > 3100 { // what is given back is rounded down
			t.Errorf("%d are left, want 3100", n)
		}
	})
}

// TestWhoHasNoLeaseIsDecidedStrictly: there is no room for it, or its key is too long.
func TestWhoHasNoLeaseIsDecidedStrictly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer()
		s := openFake(t, f, Config{Leases: shards}, leased("p", 8, time.Hour, 8, 8))
		sweep(t, s)
		clients := 4 * shards
		for i := range clients {
			checks := checksOf(s, fmt.Sprint(i), 1, "p")
			for range 8 {
				mustTake(t, s, true, checks)
			}
			mustTake(t, s, false, checks)
		}
		st := s.Stats()
		if st.Leases == 0 || st.Leases > shards || st.Full == 0 {
			t.Errorf("%+v", st)
		}
		time.Sleep(5 * time.Second)
		if n := s.Stats().Leases; n != 0 {
			t.Errorf("%d leases are kept", n)
		}
		long := checksOf(s, strings.Repeat("x", maxKey+1), 1, "p")
		before := f.asked()
		for range 8 {
			mustTake(t, s, true, long)
		}
		mustTake(t, s, false, long)
		if f.asked() != before+9 {
			t.Errorf("%d round trips", f.asked()-before)
		}
	})
}

// TestWhoseLeaseIsWorthNothingMakesRoom: it has no units, owes none and was refused none.
func TestWhoseLeaseIsWorthNothingMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openFake(t, newFakeServer(), Config{Leases: shards}, leased("p", 8, time.Hour, 8, 8))
		for i := range 4 * shards {
			mustTake(t, s, true, checksOf(s, fmt.Sprint(i), 1, "p"))
		}
		if st := s.Stats(); st.Full != 0 || st.Leases > shards {
			t.Errorf("%+v", st)
		}
	})
}
