package access

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/gateway/policy"
	"weir/internal/hist"
)

// noRoute is the label of requests without a route.
const noRoute = "none"

// classes are the status classes of answers; of aborted ones there was no whole answer.
var classes = [...]string{"aborted", "1xx", "2xx", "3xx", "4xx", "5xx"}

// Results of a policy, as metrics have them.
var results = [...]string{"allowed", "limited", "shadow"} // the last is let through, as the policy is in shadow

// resultOf is what a policy said, as an index of results.
func resultOf(a *Asked) int {
	switch {
	case a.Allowed:
		return 0
	case a.Shadow:
		return 2
	}
	return 1
}

// maxOutcomes bounds the outcomes, a power of two.
const maxOutcomes = 16

// Metrics counts requests. Its series are of the routes and policies that it is told of, and there from then on; those that a
// configuration no longer has stay until the one after it, as requests may still be by them, and then go.
//
// What is counted is counted in shards, which are summed when somebody looks: event loops do not wait for each other.
type Metrics struct {
	shards int
	now    atomic.Pointer[expected]
	begun  time.Time

	mu    sync.Mutex // of what follows, and of whoever replaces now
	marks int        // so many were made
	times [windowMarks]time.Time
}

// expected are the series, which only [Metrics.Expect] changes, by making others.
type expected struct {
	routes   map[string]*routeSeries // "" is noRoute too
	policies map[string]*policySeries
	// upstreams are those of routes.
	upstreams map[string]*upstreamSeries
}

// routeSeries are those of a route.
type routeSeries struct {
	name  string
	gone  bool // the last configuration does not have it
	cells []atomic.Pointer[cell]
	marks [windowMarks]mark
	// upstream is where its requests go; nil without one.
	upstream atomic.Pointer[upstreamSeries]
}

// cell is a shard of a route's, made when it is first counted in.
type cell struct {
	requests       [maxOutcomes]atomic.Uint64
	classes        [len(classes)]atomic.Uint64
	failed         atomic.Uint64
	received, sent atomic.Uint64
	retries        atomic.Uint64
	total, added   hist.Histogram
}

// policySeries are those of a policy.
type policySeries struct {
	name  string
	gone  bool
	cells []policyCell
}

// policyCell is a shard, on a cache line of its own.
type policyCell struct {
	results [len(results)]atomic.Uint64
	_       [64 - 8*len(results)]byte
}

// NewMetrics returns Metrics of requests without a route alone, before [Metrics.Expect]. shards is how many CPUs count at a
// time, 1 or more.
func NewMetrics(shards int, now time.Time) *Metrics {
	m := &Metrics{shards: max(shards, 1), begun: now}
	m.now.Store(&expected{})
	m.expect(nil, nil)
	return m
}

// Expect makes the series of a configuration.
func (m *Metrics) Expect(r *policy.Rules) {
	var policies []string
	routes := map[string]string{}
	for _, route := range r.Routes() {
		routes[route.Name] = route.Upstream
	}
	for _, p := range r.Config().Policies {
		policies = append(policies, p.Quota.Name)
	}
	m.expect(routes, policies)
}

// expect makes the series of routes, to upstreams, and of policies.
func (m *Metrics) expect(routes map[string]string, policies []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.now.Load()
	next := &expected{routes: map[string]*routeSeries{}, policies: map[string]*policySeries{}, upstreams: map[string]*upstreamSeries{}}
	for _, name := range append(slices.Collect(maps.Keys(routes)), noRoute) {
		s := before.routes[name]
		if s == nil {
			s = &routeSeries{name: name, cells: make([]atomic.Pointer[cell], m.shards)}
		}
		s.gone = false
		next.routes[name] = s
	}
	next.routes[""] = next.routes[noRoute]
	for name, s := range before.routes {
		if next.routes[name] == nil && !s.gone {
			s.gone = true
			next.routes[name] = s
		}
	}
	for _, name := range policies {
		s := before.policies[name]
		if s == nil {
			s = &policySeries{name: name, cells: make([]policyCell, m.shards)}
		}
		s.gone = false
		next.policies[name] = s
	}
	for name, s := range before.policies {
		if next.policies[name] == nil && !s.gone {
			s.gone = true
			next.policies[name] = s
		}
	}
	next.expectUpstreams(before, routes, m.shards)
	m.now.Store(next)
}

