package redis

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"weir/ratelimit"

	"pgregory.net/rapid"
)

func leased(name string, count uint64, per time.Duration, burst, slice uint64) Policy {
	return Policy{Quota: ratelimit.Quota{Name: name, Rate: ratelimit.Rate{Count: count, Per: per}, Burst: burst}, Mode: ModeLease, Slice: slice}
}

func counted(p Policy) Policy {
	p.Quota.Algorithm, p.Quota.Burst = ratelimit.AlgorithmCounter, 0
	return p
}

func bytesOf(p Policy) Policy {
	p.Quota.Unit, p.Quota.Bytes = ratelimit.UnitContentBytes, ratelimit.ByteRate{Bytes: p.Quota.Rate.Count, Per: p.Quota.Rate.Per}
	p.Quota.Rate = ratelimit.Rate{}
	return p
}

// TestLuaLendsAsTheFakeDoes: whatever is given back, charged late and wanted, at whatever time.
func TestLuaLendsAsTheFakeDoes(t *testing.T) {
	s := open(t, Config{Addresses: []string{startRedis(t, "").address}, Timeout: 500 * time.Millisecond},
		leased("gcra", 7, time.Second, 50, 50),
		counted(leased("counter", 60, 777*time.Millisecond, 0, 60)),
		bytesOf(leased("bytes", 30_000_000, time.Second, 50_000_000, 50_000_000)),
		counted(bytesOf(leased("many bytes", 1<<49, 300*24*time.Hour, 0, 1<<49))),
	)
	names := []string{"gcra", "counter", "bytes", "many bytes"}
	scale := map[string]uint64{"gcra": 1, "counter": 1, "bytes": 999_999, "many bytes": 1 << 43}
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		f := newFakeServer()
		us := uint64(1<<47) + rapid.Uint64Range(0, 1<<40).Draw(t, "begin")
		for range rapid.IntRange(1, 30).Draw(t, "asks") {
			us += rapid.OneOf(rapid.Uint64Range(0, 500_000), rapid.Uint64Range(0, 1<<44)).Draw(t, "microseconds later")
			high, low := halves(us * ticksPerMicro)
			args := []string{number(us), high, low}
			var keys []string
			for _, name := range names {
				p := s.shared[s.Limit(name)]
				units := func(what string, most uint64) uint64 {
					return rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Range(0, most)).Draw(t, what) * scale[name]
				}
				a := ask{back: units("back", 20), spent: units("spent", 70), want: units("want", 50)}
				a.need = min(a.want, max(1, units("need", 50)))
				if p.window > 0 {
					a.from = us/p.window - min(us/p.window, rapid.Uint64Range(0, 3).Draw(t, "windows ago"))
				}
				l := loan{p, fmt.Sprint(run), a}
				keys = append(keys, s.key(p.limit, l.client))
				args = l.arguments(args)
			}
			want := f.do(true, keys, args)
			got, err := s.exec(t.Context(), s.lending, keys, args)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("at %d: %v, %v, want %v", us, got, err, want)
			}
		}
	})
}

// gateway is one of several in a test: a lease of one client, and a refill that is on its way.
type gateway struct {
	lease *lease
	held  []part

	ask      ask
	asked    time.Duration
	inFlight bool
	answer   []int64 // nil before it is done
}

// world is gateways that have one budget, at one virtual time.
type world struct {
	store    *Store
	policy   *policy
	server   *fakeServer
	now      time.Duration
	gateways []*gateway
	through  []admitted
	forgot   uint64 // times
}

type admitted struct {
	at    time.Duration
	units uint64
}

// newWorld is one whose gateways are as the store, which it does not change.
func newWorld(s *Store, p Policy) *world {
	w := &world{store: s, server: newFakeServer()}
	w.policy = s.shared[s.Limit(p.Quota.Name)]
	for range s.cfg.Gateways {
		w.gateways = append(w.gateways, &gateway{lease: w.newLease()})
	}
	return w
}

