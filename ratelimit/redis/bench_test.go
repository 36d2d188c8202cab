package redis

import (
	"strconv"
	"sync/atomic"
	"testing"

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
