package policy

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/ratelimit"
	"weir/ratelimit/local"
)

func begin(r *Rules, now uint64, q *Request) (Outcome, *Exchange) {
	x := &Exchange{}
	return r.Begin(now, q, x), x
}

func TestPoliciesOfRouteAndPlanAreChargedTogetherOrNotAtAll(t *testing.T) {
	r := rules(t, Config{
		Policies: []Policy{
			{Quota: quota("burst", 3, time.Second)},
			{Quota: quota("daily", 2, 24*time.Hour), Key: key(t, "identity")},
		},
		Plans:     []Plan{{Name: "free", Policies: []string{"daily", "burst"}}},
		Consumers: []Consumer{{Name: "shop", Plan: "free", Keys: [][32]byte{SumKey("k")}}},
		Routes:    []Route{{Name: "all", Upstream: "u", Policies: []string{"burst"}, Auth: AuthOptional}},
	}, Deps{})
	with := get("/", "X-Api-Key", "k")
	for i, want := range []Outcome{Admitted, Admitted, Limited, Limited} {
		if o, x := begin(r, start, with); o != want || x.Held() != 2 {
			t.Fatalf("request %d: %v of %d policies", i, o, x.Held())
		}
	}
	// The two that were refused by the daily quota cost the burst nothing: it has one left for the same address.
	for i, want := range []Outcome{Admitted, Limited} {
		if o, _ := begin(r, start, get("/")); o != want {
			t.Fatalf("anonymous request %d: %v", i, o)
		}
	}
}

func TestWhoLeavesOutAHeaderHasTheQuotaOfItsAddress(t *testing.T) {
	for missing, want := range map[Missing][]Outcome{
		MissingAddress: {Admitted, Limited, Admitted},
		MissingSkip:    {Admitted, Admitted, Admitted},
		MissingRefuse:  {Incomplete, Incomplete, Incomplete},
	} {
		r := rules(t, Config{
			Policies: []Policy{{Quota: quota("q", 1, time.Minute), Key: key(t, "header:X-Tenant"), Missing: missing}},
			Routes:   all("q"),
		}, Deps{})
		other := get("/")
		other.Peer = netip.MustParseAddr("192.0.2.2")
		for i, q := range []*Request{get("/"), get("/"), other} {
			if o, _ := begin(r, start, q); o != want[i] {
				t.Errorf("%v: request %d: %v", missing, i, o)
			}
		}
		if n := r.deps.Flight.InFlight(); missing == MissingRefuse && n != 0 {
			t.Errorf("%d in flight of requests that were refused", n)
		}
		if o, _ := begin(r, start, get("/", "X-Tenant", "t")); o != Admitted {
			t.Errorf("%v: with the header: %v", missing, o)
		}
	}
}

func TestAPolicyInShadowRefusesNothingAndSaysWhatItWould(t *testing.T) {
	r := rules(t, Config{Policies: []Policy{{Quota: quota("q", 1, time.Minute), Shadow: true}}, Routes: all("q")}, Deps{})
	for i := range 3 {
		o, x := begin(r, start, get("/"))
		violated := 0
		x.Violated(func(name string, shadow bool, _ ratelimit.Decision) bool {
			if name != "q" || !shadow {
				t.Errorf("%s, shadow %v", name, shadow)
			}
			violated++
			return true
		})
		if o != Admitted || (violated == 1) != (i > 0) {
			t.Errorf("request %d: %v, violated %d", i, o, violated)
		}
		if told := x.AppendTold(nil); len(told) > 0 {
			t.Errorf("clients are told of it: %q", told)
		}
	}
}

func TestARouteMayCostMore(t *testing.T) {
	routes := append(all("q"), Route{Name: "dear", Path: "/dear", Upstream: "u", Policies: []string{"q"}, Cost: 5})
	r := rules(t, Config{Policies: []Policy{{Quota: quota("q", 6, time.Minute)}}, Routes: routes}, Deps{})
	for i, c := range []struct {
		path string
		want Outcome
	}{{"/dear", Admitted}, {"/dear", Limited}, {"/", Admitted}, {"/", Limited}} {
		if o, _ := begin(r, start, get(c.path)); o != c.want {
			t.Errorf("request %d: %v", i, o)
		}
	}
}