func (w *world) newLease() *lease { return &lease{policy: w.policy, key: "x"} }

func (w *world) us() uint64 { return fakeEpoch + uint64(w.now/time.Microsecond) }

// do has the server do what is asked.
func (w *world) do(a ask) []int64 {
	l := loan{w.policy, "x", a}
	high, low := halves(w.us() * ticksPerMicro)
	return w.server.do(true, []string{"x"}, l.arguments([]string{number(w.us()), high, low}))
}

func (w *world) begin(g *gateway, cost uint64) {
	if g.inFlight {
		return
	}
	if a, ok := g.lease.ask(w.now, cost); ok {
		g.ask, g.asked, g.inFlight, g.answer = a, w.now, true, nil
	}
}

func (w *world) deliver(g *gateway) error {
	replies, err := read([]loan{{w.policy, "x", g.ask}}, g.answer)
	if err != nil {
		return err
	}
	g.lease.answered(w.now, g.asked, g.ask, replies[0])
	g.inFlight = false
	return nil
}

func (w *world) take(g *gateway, cost uint64) verdict {
	v, _ := g.lease.take(w.now, cost)
	if v == granted {
		w.through = append(w.through, admitted{w.now, cost})
	}
	return v
}

// check holds what was let through in any time to the quota and the bound.
func (w *world) check() error {
	b := w.store.Bound(w.policy.limit.Name())
	bound := b.Lease + w.forgot*b.Failover
	for i := range w.through {
		var sum uint64
		for _, a := range w.through[i:] {
			sum += a.units
			quota := w.quota(w.through[i].at, a.at)
			if sum > quota+bound {
				return fmt.Errorf("%d from %v to %v: the quota is %d, the bound %d", sum, w.through[i].at, a.at, quota, bound)
			}
		}
	}
	return nil
}

// quota is how many units the policy gives from one time to another, both included.
func (w *world) quota(from, to time.Duration) uint64 {
	count := w.policy.limit.Count()
	if w.policy.window > 0 { // so many in each of its windows
		number := func(t time.Duration) uint64 { return (fakeEpoch + uint64(t/time.Microsecond)) / w.policy.window }
		return count * (number(to) - number(from) + 1)
	}
	one, limit := w.policy.limit.Ticks(1)
	return (limit + uint64(to-from)*ratelimit.TicksPerNano) / one
}

// invariant is that of a lease.
func (w *world) invariant(g *gateway) error {
	l := g.lease
	has := l.left() + l.held
	if g.inFlight {
		has += g.ask.want
	}
	if has > w.policy.slice || l.debt > 0 && l.left() > 0 || l.debt > w.policy.slice {
		return fmt.Errorf("%+v of a slice of %d, in flight %v: %+v", l, w.policy.slice, g.inFlight, g.ask)
	}
	return nil
}

var worlds = []Policy{
	leased("gcra", 100, time.Second, 40, 10),
	leased("all of it", 100, time.Second, 8, 8),
	leased("slow", 10, time.Hour, 12, 3),
	leased("ones", 5, time.Second, 2, 0),
	counted(leased("counter", 30, 500*time.Millisecond, 0, 7)),
	counted(leased("fine counter", 30, 30*time.Millisecond, 0, 7)),
	bytesOf(leased("bytes", 1000, time.Second, 3000, 300)),
}

