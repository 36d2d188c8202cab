package access

import (
	"sync/atomic"
	"testing"
	"time"

	"weir/gateway/policy"
)

func BenchmarkObserve(b *testing.B) {
	for name, apart := range map[string]uint32{"a shard each": 1, "one shard": 0} {
		b.Run(name, func(b *testing.B) {
			m := NewMetrics(2, start)
			m.Expect(rulesOf(b, []string{"all"}, []string{"burst", "day"}))
			var shards atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := &Record{
					Shard: shards.Add(apart), Route: "all", Outcome: policy.Admitted, Status: 200, Received: 10, Sent: 1000, Attempts: 1,
					Total: 1500 * time.Microsecond, Added: 40 * time.Microsecond, Upstream: time.Millisecond, Policies: []Asked{{Name: "burst", Allowed: true}, {Name: "day", Allowed: true}},
				}
				for pb.Next() {
					r.Total += 37
					m.Observe(r)
				}
			})
		})
	}
}
