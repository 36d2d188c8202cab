package redis

import (
	"testing"
	"time"
)

func TestBreakerLetsOneThroughEveryRetry(t *testing.T) {
	b := breaker{failures: 3, retry: time.Second}
	at := func(now time.Duration, want bool) {
		t.Helper()
		if got := b.may(now); got != want {
			t.Fatalf("at %v: %v", now, got)
		}
	}
	for i := range 2 {
		b.note(0, false)
		at(time.Duration(i), true)
	}
	b.note(1, true) // which begins anew
	for range 3 {
		at(2, true)
		b.note(2, false)
	}
	at(3, false)
	at(time.Second+1, false)
	at(time.Second+2, true)
	at(time.Second+3, false) // while that one asks
	b.note(time.Second+4, false)
	at(time.Second+5, false)
	at(2*time.Second+2, true)
	b.note(2*time.Second+3, true)
	at(2*time.Second+4, true)
	at(2*time.Second+4, true)
}
