package heavy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSketchKeepsItsBound: no count is too low, none is too high by more than it says, who is absent has no more than Least, and that
// is at most the n-th part of all.
func TestSketchKeepsItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 8).Draw(t, "size")
		s := NewSketch[int](size)
		truth, data, total := map[string]uint64{}, map[string]int{}, uint64(0)
		for range rapid.IntRange(0, 200).Draw(t, "requests") {
			name := string(rune('a' + rapid.IntRange(0, 19).Draw(t, "client")))
			weight := rapid.Uint64Range(0, 5).Draw(t, "weight")
			slot := s.Add([]byte(name), weight)
			truth[name] += weight
			data[name]++
			total += weight
			if slot != nil {
				slot.Data++
			}
			if slot == nil && (weight > 0 || s.Least() == 0) || slot != nil && slot.Name != name {
				t.Fatalf("%s with %d got the slot %+v, the least is %d", name, weight, slot, s.Least())
			}
		}
		if s.Least()*uint64(size) > total || len(s.Slots()) > size {
			t.Fatalf("least %d of %d with %d slots of %d", s.Least(), total, len(s.Slots()), size)
		}
		for name, n := range truth {
			slot := s.Find(name)
			if slot == nil {
				if n > s.Least() {
					t.Errorf("%s is absent with %d, the least is %d", name, n, s.Least())
				}
				continue
			}
			if slot.Count < n || slot.Count-slot.Over > n || slot.Over > s.Least() || slot.Data > data[name] {
				t.Errorf("%s has %d: %+v, the least is %d", name, n, slot, s.Least())
			}
			if s.Lost() == 0 && (slot.Count != n || slot.Over != 0 || slot.Data != data[name]) {
				t.Errorf("%s has %d: %+v, though none was lost", name, n, slot)
			}
		}
	})
}

func TestAResetSketchIsAsNew(t *testing.T) {
	s := NewSketch[int](2)
	for i := range 5 {
		s.Add(fmt.Append(nil, i), 1)
	}
	s.Reset()
	if s.Add([]byte("x"), 3); s.Least() != 0 || s.Lost() != 0 || len(s.Slots()) != 1 || s.Find("x").Over != 0 || s.Find("4") != nil {
		t.Errorf("%+v", s)
	}
}

// day is when tests begin.
var day = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func newTop(tb rapid.TB, cfg Config) *Top {
	tb.Helper()
	top, err := New(cfg, day)
	if err != nil {
		tb.Fatal(err)
	}
	return top
}

// TestTopKeepsItsBoundOverWindows compares each rank with an exact count of the last two windows.
func TestTopKeepsItsBoundOverWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top := newTop(t, Config{Clients: 32, Window: time.Minute})
		type event struct {
			name string
			counts
		}
		events := map[int64][]event{} // by window
		now := day
		for range rapid.IntRange(1, 400).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			window := int64(now.Sub(day) / time.Minute)
			u := Use{Requests: rapid.Uint64Range(0, 3).Draw(t, "requests"), Limited: rapid.Uint64Range(0, 1).Draw(t, "limited"), Bytes: rapid.Uint64Range(0, 9).Draw(t, "bytes"), Upstream: time.Duration(rapid.IntRange(-1, 9).Draw(t, "ns"))}
			name := fmt.Sprint("client", rapid.IntRange(0, 99).Draw(t, "client"))
			top.Add(now, []byte(name), u)
			c := counts{max(u.Requests, 1), u.Limited, u.Bytes, uint64(max(u.Upstream, 0))}
			events[window] = append(events[window], event{name, c})
		}
		window := int64(now.Sub(day) / time.Minute)
		for by := range ranks {
			truth, total := map[string]counts{}, uint64(0)
			for _, e := range slices.Concat(events[window], events[window-1]) {
				c := truth[e.name]
				for i := range c {
					c[i] += e.counts[i]
				}
				truth[e.name] = c
				total += e.counts[by]
			}
			got := top.Top(now, by, math.MaxInt)
			if got.Total != total {
				t.Errorf("%v: total %d, want %d", by, got.Total, total)
			}
			there := map[string]Client{}
			for _, c := range got.Clients {
				there[c.Name] = c
			}
			for name, want := range truth {
				c, ok := there[name]
				if !ok && want[by] > got.Bound || ok && c.Count < want[by] || c.Over > got.Bound {
					t.Errorf("%v: %s has %d: %+v, bound %d", by, name, want[by], c, got.Bound)
				}
			}
			if !slices.IsSortedFunc(got.Clients, func(a, b Client) int { return cmp.Compare(b.Count, a.Count) }) {
				t.Errorf("%v is not sorted: %+v", by, got.Clients)
			}
		}
	})
}

