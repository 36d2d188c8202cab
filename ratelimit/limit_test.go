package ratelimit

import (
	"encoding/json"
	"errors"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

const second = uint64(time.Second) * TicksPerNano

func compiled(t rapid.TB, q Quota) *Limit {
	t.Helper()
	q.Name = "test"
	l, err := q.Compile()
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return l
}

func TestLimitDecidesAsTheKernelDoes(t *testing.T) {
	b, err := os.ReadFile("testdata/gcra.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i, v := range g.Decisions {
		if v.Cost == 0 || v.TAT > v.Now+maxDebt*v.Limit { // no limit has that, or keeps it
			continue
		}
		l := &Limit{plan: Plan{Interval: v.Cost, Limit: v.Limit}, count: v.Limit / v.Cost}
		st := State{Until: v.TAT}
		d := l.Decide(&st, v.Now, 1)
		if st.Until != v.TAT {
			t.Fatalf("vector %d: to decide changes the state", i)
		}
		if !d.Allowed {
			refused++
		} else {
			l.Charge(&st, v.Now, 1)
		}
		if d.Allowed != (v.Next != 0) || d.Allowed && st.Until != v.Next {
			t.Errorf("vector %d, %+v: %+v, then %d", i, v, d, st.Until)
		}
	}
	if refused < len(g.Decisions)/10 {
		t.Errorf("%d of %d were refused: they prove little", refused, len(g.Decisions))
	}
}

// oracle is what an algorithm is to say, by its definition.
type oracle interface {
	// used is what counts at now, as a fraction.
	used(now uint64) *big.Rat
	add(now, cost uint64)
}

// counted is the sliding window counter over all that ever came.
type counted struct {
	window uint64
	units  map[uint64]uint64
}

func (c *counted) used(now uint64) *big.Rat {
	at, gone := now/c.window, now%c.window
	used := new(big.Rat).SetUint64(c.units[at])
	if at > 0 {
		part := new(big.Rat).SetFrac(new(big.Int).SetUint64(c.window-gone), new(big.Int).SetUint64(c.window))
		used.Add(used, part.Mul(part, new(big.Rat).SetUint64(c.units[at-1])))
	}
	return used
}

func (c *counted) add(now, cost uint64) { c.units[now/c.window] += cost }

// logged is every request that ever came.
type logged struct {
	window uint64
	times  []uint64
}

func (g *logged) used(now uint64) *big.Rat {
	n := uint64(0)
	for _, at := range g.times {
		if at+g.window > now {
			n++
		}
	}
	return new(big.Rat).SetUint64(n)
}

func (g *logged) add(now, cost uint64) {
	for range cost {
		g.times = append(g.times, now)
	}
}

// decider is a client under a limit, of any algorithm.
type decider struct {
	l  *Limit
	st State
	g  Log
}

func (c *decider) decide(now, cost uint64) Decision {
	if c.l.algorithm == AlgorithmLog {
		return c.l.DecideLog(&c.g, now, cost)
	}
	return c.l.Decide(&c.st, now, cost)
}

func (c *decider) charge(now, cost uint64) {
	if c.l.algorithm == AlgorithmLog {
		c.l.ChargeLog(&c.g, now, cost)
		return
	}
	c.l.Charge(&c.st, now, cost)
}

// TestWindowsDecideByTheirDefinition: of the counter and the log, each decision is that of an oracle which
// keeps everything, and what is said to be left is.
func TestWindowsDecideByTheirDefinition(t *testing.T) {
	for _, algorithm := range []Algorithm{AlgorithmCounter, AlgorithmLog} {
		t.Run(algorithm.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				r := Rate{rapid.Uint64Range(1, 20).Draw(t, "count"), time.Duration(rapid.IntRange(1, 100).Draw(t, "nanoseconds"))}
				c := &decider{l: compiled(t, Quota{Algorithm: algorithm, Rate: r})}
				var want oracle = &counted{c.l.window, map[uint64]uint64{}}
				if algorithm == AlgorithmLog {
					want = &logged{window: c.l.window}
				}
				now := rapid.Uint64Range(0, 1000).Draw(t, "begin")
				for range rapid.IntRange(1, 50).Draw(t, "requests") {
					now += rapid.Uint64Range(0, 2*c.l.window).Draw(t, "later")
					cost := rapid.Uint64Range(0, 5).Draw(t, "cost")
					used := want.used(now)
					after := new(big.Rat).Add(used, new(big.Rat).SetUint64(cost))
					d := c.decide(now, cost)
					if d.Allowed != (after.Cmp(new(big.Rat).SetUint64(r.Count)) <= 0) {
						t.Fatalf("at %d, %d more: %+v, used %v of %d", now, cost, d, used, r.Count)
					}
					if d.Allowed {
						c.charge(now, cost)
						want.add(now, cost)
						used = after
					}
					left := new(big.Rat).Sub(new(big.Rat).SetUint64(r.Count), used)
					if whole := new(big.Int).Quo(left.Num(), left.Denom()); whole.Cmp(new(big.Int).SetUint64(d.Remaining)) != 0 {
						t.Fatalf("at %d: %d remain, want %v", now, d.Remaining, left)
					}
				}
			})
		})
	}
}

