package redis

import (
	"context"
	"errors"
	"time"
)

const (
	// sweepsPerAge is how often in a LeaseAge leases are looked at.
	sweepsPerAge = 32
	// sweptLeases and sweptLoans bound what a sweep looks at, and what it tells Redis: the default number of leases takes
	// half an age. sweptAtOnce is of a shard while its lock is held, loansAtOnce of one round trip.
	sweptLeases = 4096
	sweptLoans  = 512
	sweptAtOnce = 256
	loansAtOnce = 128
)

// Run gives back what leases have too long, has Redis told what was charged, and forgets leases that nobody uses, until ctx
// ends: then it gives back all of them that it can. A store with ModeLease is to have it running, once; without, a
// client's units are given back when it comes again, and a table that is full of clients stays so.
func (s *Store) Run(ctx context.Context) {
	if s.leases == nil {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(max(s.cfg.LeaseAge/sweepsPerAge, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			for i := range s.leases.shards {
				now := s.clock()
				loans, _ := s.leases.shards[i].sweep(s, nil, now, true)
				s.tell(loans)
			}
			return
		case <-tick.C:
			s.sweep()
		}
	}
}

// sweep goes on where the last one ended.
func (s *Store) sweep() {
	now := s.clock()
	var loans []loan
	for seen, looked := 0, 0; seen < shards && looked < sweptLeases && len(loans) < sweptLoans; seen++ {
		sh := &s.leases.shards[s.swept]
		var looks int
		loans, looks = sh.sweep(s, loans, now, false)
		looked += looks
		s.swept = (s.swept + 1) % shards
	}
	s.tell(loans)
}

// sweep adds what is to be told of some leases, or of all as if they were too old, and forgets those that nobody uses.
func (sh *shard) sweep(s *Store, loans []loan, now time.Duration, all bool) (_ []loan, looked int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	gone := s.breaker.shut(now)
	looked = len(sh.order)
	if !all {
		looked = min(looked, sweptAtOnce)
	}
	for range looked {
		l := sh.next()
		a := l.sweep(now, all)
		switch {
		case gone:
			s.counts.forfeited.Add(a.back)
			l.debt += a.spent
		case a != ask{}:
			loans = append(loans, loan{l.policy, l.key, a})
		}
		if l.idle(now) && now-l.used >= l.policy.age {
			sh.drop(l)
			if len(sh.order) == 0 {
				break
			}
		}
	}
	return loans, looked
}

// tell has Redis told.
func (s *Store) tell(loans []loan) {
	for len(loans) > 0 {
		some := loans[:min(len(loans), loansAtOnce)]
		loans = loans[len(some):]
		if _, err := s.lend(some); errors.Is(err, errOpen) {
			for _, l := range some {
				s.counts.lost.Add(l.ask.spent)
			}
		}
	}
}

// sweep is what Redis is to be told of a lease without a refill.
func (l *lease) sweep(now time.Duration, all bool) (a ask) {
	l.expire(now)
	if all {
		l.stale = l.stale.with(l.old).with(l.fresh)
		l.old, l.fresh = part{}, part{}
	}
	l.tell(&a)
	if a.back+a.spent == 0 {
		return ask{}
	}
	return a
}