func TestWhatIsKnownOfAClient(t *testing.T) {
	top := newTop(t, Config{Window: time.Minute})
	top.Add(day, []byte("a"), Use{Limited: 1, Bytes: 10})
	top.Add(day.Add(30*time.Second), []byte("a"), Use{Bytes: 5, Upstream: time.Second})
	top.Add(day.Add(30*time.Second), []byte("b"), Use{Upstream: 3 * time.Second})
	later := day.Add(70 * time.Second) // another window has begun
	top.Add(later, []byte("a"), Use{})
	a := Client{Name: "a", Count: 3, Requests: 3, Limited: 1, Bytes: 15, Upstream: time.Second}
	if got := top.Top(later, ByRequests, 1); !slices.Equal(got.Clients, []Client{a}) || got.Total != 4 || got.Bound != 0 || !got.From.Equal(day) {
		t.Errorf("by requests: %+v", got)
	}
	b := Client{Name: "b", Count: uint64(3 * time.Second), Requests: 1, Upstream: 3 * time.Second}
	if got := top.Top(later, ByUpstream, 1); !slices.Equal(got.Clients, []Client{b}) {
		t.Errorf("by upstream time: %+v", got)
	}
	if got := top.Top(later, ByLimited, 10); len(got.Clients) != 1 || got.Clients[0].Count != 1 {
		t.Errorf("by refusals: %+v", got)
	}
	if got := top.Top(later.Add(2*time.Minute), ByRequests, 10); len(got.Clients) != 0 || got.Total != 0 {
		t.Errorf("two windows later: %+v", got)
	}
}

func TestLongNamesAreCut(t *testing.T) {
	top := newTop(t, Config{})
	top.Add(day, []byte(strings.Repeat("x", MaxNameBytes+1)), Use{})
	if got := top.Top(day, ByRequests, 1).Clients; len(got) != 1 || len(got[0].Name) != MaxNameBytes {
		t.Errorf("%+v", got)
	}
}

func TestManyGoroutinesLoseNothing(t *testing.T) {
	top := newTop(t, Config{Clients: 64})
	var wg sync.WaitGroup
	const goroutines, each = 8, 2000
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				name := fmt.Append(nil, "crowd", g, i)
				if i%4 == 0 {
					name = []byte("heavy")
				}
				top.Add(day, name, Use{Bytes: 1})
				if i%500 == 0 {
					top.Top(day, ByBytes, 10)
				}
			}
		})
	}
	wg.Wait()
	got := top.Top(day, ByBytes, 1)
	const heavy = goroutines * each / 4
	if got.Total != goroutines*each || len(got.Clients) != 1 || got.Clients[0].Name != "heavy" || got.Clients[0].Count < heavy || got.Clients[0].Count-got.Clients[0].Over > heavy {
		t.Errorf("%+v, want heavy with %d", got, heavy)
	}
	if got.Bound == 0 || got.Bound > 2*goroutines*each/64 {
		t.Errorf("bound %d", got.Bound)
	}
}

