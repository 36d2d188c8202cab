package local

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"weir/ratelimit"
)

// BenchmarkTouch is a read of one word of as much memory as a million clients of [BenchmarkTake] take, at random,
// each where the one before says: what a decision about a client that is in no cache costs at least.
func BenchmarkTouch(b *testing.B) {
	lines := make([]set, store(b, 1_000_000).sets*shards)
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	order := r.Perm(len(lines))
	for i, at := range order {
		lines[at].hash[0] = uint64(order[(i+1)%len(order)]) //nolint:gosec // an index
	}
	at := uint64(0)
	for b.Loop() {
		at = lines[at].hash[0]
	}
	b.ReportMetric(float64(at&1), "parity") // it is used
}

// BenchmarkTake is one decision, of one client or of a million at random, by each algorithm, and under three
// policies at once.
func BenchmarkTake(b *testing.B) {
	rate := ratelimit.Rate{Count: 1_000_000, Per: time.Second}
	gcra := limit(b, ratelimit.Quota{Name: "per client", Rate: rate})
	counter := limit(b, ratelimit.Quota{Name: "per minute", Algorithm: ratelimit.AlgorithmCounter, Rate: rate})
	log := limit(b, ratelimit.Quota{Name: "logins", Algorithm: ratelimit.AlgorithmLog, Rate: ratelimit.Rate{Count: 10, Per: time.Minute}})
	for _, bb := range []struct {
		name   string
		limits []*ratelimit.Limit
	}{
		{"gcra", []*ratelimit.Limit{gcra}},
		{"counter", []*ratelimit.Limit{counter}},
		{"log", []*ratelimit.Limit{log}},
		{"three", []*ratelimit.Limit{gcra, counter, log}},
	} {
		for _, clients := range []int{1, 1_000_000} {
			b.Run(bb.name+"/"+strconv.Itoa(clients), func(b *testing.B) { benchmarkTake(b, bb.limits, clients) })
		}
	}
}

func benchmarkTake(b *testing.B, limits []*ratelimit.Limit, clients int) {
	b.Helper()
	s := store(b, max(1024, clients*len(limits)))
	keys := make([][4]byte, clients) // as of an IPv4 address
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	for i := range keys {
		binary.BigEndian.PutUint32(keys[i][:], r.Uint32())
	}
	// One after the other in memory, as those of requests are at hand: only the store is to be missed.
	order := make([][4]byte, 1<<20)
	for i := range order {
		order[i] = keys[r.IntN(clients)]
	}
	checks := make([]ratelimit.Check, len(limits))
	for i, l := range limits {
		checks[i] = ratelimit.Check{Limit: l, Cost: 1}
	}
	out := make([]ratelimit.Decision, len(limits))
	now := second
	for i := range keys {
		for j := range checks {
			checks[j].Key = keys[i][:]
		}
		s.Take(now, checks, out)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key := order[i%len(order)][:]
		for j := range checks {
			checks[j].Key = key
		}
		now += 1000
		s.Take(now, checks, out)
	}
	b.ReportMetric(float64(s.Stats().Pressure), "pressure")
}
