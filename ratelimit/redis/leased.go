package redis

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"weir/ratelimit"
	"weir/ratelimit/local"
)

// maxWaits is how often a request waits for a refill before it asks for itself.
const maxWaits = 4

// addLeases has a policy's clients be given leases, if it is to.
func (s *Store) addLeases(c *policy, p Policy) error {
	count := c.limit.Count()
	if p.Mode == ModeStrict {
		if p.Slice != 0 {
			return fmt.Errorf("quota %q: a slice of %d: %w: set the mode to lease, or no slice", p.Quota.Name, p.Slice, ErrBadLease)
		}
		return nil
	}
	if p.Slice > count {
		return fmt.Errorf("quota %q: a slice of %d: %w: want %d, its count, or less", p.Quota.Name, p.Slice, ErrBadLease, count)
	}
	if c.limit.Window() < s.cfg.Timeout {
		return fmt.Errorf("quota %q: a window of %v: %w: want %v, the timeout, or more, or the mode strict", p.Quota.Name, c.limit.Window(), ErrBadLease, s.cfg.Timeout)
	}
	c.mode, c.slice = p.Mode, p.Slice
	if c.slice == 0 {
		c.slice = max(count/(4*uint64(s.cfg.Gateways)), 1) //nolint:gosec // Validate bounds it
	}
	c.age = min(s.cfg.LeaseAge, c.limit.Window())
	if s.leases == nil {
		s.leases = &table{seed: maphash.MakeSeed(), each: s.cfg.Leases / shards}
	}
	c.salt = maphash.String(s.leases.seed, c.limit.Name())
	return nil
}

func (s *Store) anyLeased(checks []ratelimit.Check) bool {
	for i := range checks {
		if s.shared[checks[i].Limit].mode == ModeLease {
			return true
		}
	}
	return false
}

// taking is a request while it is decided: each of its policies is strict, or unknown, or has given units, which are held.
type taking struct {
	strict, unknown [local.MaxChecks]bool
	leases          [local.MaxChecks]*lease
	held            [local.MaxChecks]part
	joined          [local.MaxChecks]*lease // whose refill it waits for
	asks            bool                    // some are strict
	again           bool                    // it has looked before
}

// begin says which policies are strict for this request.
func (t *taking) begin(s *Store, checks []ratelimit.Check) {
	for i := range checks {
		c := &checks[i]
		if p := s.shared[c.Limit]; p.mode == ModeStrict || c.Cost > p.slice || len(c.Key) > maxKey {
			t.strict[i], t.asks = true, true
		}
	}
}

// pass looks at all leases, and takes of each that has enough, if all have: else of none. What it took is held if there
// are several policies: settle or release is to be called.
func (t *taking) pass(s *Store, now time.Duration, checks []ratelimit.Check, out []ratelimit.Decision) (v verdict) {
	v = granted
	for i := range checks {
		out[i] = ratelimit.Decision{Allowed: true}
		if t.strict[i] {
			continue
		}
		var one verdict
		one, t.leases[i], t.held[i] = s.spend(now, &checks[i], &out[i], len(checks) > 1, !t.again)
		t.unknown[i] = one == unknown
		switch {
		case one == unknown && v == granted:
			v = unknown
		case one == refused && !checks[i].Shadow:
			v = refused
		}
	}
	t.again = true
	if v != granted {
		t.release(now)
	}
	return v
}

// settle keeps what was taken, release gives it back.
func (t *taking) settle() { t.end(func(l *lease, p part) { l.held -= p.units }) }

func (t *taking) release(now time.Duration) { t.end(func(l *lease, p part) { l.restore(now, p) }) }

func (t *taking) end(how func(*lease, part)) {
	for i, l := range t.leases {
		if l == nil {
			continue
		}
		l.home.mu.Lock()
		how(l, t.held[i])
		l.home.mu.Unlock()
		t.leases[i] = nil
	}
}

// spend takes from one lease, and has it refilled when it is low. The lease is nil if nothing is held.
func (s *Store) spend(now time.Duration, c *ratelimit.Check, d *ratelimit.Decision, hold, first bool) (v verdict, held *lease, p part) {
	pol := s.shared[c.Limit]
	sh := s.leases.lock(pol, c.Key)
	l := sh.find(pol, c.Key)
	if l == nil {
		sh.mu.Unlock()
		return unknown, nil, part{}
	}
	v, p = l.take(now, c.Cost)
	switch v {
	case unknown:
		sh.mu.Unlock()
		return v, nil, part{}
	case refused:
		if first {
			sh.cached++
		}
	case granted:
		if hold {
			l.held += p.units
			held = l
		}
	}
	*d = l.decision(now, v, c.Cost)
	s.refill(l, now, v == granted && l.low(now), 0)
	return v, held, p
}

// takeLeased is Take, if a policy has leases.
func (s *Store) takeLeased(ctx context.Context, checks []ratelimit.Check, out []ratelimit.Decision) (allowed bool, err error) {
	if len(checks) > local.MaxChecks {
		return s.takeStrict(ctx, checks, out)
	}
	if allowed, known := s.decideNow(checks, out); known {
		return allowed, nil
	}
	return s.takeWaiting(ctx, checks, out)
}

