package redis

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/ratelimit"

	"github.com/redis/rueidis"
	"pgregory.net/rapid"
)

func open(tb testing.TB, cfg Config, policies ...Policy) *Store {
	tb.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second // a test's machine may be slow
	}
	s, err := New(cfg, policies)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func perHour(name string, count uint64) Policy {
	return Policy{Quota: ratelimit.Quota{Name: name, Rate: ratelimit.Rate{Count: count, Per: time.Hour}}}
}

func halves(n uint64) (high, low string) {
	return strconv.FormatUint(n>>32, 10), strconv.FormatUint(n&mask, 10)
}

// TestLuaDecidesAsTheKernelDoes: by the vectors that kernel and Go are held to. What the script has left is read by the same script, in
// which the server's clock stands still: of some vectors it goes by itself within milliseconds.
func TestLuaDecidesAsTheKernelDoes(t *testing.T) {
	s := open(t, Config{Addresses: []string{startRedis(t, "").address}})
	b, err := os.ReadFile("../testdata/gcra.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Decisions []struct{ Cost, Limit, TAT, Now, Next uint64 }
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	client, err := s.link.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	script := rueidis.NewLuaScript("local answer = (function()\n" + commonScript + takeScript + "\nend)()\nanswer[#answer + 1] = redis.call('GET', KEYS[1])\nreturn answer")
	held := 0
	for i, v := range golden.Decisions {
		if v.TAT > v.Now+2*v.Limit {
			continue // no store keeps that
		}
		held++
		key := fmt.Sprint("vector", i)
		packed := binary.BigEndian.AppendUint64(nil, v.TAT)
		if err := client.Do(t.Context(), client.B().Set().Key(key).Value(string(packed)).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		args := []string{"0", "0"}
		for _, n := range []uint64{v.Now, v.Cost, v.Limit} {
			if n == v.Cost && len(args) == 4 {
				args = append(args, "0", "gcra")
			}
			high, low := halves(n)
			args = append(args, high, low)
		}
		answer, err := script.Exec(t.Context(), client, []string{key}, args).ToArray()
		if err != nil || len(answer) != 5 {
			t.Fatalf("vector %d: %v, %v", i, answer, err)
		}
		said, err := answer[1].AsInt64()
		want := v.Next
		if err != nil || (said == 1) != (want != 0) && v.Cost > 0 {
			t.Errorf("vector %d, %+v: %v, %v", i, v, answer, err)
		}
		if want == 0 || v.Cost == 0 {
			want = v.TAT
		}
		left, err := answer[4].AsBytes()
		switch {
		case want <= v.Now: // nothing is owed: it may be gone
		case err != nil:
			t.Errorf("vector %d, %+v: %v", i, v, err)
		case binary.BigEndian.Uint64(left) != want:
			t.Errorf("vector %d: %d, want %d", i, binary.BigEndian.Uint64(left), want)
		}
	}
	if held < len(golden.Decisions)/2 {
		t.Errorf("%d of %d vectors prove little", held, len(golden.Decisions))
	}
}

// TestLuaAndGoAgree: a client of several policies is decided by the script as by Go, whatever the times and costs.
func TestLuaAndGoAgree(t *testing.T) {
	s := open(t, Config{Addresses: []string{startRedis(t, "").address}},
		Policy{Quota: ratelimit.Quota{Name: "gcra", Rate: ratelimit.Rate{Count: 7, Per: time.Second}, Burst: 5}},
		Policy{Quota: ratelimit.Quota{Name: "counter", Algorithm: ratelimit.AlgorithmCounter, Rate: ratelimit.Rate{Count: 6, Per: 777 * time.Millisecond}}},
		Policy{Quota: ratelimit.Quota{Name: "bytes", Unit: ratelimit.UnitContentBytes, Bytes: ratelimit.ByteRate{Bytes: 3000, Per: time.Second}}},
		Policy{Quota: ratelimit.Quota{
			Name: "many bytes", Unit: ratelimit.UnitContentBytes, Algorithm: ratelimit.AlgorithmCounter,
			Bytes: ratelimit.ByteRate{Bytes: 1 << 49, Per: 300 * 24 * time.Hour},
		}})
	names := []string{"gcra", "counter", "bytes", "many bytes"}
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		us := uint64(1<<47) + rapid.Uint64Range(0, 1<<40).Draw(t, "begin")
		states := make([]ratelimit.State, len(names))
		for range rapid.IntRange(1, 30).Draw(t, "requests") {
			us += rapid.OneOf(rapid.Uint64Range(0, 500_000), rapid.Uint64Range(0, 1<<44)).Draw(t, "microseconds later")
			now := us * ticksPerMicro
			force := rapid.IntRange(0, 9).Draw(t, "force") == 0
			checks := make([]ratelimit.Check, len(names))
			allowed := true
			want := make([]ratelimit.Decision, len(names))
			for i, name := range names {
				checks[i] = ratelimit.Check{
					Limit: s.Limit(name), Key: fmt.Append(nil, run), Cost: rapid.Uint64Range(0, 3).Draw(t, name),
					Shadow: rapid.IntRange(0, 3).Draw(t, "shadow") == 0,
				}
				switch name {
				case "bytes":
					checks[i].Cost *= 999
				case "many bytes":
					checks[i].Cost *= 1 << 47
				}
				want[i] = checks[i].Limit.Decide(&states[i], now, checks[i].Cost)
				allowed = allowed && (want[i].Allowed || checks[i].Shadow)
			}
			high, low := halves(now)
			answer, err := s.run(t.Context(), checks, force, strconv.FormatUint(us, 10), high, low)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]ratelimit.Decision, len(names))
			said, err := s.decide(checks, answer, got)
			if err != nil || said != allowed {
				t.Fatalf("at %d: %v, %v, want %v %+v", us, said, err, allowed, want)
			}
			for i := range checks {
				if got[i] != want[i] {
					t.Fatalf("%s at %d: %+v, want %+v", names[i], us, got[i], want[i])
				}
				if (force || allowed && want[i].Allowed) && checks[i].Cost > 0 {
					checks[i].Limit.Charge(&states[i], now, checks[i].Cost)
				}
			}
		}
	})
}

