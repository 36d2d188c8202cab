package upstream

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hold keeps n requests in flight while many come and go, and gives how many each server has then, and how many more
// than its share one had at most meanwhile.
func hold(r *rig, n, turns int) (held map[string]int, most float64) {
	r.Helper()
	sum := 0
	weights := map[string]int{}
	for _, st := range r.Status(r.now) {
		weights[st.Address] = st.Weight
		sum += st.Weight
	}
	held = map[string]int{}
	var all []*Server
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same each time
	for i := range turns {
		if len(all) == n {
			j := random.IntN(n)
			all[j].Done(r.now, OK, 0)
			held[all[j].address]--
			all[j] = all[n-1]
			all = all[:n-1]
		}
		s := r.pick(nil)
		held[s.address]++
		all = append(all, s)
		if i > 2*n {
			most = max(most, float64(held[s.address])-float64(n*weights[s.address])/float64(sum))
		}
	}
	return held, most
}

func TestTwoChoicesKeepServersEven(t *testing.T) {
	r := newRig(t, Config{Servers: servers(64)})
	// One choice would have 10 more than the mean of 10 at one of them.
	if _, most := hold(r, 640, 50_000); most > 5 {
		t.Errorf("a server had %.1f requests more than its share", most)
	}
}

func TestFewServersAreKeptExactlyEven(t *testing.T) {
	r := newRig(t, Config{Servers: servers(8)})
	for i := range 8 * 50 {
		s := r.pick(nil)
		if s.InFlight() != i/8+1 {
			t.Fatalf("request %d: %s has %d", i, s.address, s.InFlight())
		}
	}
}

func TestRequestsInFlightFollowWeights(t *testing.T) {
	for _, n := range []int{4, 64} {
		r := newRig(t, Config{Servers: servers(n, 1, 2, 4, 8)})
		held, _ := hold(r, n*30, 50_000)
		of := map[int]float64{}
		for _, st := range r.Status(r.now) {
			got, want := float64(held[st.Address]), float64(8*st.Weight)
			of[st.Weight] += got / float64(n/4)
			if math.Abs(got-want) > max(6, want/2) {
				t.Errorf("%d servers: %s of weight %d has %v, want about %v", n, st.Address, st.Weight, got, want)
			}
		}
		for w, got := range of {
			if want := float64(8 * w); math.Abs(got-want) > max(2, want/10) {
				t.Errorf("%d servers: those of weight %d have %.1f, want about %v", n, w, got, want)
			}
		}
	}
}

func TestRequestsOneByOneFollowWeights(t *testing.T) {
	for _, balance := range []Balance{LeastRequest, RoundRobin, Hash} {
		for _, n := range []int{4, 16} {
			r := newRig(t, Config{Servers: servers(n, 1, 2, 4, 8), Balance: balance})
			counts := r.counts(n*15*200, func(i int) uint64 { return mix(uint64(i)) })
			for _, st := range r.Status(r.now) {
				want := float64(800 * st.Weight)
				if got := float64(counts[st.Address]); math.Abs(got-want) > 6*math.Sqrt(want) {
					t.Errorf("%v, %d servers: weight %d got %v, want about %v", balance, n, st.Weight, got, want)
				}
			}
		}
	}
}

func TestRoundRobinIsExactAndSmooth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 64), 1, 8).Draw(t, "weights")
		all := servers(len(weights), weights...)
		p, err := New(Config{Servers: all, Balance: RoundRobin}, seeded(), epoch)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, w := range weights {
			sum += w
		}
		counts := map[string]int{}
		for i := range 2 * sum {
			s, err := p.Pick(epoch, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			s.Done(epoch, OK, 0)
			counts[s.address]++
			for j, w := range weights {
				share := float64(i+1) * float64(w) / float64(sum)
				if got := float64(counts[all[j].Address]); math.Abs(got-share) > float64(len(weights)) {
					t.Fatalf("after %d, weight %d of %v got %v, want about %.1f", i+1, w, weights, got, share)
				}
			}
		}
		for j, w := range weights {
			if got := counts[all[j].Address]; got != 2*w {
				t.Fatalf("weight %d of %v got %d of %d", w, weights, got, 2*sum)
			}
		}
	})
}

