package hub

import (
	"fmt"
	"testing"

	"weir/broker"
)

// nullConn takes all at once.
type nullConn struct {
	shard *Shard
	bytes int
}

func (c *nullConn) Fell()                   {}
func (c *nullConn) Skipped(uint64)          {}
func (c *nullConn) Blocked() bool           { return false }
func (c *nullConn) Deliver(b []byte, _ int) { c.bytes += len(b) }

func (c *nullConn) Opened(s *Sub, err error) {
	if err == nil {
		c.shard.Start(s)
	}
}

// BenchmarkSweep is what the hub itself costs a delivery: one topic, conns that cost nothing.
func BenchmarkSweep(b *testing.B) {
	for _, batch := range []uint64{1, 64} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			r, stop := startRig(&testing.T{}, Config{})
			defer stop()
			first := r.live("x", RawWS)
			r.shard.Unsubscribe(first.sub) // which would keep all it is given
			const conns = 10_000
			for range conns {
				c := &nullConn{shard: r.shard}
				sub, _, err := r.shard.Subscribe(c, "x", RawWS, broker.Position{})
				if err != nil {
					b.Fatal(err)
				}
				r.shard.Start(sub)
			}
			data, offset := make([]byte, 128), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				for range batch {
					offset++
					r.hub.Deliver([]*broker.Event{{Topic: "x", Position: pos(offset), OriginNanos: 1, Data: data}})
				}
				drain(r.woken)
				r.settle()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/conns, "ns/delivery")
		})
	}
}
