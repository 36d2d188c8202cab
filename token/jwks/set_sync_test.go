package jwks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/testlog"
	"weir/internal/testtoken"
	"weir/token"

	"github.com/prometheus/client_golang/prometheus"
)

// bubble is a set under synthetic time, whose endpoint is made up.
type bubble struct {
	*Set
	t       *testing.T
	v       *token.Verifier
	log     testlog.Buffer
	start   func()
	mu      sync.Mutex // of what follows; a test holds it but in sleep
	fetches []time.Time
	answer  string
	err     error
	maxAge  time.Duration
	takes   time.Duration
}

func inBubble(t *testing.T, cfg Config, f func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t}
		cfg.Location = "https://a.example/set"
		var err error
		if b.Set, err = New(cfg, slog.New(slog.NewTextHandler(&b.log, nil))); err != nil {
			t.Fatal(err)
		}
		if b.v, err = token.New(token.Config{Source: b.Set}); err != nil {
			t.Fatal(err)
		}
		b.fetch = func(ctx context.Context) (fetched, error) {
			b.mu.Lock()
			b.fetches = append(b.fetches, time.Now())
			takes := b.takes
			b.mu.Unlock()
			if takes > 0 {
				select {
				case <-ctx.Done():
				case <-time.After(takes):
				}
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			return fetched{[]byte(b.answer), b.maxAge}, b.err
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 1)
		b.start = sync.OnceFunc(func() { go func() { ended <- b.Run(ctx) }() })
		b.mu.Lock()
		f(b)
		b.mu.Unlock()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// sleep lets time go on; it begins with the first.
func (b *bubble) sleep(d time.Duration) {
	b.start()
	b.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	b.mu.Lock()
}

// verify checks a token of a key.
func (b *bubble) verify(k *testtoken.Key) error {
	b.t.Helper()
	_, err := b.v.Verify(k.For(b.t, "alice", time.Now().Add(time.Hour)))
	return err
}

func (b *bubble) want(what string, k *testtoken.Key, want error) {
	b.t.Helper()
	if err := b.verify(k); !errors.Is(err, want) || (err == nil) != (want == nil) {
		b.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestSetIsFetchedInTimeWithJitter(t *testing.T) {
	k := testtoken.New(t, "a")
	for _, tt := range []struct {
		name      string
		maxAge    time.Duration
		low, high time.Duration
	}{
		{"by the interval", 0, 9 * time.Minute, 10 * time.Minute},
		{"sooner, as the answer says", 2 * time.Minute, 108 * time.Second, 2 * time.Minute},
		{"not at once, whatever it says", time.Second, 27 * time.Second, 30 * time.Second},
		{"not later, whatever it says", time.Hour, 9 * time.Minute, 10 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, Config{Refresh: 10 * time.Minute}, func(b *bubble) {
				b.answer, b.maxAge = testtoken.Set(k), tt.maxAge
				b.sleep(2 * time.Hour)
				apart := map[time.Duration]bool{}
				for i := 1; i < len(b.fetches); i++ {
					d := b.fetches[i].Sub(b.fetches[i-1])
					if apart[d] = true; d < tt.low || d > tt.high {
						t.Errorf("fetched after %v, want %v to %v", d, tt.low, tt.high)
					}
				}
				if len(apart) < 5 {
					t.Errorf("%d fetches, in step: %v", len(b.fetches), apart)
				}
				if got := b.results[ResultUnchanged].Load(); got != uint64(len(b.fetches)-1) || b.results[ResultUpdated].Load() != 1 {
					t.Errorf("%d unchanged of %d", got, len(b.fetches))
				}
			})
		})
	}
}

// TestRotationLosesNobody: an issuer publishes a key an interval before its first token, and takes the old one away later.
func TestRotationLosesNobody(t *testing.T) {
	before, after := testtoken.New(t, "a"), testtoken.New(t, "b")
	inBubble(t, Config{}, func(b *bubble) {
		b.answer = testtoken.Set(before)
		b.sleep(time.Hour)
		b.want("the first key", before, nil)
		b.answer = testtoken.Set(before, after)
		b.sleep(5 * time.Minute)
		fetches := len(b.fetches)
		b.want("the first key, beside the second", before, nil)
		b.want("the second", after, nil)
		b.answer = testtoken.Set(after)
		b.sleep(5 * time.Minute)
		b.want("the second alone", after, nil)
		b.want("the first, which is gone", before, token.ErrForged)
		if got := len(b.fetches) - fetches; got != 1 {
			t.Errorf("%d fetches in an interval", got)
		}
	})
}

// TestAKeyThatIsUsedAsItIsPublishedIsFetchedForSoon, and a flood of others does not have more fetched.
func TestAKeyThatIsUsedAsItIsPublishedIsFetchedForSoon(t *testing.T) {
	before, after, forged := testtoken.New(t, "a"), testtoken.New(t, "b"), testtoken.New(t, "c")
	inBubble(t, Config{}, func(b *bubble) {
		b.answer = testtoken.Set(before)
		b.sleep(time.Minute)
		b.answer = testtoken.Set(before, after)
		b.want("at once", after, token.ErrForged)
		b.sleep(0)
		b.want("at its next try", after, nil)
		if len(b.fetches) != 2 {
			t.Errorf("%d fetches", len(b.fetches))
		}
		flood := time.Now()
		for range 1000 {
			b.want("forged", forged, token.ErrForged)
			b.sleep(100 * time.Millisecond)
		}
		for i := 2; i < len(b.fetches); i++ {
			if d := b.fetches[i].Sub(b.fetches[i-1]); d < MissPause {
				t.Errorf("fetched after %v", d)
			}
		}
		if most := int(time.Since(flood)/MissPause) + 3; len(b.fetches) > most || len(b.fetches) < most-3 {
			t.Errorf("%d fetches in a flood of %v", len(b.fetches), time.Since(flood))
		}
		if got := b.misses.Load(); got != 1001 {
			t.Errorf("%d misses", got)
		}
	})
}

func TestAMissWhileItIsFetchedHasItFetchedOnceMore(t *testing.T) {
	before, after := testtoken.New(t, "a"), testtoken.New(t, "b")
	inBubble(t, Config{Timeout: time.Minute}, func(b *bubble) {
		b.answer, b.takes = testtoken.Set(before), 20*time.Second
		b.sleep(5 * time.Second)
		b.Missed()
		b.Missed()
		b.sleep(15 * time.Second)
		b.answer = testtoken.Set(after)
		b.sleep(20 * time.Second)
		b.want("what was published meanwhile", after, nil)
		b.sleep(time.Minute)
		if len(b.fetches) != 2 {
			t.Errorf("%d fetches, one at a time", len(b.fetches))
		}
	})
}

func TestTheLastGoodSetHoldsWhileFetchesFail(t *testing.T) {
	k := testtoken.New(t, "a")
	inBubble(t, Config{Refresh: time.Minute, MaxStale: time.Hour}, func(b *bubble) {
		b.answer = testtoken.Set(k)
		b.sleep(30 * time.Second)
		for _, bad := range []struct {
			answer string
			err    error
			result Result
		}{
			{"", ErrUnreachable, ResultUnreachable},
			{"", ErrStatus, ResultStatus},
			{"<html>", nil, ResultMalformed},
			{`{"keys":[]}`, nil, ResultNoKeys},
			{set(rfcOct), nil, ResultNoKeys},
		} {
			fails := b.results[bad.result].Load()
			b.answer, b.err = bad.answer, bad.err
			b.sleep(4 * time.Minute)
			b.want("of the last good one", k, nil)
			if got := b.results[bad.result].Load() - fails; got < 3 || b.Ready() != nil {
				t.Errorf("%v: %d failures, ready: %v", bad.result, got, b.Ready())
			}
			b.answer, b.err = testtoken.Set(k), nil
			b.sleep(2 * time.Minute)
		}
		if lines := strings.Count(b.log.String(), "last good one holds"); lines != 5 {
			t.Errorf("%d lines of five outages:\n%s", lines, b.log.String())
		}
		b.err = ErrUnreachable
		b.sleep(time.Hour - time.Minute)
		b.want("up to the age that it may have", k, nil)
		b.sleep(2 * time.Minute)
		b.want("past it", k, token.ErrNoKeys)
		if err := b.Ready(); err == nil || !errors.Is(err, ErrUnreachable) || !strings.Contains(b.log.String(), "too old") {
			t.Errorf("ready: %v\n%s", err, b.log.String())
		}
		b.err = nil
		b.sleep(time.Minute)
		b.want("when it is there again", k, nil)
	})
}

// TestWithoutASetTokensAreRefusedUntilItComes: in the pace of failures, however many tokens come.
func TestWithoutASetTokensAreRefusedUntilItComes(t *testing.T) {
	k := testtoken.New(t, "a")
	inBubble(t, Config{}, func(b *bubble) {
		b.err = ErrUnreachable
		for range 600 {
			b.want("without a set", k, token.ErrNoKeys)
			b.sleep(time.Second)
		}
		pause := retryFirst
		for i := 1; i < len(b.fetches); i++ {
			if d := b.fetches[i].Sub(b.fetches[i-1]); d != pause {
				t.Errorf("try %d after %v, want %v", i, d, pause)
			}
			pause = min(2*pause, retryLast)
		}
		if err := b.Ready(); !errors.Is(err, ErrUnreachable) || strings.Count(b.log.String(), "\n") != 1 {
			t.Errorf("ready: %v\n%s", err, b.log.String())
		}
		b.answer, b.err = testtoken.Set(k), nil
		b.sleep(retryLast)
		b.want("once it is there", k, nil)
	})
}

func TestItEndsInTheMiddleOfAFetch(t *testing.T) {
	inBubble(t, Config{Timeout: time.Minute}, func(b *bubble) {
		b.takes = time.Hour
		b.sleep(time.Second)
	})
}

// collect is what a set exports, by series.
func collect(s *Set) map[string]float64 {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s)
	families, err := registry.Gather()
	if err != nil {
		return nil
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += fmt.Sprintf("{%s}", l.GetValue())
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}

func TestMetricsTellKeysAgeAndResults(t *testing.T) {
	none := collect(nil)
	if len(none) != int(results)+int(ignoredReasons)+3 {
		t.Errorf("without a set there are %v", none)
	}
	inBubble(t, Config{Refresh: 10 * time.Minute}, func(b *bubble) {
		b.answer = set(testtoken.New(t, "a").JWK(), testtoken.New(t, "b").JWK(), rfcOct)
		b.sleep(90 * time.Second)
		got := collect(b.Set)
		for name, want := range map[string]float64{
			"weir_jwks_keys": 2, "weir_jwks_age_seconds": 90, "weir_jwks_refreshes_total{updated}": 1, "weir_jwks_ignored_keys{secret}": 1,
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		if len(got) != len(none) {
			t.Errorf("%d series, %d without a set", len(got), len(none))
		}
	})
	if err := (*Set)(nil).Run(t.Context()); err != nil || (*Set)(nil).Ready() != nil {
		t.Error("a set that is none")
	}
}
