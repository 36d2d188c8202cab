package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"weir/ratelimit"
)

const (
	// maxWaiting bounds the requests that wait for refills of one lease, maxFlights the refills in flight: who comes
	// then is decided strictly.
	maxWaiting = 256
	maxFlights = 1024
)

var (
	// errNoLease says that a client has no lease, or one that is too small.
	errNoLease = errors.New("no lease")
	errCrowded = fmt.Errorf("%w: too many wait for one", errNoLease)
)

// flight is a refill that was asked for. err is there when done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// flights counts those of a store, each of which is a goroutine.
type flights struct {
	mu     sync.Mutex
	closed bool
	number int
	wait   sync.WaitGroup
}

func (f *flights) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.number == maxFlights {
		return false
	}
	f.number++
	f.wait.Add(1)
	return true
}

func (f *flights) end() {
	f.mu.Lock()
	f.number--
	f.mu.Unlock()
	f.wait.Done()
}

// close waits for them. There are none afterwards.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wait.Wait()
}

// begin is what to ask for a lease, for fly, and the flight has begun. The lock of its shard is held. The error wraps
// errNoLease if it cannot be had, else Redis is gone.
func (s *Store) begin(l *lease, now time.Duration, cost uint64) (a ask, err error) {
	if s.breaker.shut(now) {
		return ask{}, errOpen
	}
	if !s.flights.begin() {
		return ask{}, errCrowded
	}
	a, ok := l.ask(now, cost)
	if !ok {
		s.flights.end()
		return ask{}, errNoLease
	}
	return a, nil
}

// fly asks, in the background.
func (s *Store) fly(l *lease, a ask, now time.Duration) {
	go func() {
		defer s.flights.end()
		s.counts.refills.Add(1)
		replies, err := s.lend([]loan{{l.policy, l.key, a}})
		l.home.mu.Lock()
		f := l.flight
		if f.err = err; err == nil {
			l.answered(s.clock(), now, a, replies[0])
		} else {
			l.failed(a, !errors.Is(err, errOpen))
		}
		l.home.mu.Unlock()
		close(f.done)
	}()
}

// refill asks in the background, if it is wanted and nothing stands against it. It gives up the lock of the shard, which
// is held.
func (s *Store) refill(l *lease, now time.Duration, wanted bool, cost uint64) {
	var a ask
	if wanted = wanted && l.flight == nil; wanted {
		var err error
		a, err = s.begin(l, now, cost)
		wanted = err == nil
	}
	l.home.mu.Unlock()
	if wanted {
		s.fly(l, a, now)
	}
}

// prefetch asks in the background for what leases of a request have too little of.
func (s *Store) prefetch(checks []ratelimit.Check) {
	now := s.clock()
	for i := range checks {
		c := &checks[i]
		p := s.shared[c.Limit]
		if p.mode == ModeStrict || c.Cost == 0 || c.Cost > p.slice {
			continue
		}
		sh := s.leases.lock(p, c.Key)
		if l := s.leases.claim(sh, now, p, c.Key); l != nil {
			s.refill(l, now, l.left() < c.Cost && !l.refuses(now, c.Cost), c.Cost)
			continue
		}
		sh.mu.Unlock()
	}
}

// join has a request wait for a flight of its client's lease, which may be one that it has joined before, until it leaves.
// The error is as that of begin.
func (s *Store) join(c *ratelimit.Check, joined *lease) (*lease, *flight, error) {
	p, now := s.shared[c.Limit], s.clock()
	if c.Cost == 0 {
		return nil, nil, errNoLease
	}
	sh := s.leases.lock(p, c.Key)
	l := s.leases.claim(sh, now, p, c.Key)
	if l == nil {
		sh.mu.Unlock()
		s.counts.full.Add(1)
		return nil, nil, errNoLease
	}
	var a ask
	var err error
	begins := l.flight == nil
	switch {
	case l != joined && l.waiting == maxWaiting:
		err = errCrowded
	case begins:
		a, err = s.begin(l, now, c.Cost)
	}
	if err != nil {
		sh.mu.Unlock()
		if errors.Is(err, errCrowded) {
			s.counts.crowded.Add(1)
		}
		return nil, nil, err
	}
	if l != joined { // a lease that is waited for stays
		l.waiting++
		l.wanted += c.Cost
	}
	f := l.flight
	sh.mu.Unlock()
	if begins {
		s.fly(l, a, now)
	}
	return l, f, nil
}

