package upstream

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkPickDone(b *testing.B) {
	for _, balance := range []Balance{LeastRequest, RoundRobin, Hash} {
		for _, n := range []int{4, 64} {
			for _, weights := range [][]int{{1}, {1, 2, 3}} {
				cfg := Config{Servers: servers(n, weights...), Balance: balance, MaxConns: 1000}
				name := fmt.Sprintf("%v/servers=%d/weights=%d", balance, n, len(weights))
				b.Run(name, func(b *testing.B) {
					p, now := benched(b, cfg)
					b.ReportAllocs()
					var key uint64
					for b.Loop() {
						key++
						s, err := p.Pick(now, key, nil)
						if err != nil {
							b.Fatal(err)
						}
						s.Done(now, OK, time.Millisecond)
					}
				})
				b.Run(name+"/parallel", func(b *testing.B) {
					p, now := benched(b, cfg)
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						var key uint64
						for pb.Next() {
							key++
							s, err := p.Pick(now, key, nil)
							if err != nil {
								b.Error(err)
								return
							}
							s.Done(now, OK, time.Millisecond)
						}
					})
				})
			}
		}
	}
}

// benched is a pool with the random bits of production.
func benched(b *testing.B, cfg Config) (*Pool, time.Time) {
	b.Helper()
	now := time.Now()
	p, err := New(cfg, Env{}, now)
	if err != nil {
		b.Fatal(err)
	}
	return p, now
}
