package jwks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"weir/token"
)

// Set is the keys of a JWK set. Its methods but Run may be called from any goroutine, take no lock and wait for
// nothing. A nil Set has no keys, and is ready.
type Set struct {
	cfg   Config
	at    location
	log   *slog.Logger
	fetch func(context.Context) (fetched, error)
	now   func() time.Time

	current atomic.Pointer[held]
	missed  chan struct{} // has a token while a key is asked for that is not known
	misses  atomic.Uint64
	results [results]atomic.Uint64
	ignored [ignoredReasons]atomic.Int64 // of the set that was read last
	lastErr atomic.Pointer[error]        // of the last fetch; nil: it was good

	text []byte // that holds; Run's, as is
	told state  // this
}

// held is the set that holds.
type held struct {
	keys    *token.KeySet
	count   int
	fetched time.Time // last
}

// New returns a Set that has no keys before [Set.Run].
func New(cfg Config, log *slog.Logger) (*Set, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.Defaults()
	at, err := parseLocation(cfg.Location)
	if err != nil {
		return nil, err
	}
	return &Set{
		cfg: cfg, at: at, log: log.With("jwks", at.String()), now: time.Now,
		fetch: newFetcher(cfg, at).fetch, missed: make(chan struct{}, 1),
	}, nil
}

// KeySet implements [token.Source].
func (s *Set) KeySet() *token.KeySet {
	if h := s.holding(); h != nil {
		return h.keys
	}
	return nil
}

// holding is the set that holds, nil if there is none, or it is too old.
func (s *Set) holding() *held {
	if s == nil {
		return nil
	}
	if h := s.current.Load(); h != nil && s.now().Sub(h.fetched) <= s.cfg.MaxStale {
		return h
	}
	return nil
}

// Missed implements [token.Source].
func (s *Set) Missed() {
	s.misses.Add(1)
	select {
	case s.missed <- struct{}{}:
	default: // it is being seen to
	}
}

// Ready says why there are no keys; nil if there are.
func (s *Set) Ready() error {
	if s == nil || s.holding() != nil {
		return nil
	}
	if err := s.lastErr.Load(); err != nil {
		return fmt.Errorf("no keys to check tokens with: %s: %w", s.at, *err)
	}
	return fmt.Errorf("no keys to check tokens with yet: %s", s.at)
}

// Run keeps the set until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	if s == nil {
		return nil
	}
	pause := retryFirst
	for {
		began := s.now()
		maxAge, err := s.refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		next := s.interval(maxAge)
		missed := s.missed
		if err != nil {
			next, pause = pause, min(2*pause, retryLast)
			missed = nil // it is tried again soon in any case
		} else {
			pause = retryFirst
		}
		if !s.wait(ctx, missed, began, next) {
			return nil
		}
	}
}

// interval is the time to the next fetch after one that was good.
func (s *Set) interval(maxAge time.Duration) time.Duration {
	if s.at.url == nil {
		return fileRefresh
	}
	d := s.cfg.Refresh
	if maxAge > 0 {
		d = min(d, max(maxAge, leastRefresh))
	}
	return d - rand.N(d/10+1) //nolint:gosec // spread needs no secrecy
}

// wait returns after d, or when a key is missed, MissPause after began at the earliest; false at ctx's end.
func (s *Set) wait(ctx context.Context, missed <-chan struct{}, began time.Time, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-missed:
	}
	if left := MissPause - s.now().Sub(began); left > 0 {
		timer.Reset(min(left, d))
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
	}
	return true
}

// refresh fetches the set once, and takes it if it is good.
func (s *Set) refresh(ctx context.Context) (maxAge time.Duration, err error) {
	select {
	case <-s.missed: // by whoever asked before this fetch
	default:
	}
	f, err := s.fetch(ctx)
	var p parsed
	unchanged := err == nil && s.text != nil && bytes.Equal(f.text, s.text)
	if err == nil && !unchanged {
		p, err = s.take(f.text)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		s.failed(err)
		return 0, err
	}
	was := s.current.Load()
	h := &held{fetched: s.now()}
	if unchanged {
		h.keys, h.count = was.keys, was.count
		s.results[ResultUnchanged].Add(1)
	} else {
		if h.keys, err = token.NewKeySet(p.keys); err != nil {
			return 0, err // they were made by token.NewKey
		}
		h.count, s.text = len(p.keys), f.text
		s.results[ResultUpdated].Add(1)
	}
	s.current.Store(h)
	s.lastErr.Store(nil)
	s.tell(stateFresh, nil)
	return f.maxAge, nil
}

// take reads a set that is another one than before.
func (s *Set) take(text []byte) (parsed, error) {
	p, err := parse(text, s.cfg.Algorithms)
	if err != nil && !errors.Is(err, ErrNoKeys) {
		return p, err
	}
	ignored := 0
	for i, n := range p.ignored {
		s.ignored[i].Store(int64(n))
		ignored += n
	}
	if ignored > 0 {
		s.log.Warn("keys of the set are left out: weir_jwks_ignored_keys says why", "ignored", ignored)
	}
	return p, err
}

// state is what the log was told last.
type state uint8

const (
	stateNone   state = iota // no fetch has ended
	stateFresh               // the last one was good
	stateWaits               // none was
	stateStale               // the last one failed, the one before holds
	stateTooOld              // and does not any more
)

// tell says in the log what state the set is in, when that changes.
func (s *Set) tell(now state, err error) {
	if s.told == now {
		return
	}
	s.told = now
	switch now {
	case stateNone:
	case stateFresh:
		s.log.Info("keys to check tokens with are there", "keys", s.current.Load().count)
	case stateWaits:
		s.log.Warn("no keys to check tokens with: tokens are answered with 503 until there are", "err", err)
	case stateStale:
		s.log.Warn("the set of keys cannot be fetched anew: the last good one holds", "err", err, "for", s.cfg.MaxStale)
	case stateTooOld:
		s.log.Error("the set of keys is too old: tokens are answered with 503 until it can be fetched", "err", err)
	}
}

// failed counts a fetch that was not good.
func (s *Set) failed(err error) {
	s.results[failure(err)].Add(1)
	s.lastErr.Store(&err)
	switch {
	case s.current.Load() == nil:
		s.tell(stateWaits, err)
	case s.holding() != nil:
		s.tell(stateStale, err)
	default:
		s.tell(stateTooOld, err)
	}
}