// owners are whom keys belong to.
func owners(t *rapid.T, p *Pool, keys int) map[uint64]string {
	all := map[uint64]string{}
	for i := range keys {
		k := HashKey(strconv.Itoa(i))
		s, err := p.Pick(epoch, k, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Done(epoch, OK, 0)
		all[k] = s.address
	}
	return all
}

func TestKeysMoveOnlyFromTheServerRemoved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 5), 2, 20).Draw(t, "weights")
		cfg := Config{Servers: servers(len(weights), weights...), Balance: Hash}
		p, err := New(cfg, seeded(), epoch)
		if err != nil {
			t.Fatal(err)
		}
		const keys = 500
		before := owners(t, p, keys)
		i := rapid.IntRange(0, len(weights)-1).Draw(t, "removed")
		gone := cfg.Servers[i]
		cfg.Servers = append(append([]ServerConfig{}, cfg.Servers[:i]...), cfg.Servers[i+1:]...)
		if err := p.Update(cfg, epoch); err != nil {
			t.Fatal(err)
		}
		moved := 0
		for k, now := range owners(t, p, keys) {
			if before[k] == gone.Address {
				moved++
			} else if now != before[k] {
				t.Fatalf("a key of %s moved to %s", before[k], now)
			}
		}
		sum := 0
		for _, w := range weights {
			sum += w
		}
		share := keys * float64(weights[i]) / float64(sum)
		if math.Abs(float64(moved)-share) > 6*math.Sqrt(share)+5 {
			t.Fatalf("%d keys moved, the share is %.0f", moved, share)
		}
	})
}

func TestAHotKeyIsSpreadWhenItsServerHasTooMuch(t *testing.T) {
	r := newRig(t, Config{Servers: servers(10), Balance: Hash, HashBalanceFactor: 150})
	held := map[string]int{}
	for i := range 1000 {
		s := r.pick(nil)
		held[s.address]++
		if bound := int(math.Ceil(1.5 * float64(i+1) / 10)); held[s.address] > bound {
			t.Fatalf("%s has %d of %d, over its bound of %d", s.address, held[s.address], i+1, bound)
		}
	}
	if len(held) < 7 || held[r.Status(r.now)[0].Address] == 1000 {
		t.Errorf("held: %v", held)
	}
}

func TestHashKeysAreTheSameEverywhere(t *testing.T) {
	// FNV-1a of "a" is 0xaf63dc4c8601ec8c; gateways of other versions go by these keys.
	if got := HashKey("a"); got != mix(0xaf63dc4c8601ec8c) || got != HashKey([]byte("a")) {
		t.Errorf("%#x", got)
	}
}

func TestFullServersAreLeftOut(t *testing.T) {
	for _, balance := range []Balance{LeastRequest, RoundRobin, Hash} {
		for _, n := range []int{1, 3, 20} {
			r := newRig(t, Config{Servers: servers(n, 1, 1, 7), Balance: balance, MaxConns: 3})
			var all []*Server
			for range 3 * n {
				s := r.pick(nil)
				all = append(all, s)
				if s.InFlight() > 3 {
					t.Fatalf("%v: %s has %d", balance, s.address, s.InFlight())
				}
			}
			r.refused(ErrFull)
			all[n].Done(r.now, OK, 0)
			if s := r.pick(nil); s != all[n] {
				t.Errorf("%v: %s is not the one with a slot", balance, s.address)
			}
			if c := r.Counters(); c.Full != 1 || c.Requests != uint64(3*n+1) {
				t.Errorf("%v: counted %+v", balance, c)
			}
		}
	}
}