// decideNow decides without asking, if all that is to be known is known.
func (s *Store) decideNow(checks []ratelimit.Check, out []ratelimit.Decision) (allowed, known bool) {
	var t taking
	t.begin(s, checks)
	now := s.clock()
	v := t.pass(s, now, checks, out)
	switch {
	case v == granted && !t.asks:
		t.settle()
		return true, true
	case v == granted:
		t.release(now)
	}
	return false, v == refused
}

// takeWaiting is takeLeased for a request that has to wait, for Config.Timeout at most.
func (s *Store) takeWaiting(ctx context.Context, checks []ratelimit.Check, out []ratelimit.Decision) (allowed bool, err error) {
	var t taking
	t.begin(s, checks)
	t.again = true
	defer t.leave(checks)
	wait, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	waits := 0
	for ; ; waits++ {
		v := t.pass(s, s.clock(), checks, out)
		if v == refused {
			return false, nil
		}
		if v == granted {
			break
		}
		if waits == maxWaits || err != nil {
			t.giveUp()
			continue
		}
		err = s.await(wait, checks, &t)
	}
	if waits == 0 {
		wait = ctx // a strict policy has all the time there is
	}
	if t.asks {
		allowed, err = s.takeRest(wait, checks, out, &t, err)
	} else {
		allowed, err = true, nil
	}
	if allowed {
		t.settle()
	} else {
		t.release(s.clock())
	}
	return allowed, err
}

// giveUp has what is not known be decided strictly.
func (t *taking) giveUp() {
	for i, u := range t.unknown {
		if u {
			t.strict[i], t.asks = true, true
		}
	}
}

// takeRest asks Redis about those that are strict, unless it is known why that is of no use.
func (s *Store) takeRest(ctx context.Context, checks []ratelimit.Check, out []ratelimit.Decision, t *taking, why error) (allowed bool, err error) {
	rest := make([]ratelimit.Check, 0, len(checks))
	for i := range checks {
		if t.strict[i] {
			rest = append(rest, checks[i])
		}
	}
	said := make([]ratelimit.Decision, len(rest))
	if why != nil {
		allowed, err = s.without(rest, said, why)
	} else {
		allowed, err = s.takeStrict(ctx, rest, said)
	}
	for i := range checks {
		if t.strict[i] {
			out[i], said = said[0], said[1:]
		}
	}
	return allowed, err
}

// await asks for refills of what is unknown, and waits for them. What cannot have one is strict from then on. The
// error says that Redis is gone.
func (s *Store) await(ctx context.Context, checks []ratelimit.Check, t *taking) error {
	var flying [local.MaxChecks]*flight
	for i := range checks {
		if !t.unknown[i] {
			continue
		}
		l, f, err := s.join(&checks[i], t.joined[i])
		switch {
		case errors.Is(err, errNoLease):
			t.strict[i], t.asks = true, true
		case err != nil:
			return err
		default:
			t.joined[i], flying[i] = l, f
		}
	}
	for _, f := range flying {
		if f == nil {
			continue
		}
		select {
		case <-f.done:
			if f.err != nil {
				return f.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leave ends the waiting for refills.
func (t *taking) leave(checks []ratelimit.Check) {
	for i, l := range t.joined {
		if l != nil {
			l.home.mu.Lock()
			l.waiting--
			l.wanted -= checks[i].Cost
			l.home.mu.Unlock()
		}
	}
}

// TryTake is Take for who must not wait: it decides by what is known here. With known false it did not, has charged
// nothing, and may have asked for what Take then waits for. Decisions that are known allocate nothing.
func (s *Store) TryTake(checks []ratelimit.Check, out []ratelimit.Decision) (allowed, known bool) {
	if s.leases == nil || len(checks) > local.MaxChecks || !s.anyLeased(checks) {
		return false, false
	}
	if allowed, known = s.decideNow(checks, out); !known {
		s.prefetch(checks)
	}
	return allowed, known
}

// owed takes costs from leases. The rest is what is to be charged strictly.
func (s *Store) owed(checks []ratelimit.Check) (rest []ratelimit.Check) {
	if s.leases == nil || !s.anyLeased(checks) {
		return checks
	}
	for i := range checks {
		if !s.owe(&checks[i]) {
			rest = append(rest, checks[i])
		}
	}
	return rest
}

func (s *Store) owe(c *ratelimit.Check) bool {
	p := s.shared[c.Limit]
	if p.mode == ModeStrict || c.Cost > p.slice {
		return false
	}
	now := s.clock()
	sh := s.leases.lock(p, c.Key)
	l := s.leases.claim(sh, now, p, c.Key)
	if l == nil || !l.owe(now, c.Cost) {
		sh.mu.Unlock()
		if l == nil {
			s.counts.full.Add(1)
		}
		return false
	}
	s.refill(l, now, l.low(now), 0)
	return true
}