// TestNoOrderOfEventsBreaksTheBound: gateways that take, hold, restore, refill and give back, whose requests and answers are
// late or lost, which crash, and a server that forgets. Their clocks run alike, as only the time that passes matters.
func TestNoOrderOfEventsBreaksTheBound(t *testing.T) {
	for _, p := range worlds {
		t.Run(p.Quota.Name, func(t *testing.T) {
			var total uint64
			var stores []*Store
			for n := range 4 {
				stores = append(stores, openFake(t, nil, Config{Gateways: n + 1, LeaseAge: 100 * time.Millisecond}, p))
			}
			rapid.Check(t, func(rt *rapid.T) {
				w := newWorld(rapid.SampledFrom(stores).Draw(rt, "gateways"), p)
				forgets := rapid.IntRange(0, 3).Draw(rt, "it may forget") == 0
				pick := func() *gateway { return w.gateways[rapid.IntRange(0, len(w.gateways)-1).Draw(rt, "gateway")] }
				cost := func() uint64 {
					return rapid.OneOf(rapid.Just(uint64(1)), rapid.Uint64Range(0, w.policy.slice)).Draw(rt, "cost")
				}
				fatal := func(err error) {
					if err != nil {
						rt.Fatal(err)
					}
				}
				events := map[string]func(*rapid.T){
					"wait": func(rt *rapid.T) {
						us := rapid.OneOf(rapid.Uint64Range(0, 3000), rapid.Uint64Range(0, 300_000)).Draw(rt, "microseconds")
						w.now += time.Duration(us) * time.Microsecond
					},
					"serve": func(rt *rapid.T) { // as usual
						g, n := pick(), cost()
						for range rapid.IntRange(1, 20).Draw(rt, "requests") {
							if w.take(g, n) != unknown || g.inFlight {
								continue
							}
							if w.begin(g, n); g.inFlight {
								g.answer = w.do(g.ask)
								fatal(w.deliver(g))
								w.take(g, n)
							}
						}
					},
					"take": func(rt *rapid.T) { w.take(pick(), cost()) },
					"hold": func(*rapid.T) {
						g := pick()
						if v, p := g.lease.take(w.now, cost()); v == granted {
							g.lease.held += p.units
							g.held = append(g.held, p)
						}
					},
					"release": func(*rapid.T) {
						if g := pick(); len(g.held) > 0 {
							g.lease.restore(w.now, g.held[0])
							g.held = g.held[1:]
						}
					},
					"settle": func(*rapid.T) {
						if g := pick(); len(g.held) > 0 {
							g.lease.held -= g.held[0].units
							w.through = append(w.through, admitted{w.now, g.held[0].units})
							g.held = g.held[1:]
						}
					},
					"ask": func(rt *rapid.T) { w.begin(pick(), cost()) },
					"do": func(*rapid.T) {
						if g := pick(); g.inFlight && g.answer == nil {
							g.answer = w.do(g.ask)
						}
					},
					"deliver": func(*rapid.T) {
						if g := pick(); g.inFlight && g.answer != nil {
							fatal(w.deliver(g))
						}
					},
					"lose": func(*rapid.T) {
						if g := pick(); g.inFlight {
							g.lease.failed(g.ask, true)
							g.inFlight = false
						}
					},
					"sweep": func(rt *rapid.T) {
						g := pick()
						a := g.lease.sweep(w.now, rapid.Bool().Draw(rt, "all"))
						if a != (ask{}) && rapid.IntRange(0, 4).Draw(rt, "lost") > 0 {
							w.do(a)
						}
					},
					"crash": func(*rapid.T) {
						g := pick()
						*g = gateway{lease: w.newLease()}
					},
					"forget": func(*rapid.T) {
						if forgets {
							w.forgot++
							clear(w.server.states)
						}
					},
					"": func(rt *rapid.T) {
						for _, g := range w.gateways {
							fatal(w.invariant(g))
						}
					},
				}
				for range 8 { // it is few events otherwise
					rt.Repeat(events)
				}
				fatal(w.check())
				for _, a := range w.through {
					total += a.units
				}
			})
			if total == 0 {
				t.Error("nothing was ever let through")
			}
		})
	}
}

