package redis

import (
	"sync/atomic"
	"time"
)

// breaker stops requests from asking a server that does not answer. Its methods may be called from any
// goroutine.
type breaker struct {
	failures int
	retry    time.Duration

	row  atomic.Int64 // failures in a row
	next atomic.Int64 // when one request may ask again, monotonic nanoseconds
}

// may reports whether a request may ask the server at now: while the breaker is open, one every retry.
func (b *breaker) may(now time.Duration) bool {
	if b.row.Load() < int64(b.failures) {
		return true
	}
	next := b.next.Load()
	return int64(now) >= next && b.next.CompareAndSwap(next, int64(now+b.retry))
}

// note takes what came of it.
func (b *breaker) note(now time.Duration, ok bool) {
	if ok {
		b.row.Store(0)
		return
	}
	if b.row.Add(1) == int64(b.failures) {
		b.next.Store(int64(now + b.retry))
	}
}

// shut reports whether no request may ask at now, for who would rather not begin.
func (b *breaker) shut(now time.Duration) bool { return b.open() && int64(now) < b.next.Load() }

// failing reports whether the last that was asked failed.
func (b *breaker) failing() bool { return b.row.Load() > 0 }

func (b *breaker) open() bool { return b.row.Load() >= int64(b.failures) }
