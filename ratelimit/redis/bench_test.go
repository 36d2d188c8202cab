package redis

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"weir/ratelimit"
)

// BenchmarkTake is a decision by a Redis on this host, of 64 goroutines at once, under one policy and under three.
func BenchmarkTake(b *testing.B) {
	address := startRedis(b, "").address
	s := open(b, Config{Addresses: []string{address}}, perHour("a", 1<<20), perHour("b", 1<<20), perHour("c", 1<<20))
	for n := 1; n <= 3; n += 2 {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var clients atomic.Int64
			b.SetParallelism(32) // a CPU
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				key := strconv.AppendInt(nil, clients.Add(1), 10)
				checks := make([]ratelimit.Check, n)
				for i, name := range []string{"a", "b", "c"}[:n] {
					checks[i] = ratelimit.Check{Limit: s.Limit(name), Key: key, Cost: 1}
				}
				out := make([]ratelimit.Decision, n)
				for pb.Next() {
					if _, err := s.Take(b.Context(), checks, out); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkLease is a decision from a lease that is held, of one policy and of two, by one goroutine.
func BenchmarkLease(b *testing.B) {
	const units = 1 << 30
	s := openFake(b, newFakeServer(), Config{LeaseAge: time.Minute},
		leased("a", units, time.Hour, units, units/2), leased("b", units, time.Hour, units, units/2))
	for _, names := range [][]string{{"a"}, {"a", "b"}} {
		checks := checksOf(s, "x", 1, names...)
		out := make([]ratelimit.Decision, len(names))
		if _, err := s.Take(b.Context(), checks, out); err != nil {
			b.Fatal(err)
		}
		for _, name := range names {
			l := s.leaseOf(name, "x")
			l.home.mu.Lock()
			l.fresh = part{units: units / 2, at: s.clock()}
			l.home.mu.Unlock()
		}
		b.Run(strconv.Itoa(len(names)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if allowed, known := s.TryTake(checks, out); !allowed || !known {
					b.Fatal(allowed, known, out)
				}
			}
		})
	}
}

// BenchmarkGateways is three gateways on a Redis on this host, whose 64 clients each come to all three: within their quota,
// and at several times what it is.
func BenchmarkGateways(b *testing.B) {
	address := startRedis(b, "").address
	for _, load := range []struct {
		name  string
		count uint64
	}{{"within", 1 << 20}, {"beyond", 100}} {
		for mode := range modes {
			b.Run(load.name+"/"+mode.String(), func(b *testing.B) {
				var stores []*Store
				for range 3 {
					p := Policy{Quota: ratelimit.Quota{Name: load.name + mode.String(), Rate: ratelimit.Rate{Count: load.count, Per: time.Second}}, Mode: mode}
					stores = append(stores, open(b, Config{Addresses: []string{address}, Gateways: 3}, p))
				}
				var clients atomic.Int64
				b.SetParallelism(32) // a CPU
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					key := fmt.Sprint(clients.Add(1) % 64)
					var out [1]ratelimit.Decision
					var checks [3][]ratelimit.Check
					for i, s := range stores {
						checks[i] = checksOf(s, key, 1, load.name+mode.String())
					}
					for i := 0; pb.Next(); i++ {
						if _, err := stores[i%3].Take(b.Context(), checks[i%3], out[:]); err != nil {
							b.Error(err)
							return
						}
					}
				})
				var trips uint64
				for _, s := range stores {
					trips += s.Stats().Asked
				}
				b.ReportMetric(float64(trips)/float64(b.N), "trips/op")
			})
		}
	}
}