func TestAddDoesNotAllocateForAKnownClient(t *testing.T) {
	top := newTop(t, Config{Clients: 16}) // one slot a shard: no heap is smaller
	name := []byte("203.0.113.7")
	use := Use{Limited: 1, Bytes: 7, Upstream: time.Millisecond}
	top.Add(day, name, use)
	if got := testing.AllocsPerRun(1000, func() { top.Add(day, name, use) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestGatherLosesNothing compares what comes by two of them, as they are flushed now and then, with what was told.
func TestGatherLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top := newTop(t, Config{Clients: 4096})
		gathers := []*Gather{top.Gather(), top.Gather()}
		truth, now := map[string]counts{}, day
		for range rapid.IntRange(1, 600).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "ms")) * time.Millisecond)
			name := fmt.Sprint("client", rapid.IntRange(0, 90).Draw(t, "client"))
			if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
				name += strings.Repeat("x", gatherName)
			}
			u := Use{Limited: rapid.Uint64Range(0, 1).Draw(t, "limited"), Bytes: rapid.Uint64Range(0, 9).Draw(t, "bytes"), Upstream: time.Duration(rapid.IntRange(-1, 9).Draw(t, "ns"))}
			g := gathers[rapid.IntRange(0, 1).Draw(t, "gather")]
			g.Add(now, []byte(name), u)
			c := truth[name]
			c[ByRequests]++
			c[ByLimited] += u.Limited
			c[ByBytes] += u.Bytes
			c[ByUpstream] += uint64(max(u.Upstream, 0))
			truth[name] = c
			if rapid.IntRange(0, 50).Draw(t, "flush") == 0 {
				g.Flush()
			}
		}
		for _, g := range gathers {
			g.Flush()
		}
		got := top.Top(now, ByRequests, math.MaxInt)
		if len(got.Clients) != len(truth) {
			t.Fatalf("%d clients, want %d", len(got.Clients), len(truth))
		}
		for _, c := range got.Clients {
			if want := truth[c.Name]; c.Count != want[ByRequests] || c.Limited != want[ByLimited] || c.Bytes != want[ByBytes] || uint64(c.Upstream) != want[ByUpstream] {
				t.Errorf("%+v, want %v", c, want)
			}
		}
	})
}

func TestGatherKeepsNothingForLong(t *testing.T) {
	top := newTop(t, Config{})
	g := top.Gather()
	g.Add(day, []byte("a"), Use{})
	g.Add(day.Add(gatherTime), []byte("a"), Use{})
	for range gatherMost {
		g.Add(day, []byte("b"), Use{})
	}
	if got := top.Top(day, ByRequests, 10); got.Total != 2+gatherMost {
		t.Errorf("%+v", got)
	}
}

func TestConfigAndRanksAreValidated(t *testing.T) {
	for _, cfg := range []Config{{Clients: 15}, {Clients: maxClients + 1}, {Clients: -1}, {Window: time.Millisecond}, {Window: 25 * time.Hour}} {
		if top, err := New(cfg, day); top != nil || err == nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	names := map[string]bool{}
	for by := range ranks {
		if got, err := ParseBy(by.String()); got != by || err != nil {
			t.Errorf("%v: %v, %v", by, got, err)
		}
		names[by.String()] = true
	}
	if _, err := ParseBy("packets"); !errors.Is(err, ErrUnknownRank) || len(names) != int(ranks) {
		t.Errorf("%v, names %v", err, slices.Collect(maps.Keys(names)))
	}
	if got := newTop(t, Config{}).Top(day, ranks, 1); len(got.Clients) != 0 || ranks.String() != "unknown (4)" {
		t.Errorf("%+v", got)
	}
}

func BenchmarkAdd(b *testing.B) {
	top := newTop(b, Config{})
	names := make([][]byte, 10_000)
	for i := range names {
		names[i] = fmt.Append(nil, "10.0.", i>>8, ".", i&255)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		top.Add(day, names[(i*i)%len(names)], Use{Bytes: 100, Upstream: time.Millisecond})
	}
}