// Observe counts a request. A route that is not known counts as none, a policy that is not does not. Nothing is allocated, but
// for the first of a route in a shard.
func (m *Metrics) Observe(r *Record) {
	e := m.now.Load()
	s := e.routes[r.Route]
	if s == nil {
		s = e.routes[""]
	}
	c := s.cell(r.Shard)
	c.requests[r.Outcome%maxOutcomes].Add(1)
	c.classes[classOf(r)].Add(1)
	if r.Failed() {
		c.failed.Add(1)
	}
	if r.Received > 0 {
		c.received.Add(uint64(r.Received))
	}
	if r.Sent > 0 {
		c.sent.Add(uint64(r.Sent))
	}
	if r.Attempts > 1 {
		c.retries.Add(uint64(r.Attempts - 1))
	}
	c.total.Record(int64(r.Total))
	c.added.Record(int64(r.Added))
	if r.Upstream > 0 {
		if u := s.upstream.Load(); u != nil {
			u.observe(r.Shard, r.Upstream)
		}
	}
	for i := range r.Policies {
		e.count(r.Shard, &r.Policies[i])
	}
}

// Count counts a decision of a policy that was made of no request here. One that is not known does not count. Nothing is
// allocated.
func (m *Metrics) Count(shard uint32, a Asked) { m.now.Load().count(shard, &a) }

func (e *expected) count(shard uint32, a *Asked) {
	if s := e.policies[a.Name]; s != nil {
		s.cells[int(shard)%len(s.cells)].results[resultOf(a)].Add(1)
	}
}

// classOf is an index of classes.
func classOf(r *Record) int {
	if c := r.Status / 100; c >= 1 && c < len(classes) && !r.Cut {
		return c
	}
	return 0
}

func (s *routeSeries) cell(shard uint32) *cell {
	at := &s.cells[int(shard)%len(s.cells)]
	if c := at.Load(); c != nil {
		return c
	}
	c := &cell{}
	if at.CompareAndSwap(nil, c) {
		return c
	}
	return at.Load()
}

// sums are a route's, over its shards.
type sums struct {
	requests       [maxOutcomes]uint64
	classes        [len(classes)]uint64
	failed         uint64
	received, sent uint64
	retries        uint64
	total, added   hist.Snapshot
}

// addTo adds what s has.
func (s *routeSeries) addTo(t *sums) {
	var part hist.Snapshot
	for i := range s.cells {
		c := s.cells[i].Load()
		if c == nil {
			continue
		}
		for o := range c.requests {
			t.requests[o] += c.requests[o].Load()
		}
		for o := range c.classes {
			t.classes[o] += c.classes[o].Load()
		}
		t.failed += c.failed.Load()
		t.received += c.received.Load()
		t.sent += c.sent.Load()
		t.retries += c.retries.Load()
		c.total.SnapshotInto(&part)
		t.total.Merge(&part)
		c.added.SnapshotInto(&part)
		t.added.Merge(&part)
	}
}

func (s *policySeries) sum() (all [len(results)]uint64) {
	for i := range s.cells {
		for r := range all {
			all[r] += s.cells[i].results[r].Load()
		}
	}
	return all
}

// each calls yield for the routes, none among them, once each.
func (e *expected) each(yield func(*routeSeries)) {
	for name, s := range e.routes {
		if name != "" {
			yield(s)
		}
	}
}

// Decisions is what a policy said so far, by result.
func (m *Metrics) Decisions(name string) map[string]uint64 {
	out := map[string]uint64{}
	if s := m.now.Load().policies[name]; s != nil {
		for i, n := range s.sum() {
			out[results[i]] = n
		}
	}
	return out
}