func TestBytesAreChargedWhenTheyAreKnown(t *testing.T) {
	bytes := ratelimit.Quota{Name: "bytes", Unit: ratelimit.UnitContentBytes, Bytes: ratelimit.ByteRate{Bytes: 1000, Per: time.Second}, Burst: 10_000}
	r := rules(t, Config{Policies: []Policy{{Quota: bytes}}, Routes: all("bytes")}, Deps{})
	o, x := begin(r, start, get("/"))
	if o != Admitted {
		t.Fatal(o)
	}
	x.End(start, 0, 15_000) // 5 s more than there is
	if o, _ := begin(r, start+4*second, get("/")); o != Limited {
		t.Errorf("in debt: %v", o)
	}
	if o, _ := begin(r, start+6*second, get("/")); o != Admitted {
		t.Errorf("out of debt: %v", o)
	}
	// What a client says that it sends is charged as it begins, so that many at once are not let through.
	up := get("/")
	up.ContentLength = 6000
	_, x = begin(r, start+100*second, up)
	if o, _ := begin(r, start+100*second, up); o != Limited {
		t.Errorf("a second one of 6000 bytes: %v", o)
	}
	x.End(start+100*second, 6000, 0)
	if o, _ := begin(r, start+103*second, up); o != Admitted {
		t.Errorf("3 s later: %v", o)
	}
}

func TestConcurrentRequestsAreGivenBack(t *testing.T) {
	atOnce := ratelimit.Quota{Name: "at once", Unit: ratelimit.UnitConcurrentRequests, Burst: 2}
	r := rules(t, Config{Policies: []Policy{{Quota: atOnce}}, Routes: all("at once")}, Deps{})
	_, x1 := begin(r, start, get("/"))
	_, x2 := begin(r, start, get("/"))
	if o, _ := begin(r, start, get("/")); o != Limited {
		t.Fatalf("a third: %v", o)
	}
	x1.End(start, 0, 0)
	x1.End(start, 0, 0) // gives back once
	if o, _ := begin(r, start, get("/")); o != Admitted {
		t.Fatalf("after one has ended: %v", o)
	}
	if o, _ := begin(r, start, get("/")); o != Limited {
		t.Fatalf("a third again: %v", o)
	}
	x2.End(start, 0, 0)
}

// shared is a store that allows so many, or is gone.
type shared struct {
	limit   *ratelimit.Limit
	left    int
	err     error
	charged uint64
}

func (s *shared) Limit(name string) *ratelimit.Limit {
	if name == s.limit.Name() {
		return s.limit
	}
	return nil
}

func (s *shared) Take(_ context.Context, checks []ratelimit.Check, out []ratelimit.Decision) (bool, error) {
	if s.err != nil {
		out[0] = ratelimit.Decision{}
		return false, s.err
	}
	allowed := s.left >= int(checks[0].Cost) //nolint:gosec // small
	if allowed {
		s.left -= int(checks[0].Cost) //nolint:gosec // small
	}
	out[0] = ratelimit.Decision{Allowed: allowed, Remaining: uint64(s.left), RetryAfter: time.Second} //nolint:gosec // not negative
	return allowed, nil
}

func (s *shared) Charge(_ context.Context, checks []ratelimit.Check) error {
	for i := range checks {
		s.charged += checks[i].Cost
	}
	return nil
}

func TestSharedPoliciesAreAskedAfterThoseOfThisProcess(t *testing.T) {
	limit, err := quota("shared", 10, time.Minute).Compile()
	if err != nil {
		t.Fatal(err)
	}
	s := &shared{limit: limit, left: 3}
	r := rules(t, Config{
		Policies: []Policy{{Quota: quota("shared", 10, time.Minute), Shared: true}, {Quota: quota("own", 2, time.Minute)}},
		Routes:   append(all("shared", "own"), Route{Name: "alone", Path: "/alone", Upstream: "u", Policies: []string{"shared"}}),
	}, Deps{Shared: s})
	ask := func(path string) (Outcome, *Exchange) {
		o, x := begin(r, start, get(path))
		if o == Ask {
			o = x.Ask(t.Context())
		}
		return o, x
	}
	for i, want := range []Outcome{Admitted, Admitted, Limited} {
		if o, _ := ask("/"); o != want {
			t.Fatalf("request %d: %v", i, o)
		}
	}
	if s.left != 1 {
		t.Errorf("what its own quota refused was charged to the shared one: %d left", s.left)
	}
	if o, x := ask("/alone"); o != Admitted || x.Held() != 1 {
		t.Errorf("%v of %d", o, x.Held())
	}
	if o, x := ask("/alone"); o != Limited || !strings.Contains(string(x.AppendBody(nil, o)), `"violated-policies":["shared"]`) {
		t.Errorf("%v", o)
	}
	s.err = errors.New("gone")
	if o, x := ask("/alone"); o != Unavailable || x.Err == nil {
		t.Errorf("without the store: %v", o)
	}
	if n := r.deps.Flight.InFlight(); n != 3 { // those that were admitted have not ended
		t.Errorf("%d in flight", n)
	}
}

