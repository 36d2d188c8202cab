package admit

import (
	"errors"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/ratelimit"
)

func gate(t *testing.T, cfg Config) *Gate {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func rate(t *testing.T, text string) ratelimit.Rate {
	t.Helper()
	r, err := ratelimit.ParseRate(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func want(t *testing.T, g *Gate, a string, at time.Duration, v Verdict, wait time.Duration) {
	t.Helper()
	if got, w := g.Admit(netip.MustParseAddr(a), Ticks(at)); got != v || w != wait {
		t.Errorf("%s at %v: verdict %d, wait %v; want %d, %v", a, at, got, w, v, wait)
	}
}

func TestAddressesOfOnePrefixShareAKey(t *testing.T) {
	for _, tt := range []struct {
		name         string
		a, b         string
		bits4, bits6 int
		same         bool
	}{
		{"an IPv4 address is itself", "192.0.2.1", "192.0.2.1", 32, 64, true},
		{"and not its neighbor", "192.0.2.1", "192.0.2.2", 32, 64, false},
		{"a /24", "192.0.2.1", "192.0.2.255", 24, 64, true},
		{"and not the next", "192.0.2.255", "192.0.3.0", 24, 64, false},
		{"a /1", "1.0.0.0", "127.255.255.255", 1, 64, true},
		{"mapped is IPv4", "192.0.2.1", "::ffff:192.0.2.1", 32, 64, true},
		{"also where IPv6 is cut short", "::ffff:192.0.2.1", "::ffff:192.0.2.2", 32, 16, false},
		{"a /64 of IPv6", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", 32, 64, true},
		{"and not the next one", "2001:db8::", "2001:db8:0:1::", 32, 64, false},
		{"a /128", "2001:db8::1", "2001:db8::2", 32, 128, false},
		{"a /127", "2001:db8::2", "2001:db8::3", 32, 127, true},
		{"a /65", "2001:db8::", "2001:db8::7fff:ffff:ffff:ffff", 32, 65, true},
		{"a /48", "2001:db8::", "2001:db8:0:ffff::", 32, 48, true},
		{"a zone is not looked at", "fe80::1%eth0", "fe80::1%eth1", 32, 128, true},
		{"IPv6 next to the mapped ones", "::1:ffff:0:1", "0.0.0.1", 32, 128, false},
		{"::/95 is not an IPv4 prefix", "::fffe:0:1", "0.0.0.0", 32, 95, false},
	} {
		a, b := keyOf(netip.MustParseAddr(tt.a), tt.bits4, tt.bits6), keyOf(netip.MustParseAddr(tt.b), tt.bits4, tt.bits6)
		if (a == b) != tt.same {
			t.Errorf("%s: %x and %x", tt.name, a, b)
		}
	}
}

func TestConnsOfAPrefixAreBoundedAndGivenBack(t *testing.T) {
	g := gate(t, Config{MaxConnsPerPrefix: 2})
	want(t, g, "2001:db8::1", 0, Admitted, 0)
	want(t, g, "2001:db8::2", 0, Admitted, 0)
	want(t, g, "2001:db8::3", 0, OverConns, 0)
	want(t, g, "2001:db8:0:1::", 0, Admitted, 0)
	want(t, g, "192.0.2.1", 0, Admitted, 0)
	if n := g.Prefixes(); n != 3 {
		t.Errorf("%d prefixes hold conns, want 3", n)
	}
	g.Release(netip.MustParseAddr("2001:db8::2"))
	want(t, g, "2001:db8::3", 0, Admitted, 0)
	for _, a := range []string{"2001:db8::1", "2001:db8::3", "2001:db8:0:1::", "192.0.2.1"} {
		g.Release(netip.MustParseAddr(a))
	}
	if n := g.Prefixes(); n != 0 {
		t.Errorf("%d prefixes are left when no conn is held", n)
	}
}

func TestNoMoreThanTheBoundUnderConcurrency(t *testing.T) {
	const limit, prefixes, loops, rounds = 7, 3, 8, 5000
	g := gate(t, Config{MaxConnsPerPrefix: limit})
	var held [prefixes]atomic.Int64
	var refused atomic.Int64
	var wg sync.WaitGroup
	for l := range loops {
		wg.Go(func() {
			var mine [prefixes]int
			for i := range rounds {
				p := (i + l) % prefixes
				if i%5 == 4 && mine[p] > 0 {
					held[p].Add(-1)
					g.Release(addr(p))
					mine[p]--
					continue
				}
				if v, _ := g.Admit(addr(p), 0); v != Admitted {
					refused.Add(1)
					continue
				}
				mine[p]++
				if n := held[p].Add(1); n > limit {
					t.Errorf("prefix %d holds %d", p, n)
				}
			}
			for p, n := range mine {
				for range n {
					held[p].Add(-1)
					g.Release(addr(p))
				}
			}
		})
	}
	wg.Wait()
	if g.Prefixes() != 0 || refused.Load() == 0 {
		t.Errorf("%d prefixes are left, %d were refused", g.Prefixes(), refused.Load())
	}
}

func TestRateOfTheWholeEdge(t *testing.T) {
	g := gate(t, Config{Rate: rate(t, "2/s")}) // two at once
	want(t, g, "192.0.2.1", 0, Admitted, 0)
	want(t, g, "192.0.2.2", 0, Admitted, 0)
	want(t, g, "192.0.2.3", 0, OverRate, 500*time.Millisecond)
	want(t, g, "192.0.2.3", 400*time.Millisecond, OverRate, 100*time.Millisecond)
	want(t, g, "192.0.2.3", 500*time.Millisecond, Admitted, 0)
	want(t, g, "192.0.2.4", 500*time.Millisecond, OverRate, 500*time.Millisecond)
}

func TestRateOfAPrefix(t *testing.T) {
	g := gate(t, Config{RatePerPrefix: rate(t, "1/10s"), Rate: rate(t, "2/s"), MaxConnsPerPrefix: 2})
	want(t, g, "192.0.2.1", 0, Admitted, 0)
	// Who is refused for its own rate takes nothing of the edge's, nor a place.
	want(t, g, "192.0.2.1", 0, OverPrefixRate, 10*time.Second)
	want(t, g, "192.0.2.1", 0, OverPrefixRate, 10*time.Second)
	want(t, g, "192.0.2.2", 0, Admitted, 0)
	// Who is refused for the edge's rate takes nothing of its own.
	want(t, g, "192.0.2.3", 0, OverRate, 500*time.Millisecond)
	want(t, g, "192.0.2.3", 500*time.Millisecond, Admitted, 0)
	want(t, g, "192.0.2.1", 9*time.Second, OverPrefixRate, time.Second)
	want(t, g, "192.0.2.1", 10*time.Second, Admitted, 0)
	want(t, g, "192.0.2.1", 20*time.Second, OverConns, 0)
	g.Release(netip.MustParseAddr("192.0.2.1"))
	want(t, g, "192.0.2.1", 20*time.Second, Admitted, 0)
	if g.Overflows() != 0 {
		t.Errorf("%d overflows in an empty table", g.Overflows())
	}
}

// TestFullTableForgetsNobodyWhoOwes fills a table of one set a shard many times over.
func TestFullTableForgetsNobodyWhoOwes(t *testing.T) {
	g, err := newGate(Config{RatePerPrefix: rate(t, "1/10s"), Rate: rate(t, "10000/s")}, 1)
	if err != nil {
		t.Fatal(err)
	}
	// Of the 10,000 that the edge takes at once, and so many for each set that none stays empty
	// whatever the seed.
	const first = 9000
	var kept []int
	for i := range first {
		before := g.Overflows()
		if v, _ := g.Admit(addr(i), 0); v != Admitted {
			t.Fatalf("prefix %d: verdict %d", i, v)
		}
		if g.Overflows() == before {
			kept = append(kept, i)
		}
	}
	if len(kept) != shards*ways || g.Overflows() != first-shards*ways {
		t.Fatalf("%d kept, %d overflows", len(kept), g.Overflows())
	}
	for _, i := range kept {
		if v, wait := g.Admit(addr(i), Ticks(time.Second)); v != OverPrefixRate || wait != 9*time.Second {
			t.Fatalf("prefix %d was forgotten: verdict %d, wait %v", i, v, wait)
		}
	}
	// Without a place there is the edge's rate alone.
	admitted := 0
	for i := range 20_000 {
		if v, _ := g.Admit(addr(1<<20+i), Ticks(time.Second)); v == Admitted {
			admitted++
		} else if v != OverRate {
			t.Fatalf("verdict %d", v)
		}
	}
	if admitted != 10_000 {
		t.Errorf("%d of 20000 admitted at 10000/s", admitted)
	}
	// Who owes nothing makes room.
	before := g.Overflows()
	if v, _ := g.Admit(addr(1<<21), Ticks(10*time.Second)); v != Admitted || g.Overflows() != before {
		t.Errorf("verdict %d, %d overflows more", v, g.Overflows()-before)
	}
}

func TestRatesOutOfRangeAreRefused(t *testing.T) {
	for _, cfg := range []Config{
		{Rate: ratelimit.Rate{Count: 20_000_000, Per: time.Second}},
		{RatePerPrefix: ratelimit.Rate{Count: 1, Per: math.MaxInt64}},
	} {
		if _, err := New(cfg); !errors.Is(err, ratelimit.ErrOutOfRange) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if err := CheckRate(ratelimit.Rate{}); err != nil {
		t.Errorf("no rate: %v", err)
	}
}

func TestNoAllocationPerConn(t *testing.T) {
	g := gate(t, Config{MaxConnsPerPrefix: 10, Rate: rate(t, "1000000/s"), RatePerPrefix: rate(t, "1000000/s")})
	now := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += Ticks(time.Millisecond)
		if v, _ := g.Admit(addr(1), now); v != Admitted {
			t.Fatal(v)
		}
		g.Release(addr(1))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdmit(b *testing.B) {
	g, err := New(Config{MaxConnsPerPrefix: 1000, Rate: ratelimit.Rate{Count: 10_000_000, Per: time.Second}, RatePerPrefix: ratelimit.Rate{Count: 10_000_000, Per: time.Second}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	start := time.Now()
	for i := 0; b.Loop(); i++ {
		if v, _ := g.Admit(addr(i&0xffff), Ticks(time.Since(start))); v == Admitted {
			g.Release(addr(i & 0xffff))
		}
	}
}
