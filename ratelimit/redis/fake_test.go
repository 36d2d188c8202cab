package redis

import (
	"context"
	"maps"
	"math/bits"
	"strconv"
	"sync"
	"testing"
	"time"

	"weir/ratelimit"

	"github.com/redis/rueidis"
)

// fakeEpoch is what the fake's clock begins at, microseconds: in the middle of no window.
const fakeEpoch = 1<<47 + 12345

// fakeServer does what the two scripts do, on the same arguments, with integers of 64 bits. It is held to the scripts by
// TestLuaLendsAsTheFakeDoes.
type fakeServer struct {
	mu     sync.Mutex
	began  time.Time
	states map[string]fakeState
	trips  int
	// way is what happens to a request before and after it is done: nil is nothing.
	way func(ctx context.Context, lending, done bool) error
}

type fakeState struct {
	until                 uint64
	number, units, before uint64 // number is one more: 0 is never
}

func newFakeServer() *fakeServer {
	return &fakeServer{began: time.Now(), states: map[string]fakeState{}}
}

// openFake is a Store whose server is f.
func openFake(tb testing.TB, f *fakeServer, cfg Config, policies ...Policy) *Store {
	tb.Helper()
	cfg.Addresses = []string{"192.0.2.1:1"} // which nobody dials
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Millisecond
	}
	s := open(tb, cfg, policies...)
	s.exec = func(ctx context.Context, script *rueidis.Lua, keys, args []string) ([]int64, error) {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		defer cancel()
		return f.exec(ctx, script == s.lending, keys, args)
	}
	return s
}

func (f *fakeServer) exec(ctx context.Context, lending bool, keys, args []string) ([]int64, error) {
	f.mu.Lock()
	way := f.way
	f.trips++
	f.mu.Unlock()
	if way != nil {
		if err := way(ctx, lending, false); err != nil {
			return nil, err
		}
	}
	answer := f.do(lending, keys, args)
	if way != nil {
		if err := way(ctx, lending, true); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// later has each way take so long, as far as the request waits.
func later(d time.Duration) func(context.Context, bool, bool) error {
	return func(ctx context.Context, _, _ bool) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// do runs a script.
func (f *fakeServer) do(lending bool, keys, args []string) []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := func() uint64 {
		n, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			panic(err)
		}
		args = args[1:]
		return n
	}
	force := !lending && next() == 1
	us := uint64(fakeEpoch + time.Since(f.began)/time.Microsecond)
	if args[0] != "" {
		us = next()
		args = args[2:]
	} else {
		args = args[1:]
	}
	answer := []int64{int64(us)}
	writes := map[string]fakeState{}
	allowed := true
	for _, key := range keys {
		st := f.states[key]
		shadow := !lending && next() == 1
		kind := args[0]
		args = args[1:]
		var said []int64
		var ok bool
		switch {
		case lending && kind == "gcra":
			said, ok = st.lendGCRA(us, next)
		case lending:
			said, ok = st.lendCounter(us, next)
		case kind == "gcra":
			said, ok = st.takeGCRA(us, next)
		default:
			said, ok = st.takeCounter(us, next)
		}
		answer = append(answer, said...)
		if ok || force {
			writes[key] = st
		}
		allowed = allowed && (ok || shadow)
	}
	if allowed || force || lending {
		maps.Copy(f.states, writes)
	}
	return answer
}

func (st *fakeState) arrival(now, limit uint64) uint64 {
	return min(max(st.until, now), now+2*limit)
}

func (st *fakeState) takeGCRA(us uint64, next func() uint64) ([]int64, bool) {
	pair := func() uint64 { return next()<<32 | next() }
	now, cost, limit := us*ticksPerMicro, pair(), pair()
	said := []int64{0, int64(st.until >> 32), int64(st.until & mask)}
	tat := st.arrival(now, limit) + cost
	ok := tat <= now+limit
	if ok {
		said[0] = 1
	}
	if cost > 0 {
		st.until = min(tat, now+2*limit)
	}
	return said, ok
}

func (st *fakeState) lendGCRA(us uint64, next func() uint64) ([]int64, bool) {
	pair := func() uint64 { return next()<<32 | next() }
	now, back, spent, limit, choices := us*ticksPerMicro, pair(), pair(), pair(), next()
	tat := st.arrival(now, limit)
	tat = max(tat, now+back) - back
	if back == 0 {
		tat = st.arrival(now, limit)
	}
	tat = min(tat+spent, now+2*limit)
	var chosen uint64
	for i := range choices {
		if cost := pair(); chosen == 0 && tat+cost <= now+limit {
			chosen = i + 1
			tat += cost
		}
	}
	st.until = tat
	return []int64{int64(chosen), int64(tat >> 32), int64(tat & mask)}, chosen+back+spent > 0
}

// turn is the state as of the window of now, and what counts of the one before.
func (st *fakeState) turn(us, window uint64) (used uint64) {
	switch number := us/window + 1; {
	case st.number+1 == number:
		*st = fakeState{number: number, before: st.units}
	case st.number < number:
		*st = fakeState{number: number}
	default:
		st.number = number
	}
	hi, lo := bits.Mul64(st.before, window-us%window)
	q, rest := bits.Div64(hi, lo, window)
	return st.units + q + min(rest, 1)
}

func (st *fakeState) takeCounter(us uint64, next func() uint64) ([]int64, bool) {
	cost, count, window := next(), next(), next()
	said := []int64{0, int64(st.number) - 1, int64(st.units), int64(st.before)}
	ok := st.turn(us, window)+cost <= count
	if ok {
		said[0] = 1
	}
	st.units = min(st.units+cost, maxCost)
	return said, ok
}

func (st *fakeState) lendCounter(us uint64, next func() uint64) ([]int64, bool) {
	back, from, spent, count, window, choices := next(), next(), next(), next(), next(), next()
	st.turn(us, window)
	switch {
	case from+1 >= st.number:
		st.units -= min(back, st.units)
	case from+2 == st.number:
		st.before -= min(back, st.before)
	}
	st.units = min(st.units+spent, maxCost)
	used := st.turn(us, window)
	var chosen uint64
	for i := range choices {
		if n := next(); chosen == 0 && used+n <= count {
			chosen = i + 1
			st.units += n
		}
	}
	return []int64{int64(chosen), int64(st.number) - 1, int64(st.units), int64(st.before)}, chosen+back+spent > 0
}

// checksOf is a request of one client under policies of those names.
func checksOf(s *Store, client string, cost uint64, names ...string) []ratelimit.Check {
	checks := make([]ratelimit.Check, len(names))
	for i, name := range names {
		checks[i] = ratelimit.Check{Limit: s.Limit(name), Key: []byte(client), Cost: cost}
	}
	return checks
}