// TestWaitsAreExact: what is refused is allowed after the wait it is told, and not a tick before; all is there
// again after the reset.
func TestWaitsAreExact(t *testing.T) {
	for algorithm := range algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				q := Quota{Algorithm: algorithm, Rate: Rate{rapid.Uint64Range(1, 20).Draw(t, "count"), time.Duration(rapid.IntRange(10_000, 20_000).Draw(t, "nanoseconds"))}}
				if algorithm == AlgorithmGCRA {
					q.Burst = rapid.Uint64Range(0, 20).Draw(t, "burst")
				}
				c := &decider{l: compiled(t, q)}
				now := uint64(0)
				for range rapid.IntRange(1, 40).Draw(t, "requests") {
					now += TicksPerNano * rapid.Uint64Range(0, uint64(q.Rate.Per)).Draw(t, "later")
					cost := rapid.Uint64Range(1, 5).Draw(t, "cost")
					d := c.decide(now, cost)
					if d.Allowed {
						c.charge(now, cost)
					}
					if again := c.decide(now+uint64(d.Reset)*TicksPerNano, c.l.count); !again.Allowed {
						t.Fatalf("%+v: all are not there after it: %+v", d, again)
					}
					if d.RetryAfter == Never {
						if cost <= c.l.count {
							t.Fatalf("%d of %d never", cost, c.l.count)
						}
						continue
					}
					if (d.RetryAfter == 0) != d.Allowed {
						t.Fatalf("%+v", d)
					}
					if d.Allowed {
						continue
					}
					later := *c
					later.g.times = append([]uint64{}, c.g.times...)
					if !later.decide(now+uint64(d.RetryAfter)*TicksPerNano, cost).Allowed {
						t.Fatalf("refused after the wait: %+v", d)
					}
					if c.decide(now+uint64(d.RetryAfter-1)*TicksPerNano, cost).Allowed {
						t.Fatalf("allowed before: %+v", d)
					}
				}
			})
		})
	}
}

// TestGCRAIsATokenBucket: x/time/rate, which counts tokens in floating point, lets through the same, but for
// one that arrives as its token does.
func TestGCRAIsATokenBucket(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same numbers each time
	begin := time.Unix(0, 0)
	refused := 0
	for range 200 {
		perSecond, burst := 1+r.Uint64N(1000), 1+r.Uint64N(50)
		c := &decider{l: compiled(t, Quota{Rate: Rate{perSecond, time.Second}, Burst: burst})}
		bucket := rate.NewLimiter(rate.Limit(perSecond), int(burst)) //nolint:gosec // a small number
		at, mine, theirs := time.Duration(0), 0, 0
		for range 1000 {
			at += time.Duration(r.Uint64N(2 * uint64(time.Second) / perSecond)) //nolint:gosec // a time
			now, cost := uint64(at)*TicksPerNano, 1+r.Uint64N(3)
			if c.decide(now, cost).Allowed {
				c.charge(now, cost)
				mine += int(cost) //nolint:gosec // a small number
			} else {
				refused++
			}
			if bucket.AllowN(begin.Add(at), int(cost)) { //nolint:gosec // a small number
				theirs += int(cost) //nolint:gosec // a small number
			}
		}
		if mine < theirs-3 || mine > theirs+3 {
			t.Errorf("%d/s, burst %d: %d were let through, by x/time/rate %d", perSecond, burst, mine, theirs)
		}
	}
	if refused < 10_000 {
		t.Errorf("%d were refused: that proves little", refused)
	}
}

