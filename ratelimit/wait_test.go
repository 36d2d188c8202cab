package ratelimit

import (
	"math/rand/v2"
	"testing"
)

// TestWaitIsExact wants a refused request to pass after the wait, and not a tick before.
func TestWaitIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same numbers each time
	refused := 0
	for range 10_000 {
		p := Plan{Interval: 1 + r.Uint64N(1000)}
		p.Limit = p.Interval * (1 + r.Uint64N(5))
		now := r.Uint64N(10_000)
		tat := r.Uint64N(now + 2*p.Limit)
		wait := Wait(p, tat, now)
		if _, ok := GCRA(p, tat, now); ok != (wait == 0) {
			t.Fatalf("%+v at %d, arrival %d: passes %v, wait %d", p, now, tat, ok, wait)
		}
		if wait == 0 {
			continue
		}
		refused++
		if _, ok := GCRA(p, tat, now+wait); !ok {
			t.Fatalf("%+v at %d, arrival %d: refused after %d", p, now, tat, wait)
		}
		if _, ok := GCRA(p, tat, now+wait-1); ok {
			t.Fatalf("%+v at %d, arrival %d: passes before %d", p, now, tat, wait)
		}
	}
	if refused < 1000 {
		t.Errorf("only %d were refused", refused)
	}
}
