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
	if _, ok := GCRA(wide, Clamp(tat, now, wide.Limit), now+wide.Interval); !ok {
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
		start := decade
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

// Vector is one decision, ByteVector one cost; the program in the kernel is held to the same file.
type (
	Vector     struct{ Cost, Limit, TAT, Now, Next, Clamped uint64 }
	ByteVector struct {
		Mult       uint64
		Shift      uint32
		Bytes, Out uint64
	}
	golden struct {
		Decisions []Vector
		ByteCosts []ByteVector
	}
)

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
	var all golden
	if err := json.Unmarshal(b, &all); err != nil || len(all.Decisions) < 200 || len(all.ByteCosts) < 100 {
		t.Fatalf("%d vectors, %d costs, %v", len(all.Decisions), len(all.ByteCosts), err)
	}
	for i, v := range all.Decisions {
		if next, _ := Charge(v.TAT, v.Now, v.Cost, v.Limit); next != v.Next {
			t.Errorf("vector %d: %d, want %d", i, next, v.Next)
		}
		if clamped := Clamp(v.TAT, v.Now, v.Limit); clamped != v.Clamped {
			t.Errorf("vector %d: clamped to %d, want %d", i, clamped, v.Clamped)
		}
	}
	for i, v := range all.ByteCosts {
		if out := (BytePlan{Mult: v.Mult, Shift: v.Shift}).Cost(v.Bytes); out != v.Out {
			t.Errorf("cost %d: %d, want %d", i, out, v.Out)
		}
	}
}

// vectors are random decisions and the edges of the algorithm.
func vectors() (all golden) {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	add := func(cost, limit, tat, now uint64) {
		next, _ := Charge(tat, now, cost, limit)
		all.Decisions = append(all.Decisions, Vector{cost, limit, tat, now, next, Clamp(tat, now, limit)})
	}
	edges := func(cost, limit uint64) {
		for _, now := range []uint64{0, 1, decade} {
			for _, ahead := range []uint64{0, 1, limit - min(limit, cost), limit - min(limit, cost) + 1, limit, limit + 1} {
				add(cost, limit, now+ahead, now)
			}
			add(cost, limit, 0, now)
		}
		for range 10 {
			now := rng.Uint64N(decade)
			add(cost, limit, now+rng.Uint64N(2*limit)-min(now, cost), now)
		}
	}
	for _, r := range []Rate{{1, time.Minute}, {1, time.Second}, {1000, time.Second}, {7_000_000, time.Second}, {10_000_000, time.Second}} {
		for _, burst := range []uint64{1, 50} {
			p, err := Compile(r, burst)
			if err != nil {
				panic(err)
			}
			edges(p.Interval, p.Limit)
		}
	}
	for _, r := range []ByteRate{{1000, time.Minute}, {64 << 10, time.Second}, {12_500_000_000, time.Second}} {
		p, err := CompileBytes(r, 1<<20)
		if err != nil {
			panic(err)
		}
		for _, n := range []uint64{0, 1, 14, 60, 64, 1514, 9014, 65549, 1 << 20} {
			edges(p.Cost(n), p.Limit)
			all.ByteCosts = append(all.ByteCosts, ByteVector{p.Mult, p.Shift, n, p.Cost(n)})
		}
		for range 30 {
			n := rng.Uint64N(1 << 20)
			all.ByteCosts = append(all.ByteCosts, ByteVector{p.Mult, p.Shift, n, p.Cost(n)})
		}
	}
	return all
}

// decade is ten years of uptime.
const decade = uint64(10*365*24) * uint64(time.Hour) * TicksPerNano

func TestParseByteRate(t *testing.T) {
	for _, tt := range []struct {
		text string
		want ByteRate
	}{
		{"5000B/s", ByteRate{5000, time.Second}},
		{"10MB/s", ByteRate{10_000_000, time.Second}},
		{"64KiB/min", ByteRate{64 << 10, time.Minute}},
		{"100Gbit/s", ByteRate{12_500_000_000, time.Second}},
		{"1_000kB/10s", ByteRate{1_000_000, 10 * time.Second}},
		{"1GiB/h", ByteRate{1 << 30, time.Hour}},
	} {
		got, err := ParseByteRate(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%s: %v, %v", tt.text, got, err)
		}
		if again, err := ParseByteRate(got.String()); err != nil || again != got {
			t.Errorf("%s: printed as %s, which is %v, %v", tt.text, got, again, err)
		}
	}
	for _, text := range []string{"", "5/s", "5MB", "MB/s", "0B/s", "5mb/s", "7bit/s", "5MB/ms", "99999999999999GB/s"} {
		if r, err := ParseByteRate(text); !errors.Is(err, ErrBadRate) {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
}

func TestByteRatesAreNeverExceededAndMissedByLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := ByteRate{rapid.Uint64Range(17, 12_500_000_000).Draw(t, "bytes"), time.Second}
		frame := rapid.Uint64Range(60, 65549).Draw(t, "frame")
		p, err := CompileBytes(rate, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		const second = float64(time.Second) * TicksPerNano
		exact := float64(frame) / float64(rate.Bytes) * second
		if got := float64(p.Cost(frame)); got < exact*(1-1e-12) || got > exact*1.01+1 {
			t.Fatalf("a frame of %d costs %v ticks, want %v", frame, got, exact)
		}
	})
}

func TestCompileBytesRefusesWhatWouldOverflow(t *testing.T) {
	for _, tt := range []struct {
		rate  ByteRate
		burst uint64
		ok    bool
	}{
		{ByteRate{12_500_000_000, time.Second}, 1 << 30, true},
		{ByteRate{12_500_000_001, time.Second}, 1 << 30, false},
		{ByteRate{1000, time.Minute}, MinBurstBytes, true},
		{ByteRate{1000, time.Minute}, MinBurstBytes - 1, false},
		{ByteRate{1, time.Minute}, 1 << 20, false},
		{ByteRate{0, time.Second}, 1 << 20, false},
		{ByteRate{1000, time.Second}, 1 << 63, false},
		{ByteRate{1000, 1 << 62}, 1 << 20, false},
	} {
		_, err := CompileBytes(tt.rate, tt.burst)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrOutOfRange) {
			t.Errorf("%v burst %d: %v", tt.rate, tt.burst, err)
		}
	}
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