func TestBytesAreChargedWhateverIsLeft(t *testing.T) {
	l := compiled(t, Quota{Unit: UnitContentBytes, Bytes: ByteRate{10 << 20, time.Second}})
	var st State
	if d := l.Decide(&st, 0, 1000); !d.Allowed || d.Remaining < 10<<20-1001 || d.Remaining > 10<<20-1000 {
		t.Fatalf("%+v", d)
	}
	l.Charge(&st, 0, 500<<20) // an answer that was longer than anybody knew
	d := l.Decide(&st, 0, 1)
	if d.Allowed || d.RetryAfter < time.Second || d.RetryAfter > 1001*time.Millisecond {
		t.Errorf("%+v: it is to come back when what it owes, at most two seconds' worth, is one", d)
	}
	if d := l.Decide(&st, 0, 0); d.Allowed || d.RetryAfter != d.Reset-time.Second {
		t.Errorf("one of no bytes that anybody knows, of a client in debt: %+v", d)
	}
	if d := l.Decide(&State{}, 0, 11<<20); d.Allowed || d.RetryAfter != Never {
		t.Errorf("more than there can be: %+v", d)
	}
}

func TestConcurrentRequestsAreGivenBack(t *testing.T) {
	l := compiled(t, Quota{Unit: UnitConcurrentRequests, Burst: 2})
	var st State
	for _, want := range []uint64{1, 0} {
		if d := l.Decide(&st, 5, 1); !d.Allowed || d.Remaining != want || st.Owes(0) == (want == 1) {
			t.Fatalf("%+v, owes %v", d, st.Owes(0))
		}
		l.Charge(&st, 5, 1)
	}
	if d := l.Decide(&st, 5, 1); d.Allowed || d.RetryAfter != 0 {
		t.Errorf("a third: %+v", d)
	}
	if !st.Owes(1 << 62) {
		t.Error("forgotten while it is served")
	}
	for range 3 { // once too often
		l.Release(&st, 1)
	}
	if st != (State{}) {
		t.Errorf("all have ended: %+v", st)
	}
}

// TestStricterQuotaOfOnceLocksNobodyOut: what was charged under another quota of that name counts, up to
// twice the limit.
func TestStricterQuotaOfOnceLocksNobodyOut(t *testing.T) {
	for _, algorithm := range []Algorithm{AlgorithmGCRA, AlgorithmCounter} {
		old := compiled(t, Quota{Algorithm: algorithm, Rate: Rate{10, 24 * time.Hour}})
		now := 100 * 24 * 3600 * second
		var st State
		old.Charge(&st, now, 10)
		l := compiled(t, Quota{Algorithm: algorithm, Rate: Rate{10, time.Second}})
		if d := l.Decide(&st, now, 1); d.Allowed || d.RetryAfter > 2*time.Second {
			t.Errorf("%s: %+v", algorithm, d)
		}
	}
}

func TestQuotaSaysAllThatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		q    Quota
		want string
	}{
		{Quota{}, "it has no name"},
		{Quota{Name: "a"}, "want both above 0"},
		{Quota{Name: "a", Algorithm: AlgorithmCounter}, "want both above 0"},
		{Quota{Name: "a", Algorithm: AlgorithmLog, Rate: Rate{1025, time.Second}}, "or a sliding counter"},
		{Quota{Name: "a", Algorithm: AlgorithmCounter, Rate: Rate{1, 1 << 62}}, "want a year or less"},
		{Quota{Name: "a", Algorithm: AlgorithmCounter, Rate: Rate{1 << 40, time.Second}}, "out of range"},
		{Quota{Name: "a", Algorithm: AlgorithmLog, Rate: Rate{1, time.Second}, Burst: 1}, "no burst of its own"},
		{Quota{Name: "a", Unit: UnitContentBytes, Rate: Rate{1, time.Second}}, "a rate of requests does not go with content-bytes"},
		{Quota{Name: "a", Bytes: ByteRate{1, time.Second}}, "a rate of bytes does not go with requests"},
		{Quota{Name: "a", Unit: UnitConcurrentRequests}, "0 at once"},
		{Quota{Name: "a", Unit: UnitConcurrentRequests, Algorithm: AlgorithmLog, Burst: 1}, "does not count concurrent requests"},
		{Quota{Name: "a", Unit: UnitContentBytes, Bytes: ByteRate{1000, time.Second}}, "burst is below a packet"},
	} {
		l, err := tt.q.Compile()
		if l != nil || !errors.Is(err, ErrBadQuota) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.q, err, tt.want)
		}
	}
	for a := range algorithms {
		if got, err := ParseAlgorithm(a.String()); err != nil || got != a {
			t.Errorf("%s: %v, %v", a, got, err)
		}
	}
	if _, err := ParseAlgorithm("leaky"); !errors.Is(err, ErrBadAlgorithm) {
		t.Errorf("leaky: %v", err)
	}
}