// TestGatewaysShareOneBudget: three of them, many requests at once, let through exactly what there is.
func TestGatewaysShareOneBudget(t *testing.T) {
	address := startRedis(t, "").address
	var through atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		s := open(t, Config{Addresses: []string{address}}, perHour("a", 100), perHour("b", 1000))
		for range 8 {
			wg.Go(func() {
				checks := []ratelimit.Check{{Limit: s.Limit("a"), Key: []byte("x"), Cost: 1}, {Limit: s.Limit("b"), Key: []byte("x"), Cost: 1}}
				var out [2]ratelimit.Decision
				for range 20 {
					allowed, err := s.Take(t.Context(), checks, out[:])
					if err != nil {
						t.Error(err)
					}
					if allowed {
						through.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	if through.Load() != 100 {
		t.Errorf("%d were let through, want 100", through.Load())
	}
	s := open(t, Config{Addresses: []string{address}}, perHour("b", 1000))
	var out [1]ratelimit.Decision
	checks := []ratelimit.Check{{Limit: s.Limit("b"), Key: []byte("x"), Cost: 1000}}
	if _, err := s.Take(t.Context(), checks, out[:]); err != nil || out[0].Remaining != 900 {
		t.Errorf("%+v, %v: what the other policy refused is charged to none", out[0], err)
	}
	if err := s.Charge(t.Context(), checks); err != nil {
		t.Error(err)
	}
	if _, err := s.Take(t.Context(), checks, out[:]); err != nil || out[0].Remaining != 0 {
		t.Errorf("after a charge of more than there was: %+v, %v", out[0], err)
	}
}

func TestWithoutRedisEachPolicyDoesWhatItsFallbackSays(t *testing.T) {
	open1, closed, share := perHour("open", 1), perHour("closed", 100), perHour("share", 30)
	open1.WhenGone, closed.WhenGone = FallbackOpen, FallbackClosed
	s := open(t, Config{Addresses: []string{freeAddress(t)}, Gateways: 3}, open1, closed, share)
	take := func(shadow bool, names ...string) (bool, []ratelimit.Decision) {
		checks := make([]ratelimit.Check, len(names))
		for i, name := range names {
			checks[i] = ratelimit.Check{Limit: s.Limit(name), Key: []byte("x"), Cost: 1, Shadow: shadow}
		}
		out := make([]ratelimit.Decision, len(names))
		allowed, err := s.Take(t.Context(), checks, out)
		if !errors.Is(err, ErrGone) {
			t.Fatalf("%v", err)
		}
		return allowed, out
	}
	for range 5 {
		if allowed, _ := take(false, "open"); !allowed {
			t.Error("open refuses")
		}
	}
	if allowed, out := take(false, "closed"); allowed || out[0].RetryAfter != time.Second {
		t.Errorf("closed: %v, %+v", allowed, out)
	}
	if allowed, out := take(true, "closed"); !allowed || out[0].Allowed {
		t.Errorf("closed, as a shadow: %v, %+v", allowed, out)
	}
	for i := range 12 {
		if i == 3 {
			if allowed, out := take(false, "share", "closed"); allowed || out[0].Remaining != 6 {
				t.Errorf("refused by one: %v, %+v: the other is not to be charged", allowed, out)
			}
		}
		if allowed, _ := take(false, "share", "open"); allowed != (i < 10) {
			t.Errorf("share: request %d of a third of 30: %v", i, allowed)
		}
	}
	if s.Gone() == 0 {
		t.Error("nothing is counted")
	}
	for name, want := range map[string]uint64{"open": 0, "closed": 100, "share": 30 + 3*10, "none": 0} {
		if got, bounded := s.Overshoot(name); got != want || bounded != (name != "open") {
			t.Errorf("%s: %d beyond the quota, bounded %v, want %d", name, got, bounded, want)
		}
	}
}

// TestRedisThatComesBackIsAskedAgain: by no more than one request every Retry meanwhile.
func TestRedisThatComesBackIsAskedAgain(t *testing.T) {
	address := freeAddress(t)
	s := open(t, Config{Addresses: []string{address}, Failures: 2, Retry: 20 * time.Millisecond}, perHour("a", 1000))
	checks := []ratelimit.Check{{Limit: s.Limit("a"), Key: []byte("x"), Cost: 1}}
	var out [1]ratelimit.Decision
	take := func() error {
		_, err := s.Take(t.Context(), checks, out[:])
		return err
	}
	for range 3 {
		if err := take(); !errors.Is(err, ErrGone) {
			t.Fatal(err)
		}
	}
	if !s.breaker.open() {
		t.Fatal("the breaker is closed")
	}
	r := startRedis(t, address)
	until := func(what string, ok func(error) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(take()); <-time.After(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not %s", what)
			}
		}
	}
	back := func(err error) bool { return err == nil }
	until("asked", back)
	r.kill()
	until("noticed that it is gone", func(err error) bool { return errors.Is(err, errOpen) })
	startRedis(t, address)
	until("asked again", back)
}

func TestRedisThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	im := startImpostor(t, "")
	s := open(t, Config{Addresses: []string{im.address}, Timeout: 50 * time.Millisecond, Failures: 3, Retry: time.Minute}, perHour("a", 1000))
	if _, err := s.link.get(t.Context()); err != nil { // a machine that is busy needs longer for that than a request waits
		t.Fatal(err)
	}
	checks := []ratelimit.Check{{Limit: s.Limit("a"), Key: []byte("x"), Cost: 1}}
	var out [1]ratelimit.Decision
	for range 100 {
		if _, err := s.Take(t.Context(), checks, out[:]); !errors.Is(err, ErrGone) || !out[0].Allowed {
			t.Fatalf("%+v, %v", out[0], err)
		}
	}
	if st := s.Stats(); st.Asked != 3 || st.Failed[failedTimeout] != 3 || st.Gone != 100 {
		t.Errorf("%+v: want it asked 3 times", st)
	}
	asked := func() int { im.mu.Lock(); defer im.mu.Unlock(); return im.asked }
	for deadline := time.Now().Add(10 * time.Second); asked() == 0; <-time.After(time.Millisecond) { // it may be behind
		if time.Now().After(deadline) {
			t.Fatal("it was asked nothing")
		}
	}
	if n := asked(); n > 3 {
		t.Errorf("asked %d times, want 3 at most", n)
	}
}

func TestWrongAnswersAreAsNone(t *testing.T) {
	for _, reply := range []string{
		"-READONLY You can't write against a read only replica.\r\n", "-MOVED 1 127.0.0.1:1\r\n",
		"-NOSCRIPT No matching script.\r\n", "-OOM command not allowed\r\n", "-LOADING Redis is loading\r\n",
		"+OK\r\n", "$-1\r\n", "_\r\n", ":1\r\n", "*0\r\n", "*1\r\n:1\r\n", "*4\r\n:1\r\n:1\r\n:-7\r\n:0\r\n",
		"*5\r\n:1\r\n:1\r\n:0\r\n:0\r\n:0\r\n", "*4\r\n:1\r\n:0\r\n:0\r\n:0\r\n", "*1\r\n$1\r\nx\r\n",
	} {
		s := open(t, Config{Addresses: []string{startImpostor(t, reply).address}, Failures: 1000}, perHour("a", 10))
		checks := []ratelimit.Check{{Limit: s.Limit("a"), Key: []byte("x"), Cost: 1}}
		var out [1]ratelimit.Decision
		for i := range 11 {
			allowed, err := s.Take(t.Context(), checks, out[:])
			if !errors.Is(err, ErrGone) || allowed != (i < 10) {
				t.Errorf("%q: request %d: %v, %v", reply, i, allowed, err)
			}
		}
	}
}

func TestConfigAndPoliciesSayAllThatIsWrong(t *testing.T) {
	_, err := New(Config{Timeout: 1, Failures: -1, Retry: 1, Gateways: 1001, Leases: 255, LeaseAge: 1}, nil)
	for _, field := range []string{"addresses", "timeout", "failures", "retry", "gateways", "leases", "lease_age"} {
		if err == nil || !strings.Contains(err.Error(), "redis."+field) {
			t.Errorf("no word of %s: %v", field, err)
		}
	}
	_, err = New(Config{Addresses: []string{"x:1"}}, []Policy{
		perHour("a", 1), perHour("a", 1),
		{},
		{Quota: ratelimit.Quota{Name: "log", Algorithm: ratelimit.AlgorithmLog, Rate: ratelimit.Rate{Count: 1, Per: time.Hour}}},
		{Quota: ratelimit.Quota{Name: "at once", Unit: ratelimit.UnitConcurrentRequests, Burst: 1}},
		{Quota: ratelimit.Quota{Name: "window", Algorithm: ratelimit.AlgorithmCounter, Rate: ratelimit.Rate{Count: 1, Per: 1001}}},
	})
	for _, want := range []string{"two of that name", "it has no name", `"log"`, `"at once"`, "whole microseconds"} {
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrNotShared) || !errors.Is(err, ratelimit.ErrBadQuota) {
			t.Errorf("no word of %s: %v", want, err)
		}
	}
	few := perHour("few", 10)
	few.Slice = 1
	_, err = New(Config{Addresses: []string{"x:1"}}, []Policy{few, leased("many", 10, time.Hour, 10, 11), leased("short", 100, time.Second, 1, 1)})
	for _, want := range []string{"set the mode to lease", "want 10, its count, or less", "want 20ms, the timeout, or more"} {
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrBadLease) {
			t.Errorf("no word of %s: %v", want, err)
		}
	}
	for m := range modes {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%s: %v, %v", m, got, err)
		}
	}
	if m, err := ParseMode(""); m != ModeStrict || err != nil {
		t.Error(m, err)
	}
	if _, err := ParseMode("maybe"); !errors.Is(err, ErrBadMode) {
		t.Error(err)
	}
	for f := range fallbacks {
		if got, err := ParseFallback(f.String()); err != nil || got != f {
			t.Errorf("%s: %v, %v", f, got, err)
		}
	}
	if _, err := ParseFallback("maybe"); !errors.Is(err, ErrBadFallback) {
		t.Error(err)
	}
}

// TestRequestThatWasGivenUpSaysNothingOfRedis: it neither closes an open breaker nor opens one.
func TestRequestThatWasGivenUpSaysNothingOfRedis(t *testing.T) {
	s := open(t, Config{Addresses: []string{startImpostor(t, "").address}, Failures: 2}, perHour("a", 1000))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checks := []ratelimit.Check{{Limit: s.Limit("a"), Key: []byte("x"), Cost: 1}}
	var out [1]ratelimit.Decision
	for _, open := range []bool{false, true} {
		if open {
			for range 2 {
				s.breaker.note(0, false)
			}
		}
		for range 3 {
			if _, err := s.Take(ctx, checks, out[:]); !errors.Is(err, ErrGone) {
				t.Error(err)
			}
		}
		if s.breaker.open() != open {
			t.Errorf("the breaker was open: %v, and is: %v", open, !open)
		}
	}
}
