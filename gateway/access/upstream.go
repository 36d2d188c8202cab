package access

import (
	"sync/atomic"
	"time"

	"weir/internal/hist"
)

// upstreamSeries is how long an upstream took.
type upstreamSeries struct {
	name  string
	gone  bool // the last configuration has no route to it
	cells []atomic.Pointer[hist.Histogram]
}

func (s *upstreamSeries) observe(shard uint32, took time.Duration) {
	at := &s.cells[int(shard)%len(s.cells)]
	c := at.Load()
	if c == nil {
		if c = new(hist.Histogram); !at.CompareAndSwap(nil, c) {
			c = at.Load()
		}
	}
	c.Record(int64(took))
}

// sum is of all shards.
func (s *upstreamSeries) sum() *hist.Snapshot {
	all, part := new(hist.Snapshot), new(hist.Snapshot)
	for i := range s.cells {
		if c := s.cells[i].Load(); c != nil {
			c.SnapshotInto(part)
			all.Merge(part)
		}
	}
	return all
}

// expectUpstreams gives each route the series of its upstream; those that no route has any more stay for a configuration.
func (next *expected) expectUpstreams(before *expected, to map[string]string, shards int) {
	for route, name := range to {
		if name == "" {
			continue
		}
		s := next.upstreams[name]
		if s == nil {
			if s = before.upstreams[name]; s == nil {
				s = &upstreamSeries{name: name, cells: make([]atomic.Pointer[hist.Histogram], shards)}
			}
			s.gone = false
			next.upstreams[name] = s
		}
		next.routes[route].upstream.Store(s)
	}
	for name, s := range before.upstreams {
		if next.upstreams[name] == nil && !s.gone {
			s.gone = true
			next.upstreams[name] = s
		}
	}
}