func TestTheLeastUrgentGoFirst(t *testing.T) {
	routes := []Route{{Name: "n", Path: "/n", Upstream: "u"}, {Name: "l", Path: "/l", Upstream: "u", Priority: PriorityLow}, {Name: "c", Path: "/c", Upstream: "u", Priority: PriorityCritical}}
	r := rules(t, Config{Routes: routes, MaxInFlight: 100}, Deps{})
	fill := func(path string) (n int) {
		for n = 0; ; n++ {
			if o, x := begin(r, start, get(path)); o != Admitted {
				if o != Shed || !strings.HasPrefix(string(x.AppendRefusal(nil, o, 0)), "Retry-After: ") {
					t.Fatalf("%v", o)
				}
				return n
			}
		}
	}
	if low, normal, critical := fill("/l"), fill("/n"), fill("/c"); low != 80 || normal != 15 || critical != 5 {
		t.Errorf("%d low, then %d normal, then %d critical", low, normal, critical)
	}
}

func TestStrainRefusesItsShare(t *testing.T) {
	for strain, want := range map[uint32][2]int{0: {0, 0}, 256: {512, 0}, 512: {1024, 0}, 768: {1024, 512}, 1024: {1024, 1024}, 9999: {1024, 1024}} {
		f := &Flight{}
		f.SetStrain(strain)
		for i, p := range []Priority{PriorityLow, PriorityNormal} {
			refused := 0
			for range 1024 {
				if f.enter(0, p, 0) {
					f.leave(0)
				} else {
					refused++
				}
			}
			if refused != want[i] {
				t.Errorf("strain %d: %d of 1024 refused of %v, want %d", strain, refused, p, want[i])
			}
		}
		if !f.enter(0, PriorityCritical, 0) {
			t.Errorf("strain %d refuses what is critical", strain)
		}
	}
}

func TestADecisionAllocatesNothing(t *testing.T) {
	store, err := local.New(local.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := rules(t, Config{
		Policies: []Policy{
			{Quota: quota("a", 1_000_000, time.Second), Key: key(t, "identity")},
			{Quota: quota("b", 1_000_000, time.Second), Key: key(t, "address/24/48", "route", "header:User-Agent")},
		},
		Consumers: []Consumer{{Name: "shop", Keys: [][32]byte{SumKey("secret")}}},
		Routes:    all("a", "b"),
	}, Deps{Local: store, Tokens: &tokens{}})
	var x Exchange
	told := make([]byte, 0, 1024)
	now := start
	for _, q := range []*Request{
		get("/a%20b/c", "X-Api-Key", "secret", "User-Agent", "wrk"),
		get("/", "Authorization", "Bearer alice"),
	} {
		q.Host = "API.Example.com:8080"
		n := testing.AllocsPerRun(100, func() {
			now += second
			if o := r.Begin(now, q, &x); o != Admitted {
				t.Fatal(o)
			}
			told = x.AppendTold(told[:0])
			x.End(now, 0, 0)
		})
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkBegin(b *testing.B) {
	store, err := local.New(local.Config{})
	if err != nil {
		b.Fatal(err)
	}
	now := start
	for name, cfg := range map[string]Config{
		"no policy":   {Routes: all()},
		"one policy":  {Routes: all("a"), Policies: []Policy{{Quota: quota("a", 10_000_000, time.Second)}}},
		"key, policy": {Routes: all("a"), Policies: []Policy{{Quota: quota("a", 10_000_000, time.Second)}}, Consumers: []Consumer{{Name: "shop", Keys: [][32]byte{SumKey("secret")}}}},
	} {
		b.Run(name, func(b *testing.B) {
			r := rules(b, cfg, Deps{Local: store})
			q := get("/index.html", "X-Api-Key", "secret", "User-Agent", "wrk")
			var x Exchange
			b.ReportAllocs()
			for b.Loop() {
				now += 100_000
				if o := r.Begin(now, q, &x); o != Admitted {
					b.Fatal(o)
				}
				x.End(now, 0, 0)
			}
		})
	}
}