func TestARetryGoesElsewhere(t *testing.T) {
	for _, balance := range []Balance{LeastRequest, RoundRobin, Hash} {
		for _, n := range []int{1, 2, 5, 40} {
			r := newRig(t, Config{Servers: servers(n, 1, 3), Balance: balance})
			var tried Tried
			seen := map[*Server]bool{}
			for range n {
				s := r.pick(&tried)
				if seen[s] {
					t.Fatalf("%v, %d servers: %s twice", balance, n, s.address)
				}
				seen[s] = true
			}
			r.pick(&tried) // all were tried: any is better than none
		}
	}
}

func TestARetryTakesAFreeServerAgainBeforeNone(t *testing.T) {
	r := newRig(t, Config{Servers: servers(2), MaxConns: 1})
	var tried Tried
	first := r.pick(&tried)
	r.pick(nil)
	first.Done(r.now, Broken, 0)
	if s := r.pick(&tried); s != first {
		t.Errorf("got %s", s.address)
	}
}

func TestSlotGivenBackTwicePanics(t *testing.T) {
	r := newRig(t, Config{Servers: servers(1)})
	s := r.pick(nil)
	s.Done(r.now, OK, 0)
	defer func() {
		if recover() == nil {
			t.Error("nothing")
		}
	}()
	s.Done(r.now, OK, 0)
}

func TestLatencyIsAMovingAverageOfAnswers(t *testing.T) {
	r := newRig(t, Config{Servers: servers(1)})
	for _, l := range []time.Duration{80, 160} {
		r.pick(nil).Done(r.now, OK, l*time.Millisecond)
	}
	r.pick(nil).Done(r.now, TimedOut, time.Hour)
	r.pick(nil).Done(r.now, Canceled, time.Hour)
	if got := r.Status(r.now)[0].Latency; got != 90*time.Millisecond {
		t.Errorf("%v", got)
	}
}

func TestPickAndDoneAllocateNothing(t *testing.T) {
	for _, balance := range []Balance{LeastRequest, RoundRobin, Hash} {
		for _, n := range []int{4, 64} {
			for _, weights := range [][]int{{1}, {1, 2}} {
				p, err := New(Config{Servers: servers(n, weights...), Balance: balance, MaxConns: 1, SlowStart: time.Minute}, Env{}, epoch)
				if err != nil {
					t.Fatal(err)
				}
				var tried Tried
				now := epoch
				if a := testing.AllocsPerRun(2000, func() {
					now = now.Add(100 * time.Microsecond)
					one, err := p.Pick(now, uint64(now.Nanosecond()), &tried)
					if err != nil {
						t.Fatal(err)
					}
					other, err := p.Pick(now, HashKey("x"), &tried)
					if err != nil {
						t.Fatal(err)
					}
					one.Done(now, OK, time.Millisecond)
					other.Done(now, Canceled, time.Millisecond)
				}); a != 0 {
					t.Errorf("%v, %d servers, weights %v: %v allocations", balance, n, weights, a)
				}
			}
		}
	}
}

func TestOutcomesAndStatesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for i, o := range Outcomes() {
		if int(o) != i || seen[o.String()] {
			t.Errorf("outcome %d is %v", i, o)
		}
		seen[o.String()] = true
	}
	for i, s := range States() {
		if int(s) != i || seen[s.String()] {
			t.Errorf("state %d is %v", i, s)
		}
		seen[s.String()] = true
	}
	if len(Outcomes()) != int(outcomes) || len(States()) != int(states) {
		t.Error("one is missing")
	}
}

func TestOutcomesOfStatusCodes(t *testing.T) {
	for status, want := range map[int]Outcome{
		200: OK, 304: OK, 404: OK, 429: OK, 499: OK, 500: Status5xx, 501: Status5xx, 502: GatewayError, 503: GatewayError,
		504: GatewayError, 505: Status5xx, 599: Status5xx,
	} {
		if got := OutcomeOf(status); got != want {
			t.Errorf("%d is %v, want %v", status, got, want)
		}
	}
}
