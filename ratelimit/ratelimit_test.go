package ratelimit

import (
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write testdata/gcra.json anew")

func TestParseRate(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Rate
	}{
		{"5000/s", Rate{5000, time.Second}},
		{"1_000_000/s", Rate{1000000, time.Second}},
		{"100/min", Rate{100, time.Minute}},
		{"1/10s", Rate{1, 10 * time.Second}},
		{"10/2h", Rate{10, 2 * time.Hour}},
		{"1/d", Rate{1, 24 * time.Hour}},
	} {
		got, err := ParseRate(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%s: %v, %v", tt.text, got, err)
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%s: printed as %s, which is %v, %v", tt.text, got, again, err)
		}
	}
	for _, text := range []string{"", "5", "5/", "/s", "0/s", "5/ms", "5/0s", "-1/s", "5/s/s", "5/99999999999d", "1.5/s"} {
		if r, err := ParseRate(text); !errors.Is(err, ErrBadRate) {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
}

func TestCompileRefusesWhatWouldOverflow(t *testing.T) {
	for _, tt := range []struct {
		rate  Rate
		burst uint64
		ok    bool
	}{
		{Rate{10_000_000, time.Second}, 1, true},
		{Rate{10_000_001, time.Second}, 1, false},
		{Rate{1, time.Minute}, 1, true},
		{Rate{1, time.Hour}, 24 * 365, true},
		{Rate{1, time.Hour}, 24*365 + 1, false},
		{Rate{1, time.Second}, 0, false},
		{Rate{0, time.Second}, 1, false},
		{Rate{1, 1 << 62}, 1, false},
		{Rate{1, time.Second}, 1 << 63, false},
	} {
		_, err := Compile(tt.rate, tt.burst)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrOutOfRange) {
			t.Errorf("%v burst %d: %v", tt.rate, tt.burst, err)
		}
	}
}

func TestRatesAreNeverRoundedUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := Rate{rapid.Uint64Range(1, 10_000_000).Draw(t, "count"), time.Second}
		p, err := Compile(rate, 1)
		if err != nil {
			t.Fatal(err)
		}
		const second = uint64(time.Second) * TicksPerNano
		if p.Interval*rate.Count < second || float64(p.Interval*rate.Count) > 1.0007*float64(second) {
			t.Fatalf("%d ticks apart", p.Interval)
		}
	})
}

// TestRaisedQuotaFreesAClient is what Clamp is for.
func TestRaisedQuotaFreesAClient(t *testing.T) {
	strict, err := Compile(Rate{1, 24 * time.Hour}, 10)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := Compile(Rate{1000, time.Second}, 50)
	if err != nil {
		t.Fatal(err)
	}
	now, tat := uint64(1), uint64(0)
	for ok := true; ok; {
		var next uint64
		if next, ok = GCRA(strict, tat, now); ok {
			tat = next
		}
	}
	if _, ok := GCRA(wide, tat, now+wide.Interval); ok {
		t.Fatal("it owes ten days")
	}
	if _, ok := GCRA(wide, Clamp(wide, tat, now), now+wide.Interval); !ok {
		t.Error("it is locked out for longer than the new quota can say")
	}
}

func TestNeverMoreThanBurstAndRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := Rate{rapid.Uint64Range(1, 1e6).Draw(t, "count"), time.Second}
		burst := rapid.Uint64Range(1, 1000).Draw(t, "burst")
		p, err := Compile(rate, burst)
		if err != nil {
			t.Fatal(err)
		}
		// Ten years of uptime, in ticks.
		start := uint64(10*365*24) * uint64(time.Hour) * TicksPerNano
		now, tat, admitted := start, uint64(0), uint64(0)
		for range 200 {
			now += rapid.Uint64Range(0, 3*p.Interval).Draw(t, "step")
			if next, ok := GCRA(p, tat, now); ok {
				tat = next
				admitted++
			}
		}
		if bound := burst + (now-start)/p.Interval; admitted > bound {
			t.Fatalf("admitted %d, the bound is %d", admitted, bound)
		}
	})
}

// Vector is one decision; the program in the kernel is held to the same file.
type Vector struct {
	Interval, Tolerance, TAT, Now, Next, Clamped uint64
}

func TestGoldenVectors(t *testing.T) {
	const path = "testdata/gcra.json"
	if *update {
		b, err := json.MarshalIndent(vectors(), "", " ")
		if err == nil {
			err = os.WriteFile(path, append(b, '\n'), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []Vector
	if err := json.Unmarshal(b, &all); err != nil || len(all) < 200 {
		t.Fatalf("%d vectors, %v", len(all), err)
	}
	for i, v := range all {
		p := Plan{v.Interval, v.Tolerance}
		if next, _ := GCRA(p, v.TAT, v.Now); next != v.Next {
			t.Errorf("vector %d: %d, want %d", i, next, v.Next)
		}
		if clamped := Clamp(p, v.TAT, v.Now); clamped != v.Clamped {
			t.Errorf("vector %d: clamped to %d, want %d", i, clamped, v.Clamped)
		}
	}
}

// vectors are random decisions and the edges of the algorithm.
func vectors() (all []Vector) {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	add := func(p Plan, tat, now uint64) {
		next, _ := GCRA(p, tat, now)
		all = append(all, Vector{p.Interval, p.Tolerance, tat, now, next, Clamp(p, tat, now)})
	}
	decade := uint64(10*365*24) * uint64(time.Hour) * TicksPerNano
	for _, r := range []Rate{{1, time.Minute}, {1, time.Second}, {1000, time.Second}, {7_000_000, time.Second}, {10_000_000, time.Second}} {
		for _, burst := range []uint64{1, 50} {
			p, err := Compile(r, burst)
			if err != nil {
				panic(err)
			}
			for _, now := range []uint64{0, 1, decade} {
				for _, ahead := range []uint64{0, 1, p.Tolerance, p.Tolerance + 1, p.Tolerance + p.Interval, p.Tolerance + p.Interval + 1} {
					add(p, now+ahead, now)
				}
				add(p, 0, now)
			}
			for range 10 {
				now := rng.Uint64N(decade)
				add(p, now+rng.Uint64N(2*(p.Tolerance+p.Interval))-min(now, p.Interval), now)
			}
		}
	}
	return all
}

func BenchmarkGCRA(b *testing.B) {
	p, err := Compile(Rate{1000, time.Second}, 50)
	if err != nil {
		b.Fatal(err)
	}
	var tat, now uint64
	b.ReportAllocs()
	for b.Loop() {
		now += 1000
		if next, ok := GCRA(p, tat, now); ok {
			tat = next
		}
	}
}