// loan is an ask of one client.
type loan struct {
	policy *policy
	client string
	ask    ask
}

// lend asks Redis, once for all of them.
func (s *Store) lend(loans []loan) (replies []reply, err error) {
	keys := make([]string, len(loans))
	args := append(make([]string, 0, 1+16*len(loans)), "")
	for i := range loans {
		l := &loans[i]
		keys[i] = s.key(l.policy.limit, l.client)
		args = l.arguments(args)
	}
	ctx := context.Background()
	answer, err := s.guarded(ctx, func() ([]int64, error) { return s.exec(ctx, s.lending, keys, args) })
	if err == nil {
		if replies, err = read(loans, answer); err != nil {
			s.counts.fail(err)
		}
	}
	for i := range loans {
		a := loans[i].ask
		if err == nil {
			s.counts.givenBack.Add(a.back)
			s.counts.leased.Add(replies[i].units)
			continue
		}
		s.counts.forfeited.Add(a.back)
		if !errors.Is(err, errOpen) {
			s.counts.lost.Add(a.spent)
		}
	}
	return replies, err
}

// arguments are those of lease.lua for one client.
func (l *loan) arguments(args []string) []string {
	p, a := l.policy, l.ask
	n := a.choices()
	if p.window > 0 {
		args = append(args, "counter", number(a.back), number(a.from), number(a.spent), number(p.limit.Count()), number(p.window), number(uint64(n))) //nolint:gosec // not negative
		for i := range n {
			args = append(args, number(a.choice(i)))
		}
		return args
	}
	spent, limit := p.limit.Ticks(a.spent)
	args = pair(pair(pair(append(args, "gcra"), p.worth(a.back)), spent), limit)
	args = append(args, number(uint64(n))) //nolint:gosec // not negative
	for i := range n {
		cost, _ := p.limit.Ticks(a.choice(i))
		args = pair(args, cost)
	}
	return args
}

// worth is the ticks that so many units are worth when they are given back: of bytes, whose cost is rounded up once and for
// each MiB, no more than was charged for them, with whatever others they were.
func (p *policy) worth(units uint64) uint64 {
	ticks, _ := p.limit.Ticks(units)
	if p.limit.Unit() == ratelimit.UnitContentBytes {
		ticks -= min(ticks, units>>20+1)
	}
	return ticks
}

// windowAt is the number of the sliding counter's window at a time of the server's.
func (p *policy) windowAt(now uint64) uint64 {
	if p.window == 0 {
		return 0
	}
	return now / ticksPerMicro / p.window
}

// read takes the answer of lease.lua apart, and holds it to what was asked and to what Go would say.
func read(loans []loan, answer []int64) ([]reply, error) {
	w := words{left: answer}
	now := w.next() * ticksPerMicro
	replies := make([]reply, len(loans))
	for i := range loans {
		l := &loans[i]
		chosen := w.next()
		r := reply{state: w.state(l.policy), now: now}
		if n := l.ask.choices(); chosen > 0 && chosen <= uint64(n) { //nolint:gosec // not negative
			r.units = l.ask.choice(int(chosen) - 1) //nolint:gosec // at most n
			if !l.policy.limit.Decide(&r.state, now, 0).Allowed {
				w.err = errAnswer
			}
		} else if chosen > 0 {
			w.err = errAnswer
		}
		replies[i] = r
	}
	if w.err != nil || len(w.left) > 0 {
		return nil, errAnswer
	}
	return replies, nil
}