// TestUnitsAreAsOldAsTheOldest of those that they are among, and are not spent when they are too old.
func TestUnitsAreAsOldAsTheOldest(t *testing.T) {
	p := counted(leased("p", 100, time.Second, 0, 50))
	s := openFake(t, nil, Config{LeaseAge: 100 * time.Millisecond}, p)
	l := &lease{policy: s.shared[s.Limit("p")]}
	window := func(number uint64) reply {
		return reply{units: 5, now: number * uint64(time.Second) * ratelimit.TicksPerNano}
	}
	l.answered(0, 0, ask{want: 5}, window(7))
	l.answered(10, 10, ask{want: 5}, window(8))
	l.answered(20*time.Millisecond, 20*time.Millisecond, ask{want: 5}, window(9))
	if v, p := l.take(99*time.Millisecond, 11); v != granted || p != (part{11, 0, 7}) {
		t.Errorf("%v, %+v", v, p)
	}
	if v, _ := l.take(119*time.Millisecond, 1); v != granted {
		t.Error("the youngest are old before their time")
	}
	if v, _ := l.take(120*time.Millisecond, 1); v != unknown {
		t.Error("what is too old is spent")
	}
	l.held = 2
	l.restore(121*time.Millisecond, part{2, 90 * time.Millisecond, 8})
	l.restore(121*time.Millisecond, part{0, 0, 0})
	if v, p := l.take(189*time.Millisecond, 1); v != granted || p.window != 8 {
		t.Errorf("what was held: %v, %+v", v, p)
	}
	if l.failed(ask{spent: 1}, true); l.debt != 0 {
		t.Errorf("%d are owed of what was sent", l.debt)
	}
	if a := l.sweep(190*time.Millisecond, false); a != (ask{back: 4, from: 8}) {
		t.Errorf("%+v is given back", a)
	}
	if l.failed(ask{spent: 3}, false); l.debt != 3 {
		t.Errorf("%d are owed, want 3: it was not sent", l.debt)
	}
}

// TestWhatIsGivenBackIsNoMoreThanWasCharged, to the tick, whose fractions a byte's cost has.
func TestWhatIsGivenBackIsNoMoreThanWasCharged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := ratelimit.ByteRate{Bytes: rapid.Uint64Range(ratelimit.MinBurstBytes, 10_000_000_000).Draw(t, "rate"), Per: time.Second}
		l, err := ratelimit.Quota{Name: "p", Unit: ratelimit.UnitContentBytes, Bytes: rate}.Compile()
		if err != nil {
			t.Fatal(err)
		}
		plan, err := ratelimit.CompileBytes(rate, rate.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		units := rapid.Uint64Range(0, l.Count()).Draw(t, "units")
		back := (&policy{limit: l}).worth(units)
		exact := new(big.Int).Mul(big.NewInt(int64(units)), big.NewInt(int64(plan.Mult)))
		if exact.Cmp(new(big.Int).Lsh(big.NewInt(int64(back)), uint(plan.Shift))) < 0 {
			t.Fatalf("%d units at %v: %d ticks", units, rate, back)
		}
		if charged, _ := l.Ticks(units); charged-back > units>>20+1 {
			t.Fatalf("%d of %d ticks", back, charged)
		}
	})
}

// TestLeaseIsWhatItsClientNeeds: one unit first, then twice as much each time that it is used up quickly.
func TestLeaseIsWhatItsClientNeeds(t *testing.T) {
	p := leased("p", 1000, time.Second, 1000, 100)
	w := newWorld(openFake(t, nil, Config{}, p), p)
	g := w.gateways[0]
	var wants []string
	serve := func(every time.Duration, n int) {
		for range n {
			if w.take(g, 1) == unknown {
				w.begin(g, 1)
				wants = append(wants, fmt.Sprint(g.ask.want))
				g.answer = w.do(g.ask)
				if err := w.deliver(g); err != nil {
					t.Fatal(err)
				}
				if w.take(g, 1) != granted {
					t.Fatal("refused")
				}
			}
			w.now += every
		}
	}
	serve(2*time.Second, 5)
	serve(time.Millisecond, 120)
	serve(2*time.Second, 5)
	if got := strings.Join(wants, " "); got != "1 1 1 1 1 1 2 4 8 16 32 64 32 16 8 4" {
		t.Error(got)
	}
}
