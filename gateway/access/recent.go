package access

import (
	"time"

	"weir/gateway/policy"
	"weir/internal/hist"
)

// MarkEvery is how often [Metrics.Mark] is to be called.
const MarkEvery = 15 * time.Second

// windowMarks is how many marks back [Metrics.Recent] looks: 60 to 75 s.
const windowMarks = 5

// mark is what a route's counters were at a time. The histograms are as they marshal, since most of their counters are 0; marks
// between which nobody came share them.
type mark struct {
	requests     [maxOutcomes]uint64
	failed       uint64
	count        uint64
	total, added []byte
}

// Mark notes what the counters are, for [Metrics.Recent].
func (m *Metrics) Mark(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.marks % windowMarks
	last := (m.marks + windowMarks - 1) % windowMarks
	m.now.Load().each(func(s *routeSeries) {
		var t sums
		s.addTo(&t)
		if s.marks[last].count == t.total.Count() {
			s.marks[at] = s.marks[last]
			return
		}
		s.marks[at] = mark{requests: t.requests, failed: t.failed, count: t.total.Count(), total: packed(&t.total), added: packed(&t.added)}
	})
	m.times[at] = now
	m.marks++
}

func packed(s *hist.Snapshot) []byte {
	b, err := s.MarshalBinary()
	if err != nil { // it never fails
		panic(err)
	}
	return b
}

// since takes off what a mark has.
func (t *sums) since(m *mark) {
	for o, n := range m.requests {
		t.requests[o] -= n
	}
	t.failed -= m.failed
	for _, h := range []struct {
		of   *hist.Snapshot
		then []byte
	}{{&t.total, m.total}, {&t.added, m.added}} {
		if h.then == nil {
			continue
		}
		var then hist.Snapshot
		if err := then.UnmarshalBinary(h.then); err != nil { // Mark made it
			panic(err)
		}
		h.of.Sub(&then)
	}
}

// Recent is what became of requests lately.
type Recent struct {
	// Seconds is how long that is: about a minute, or less as the gateway has just begun.
	Seconds   float64 `json:"seconds"`
	Requests  uint64  `json:"requests"`
	PerSecond float64 `json:"requests_per_second"`
	// Refused are those that the gateway did not admit, RefusedPart is of all, 0 to 1.
	Refused     uint64  `json:"refused"`
	RefusedPart float64 `json:"refused_part"`
	// Failed are those that it admitted and that had no whole answer, or one of 500 or above, unless the client went; FailedPart is of
	// all, 0 to 1.
	Failed     uint64  `json:"failed"`
	FailedPart float64 `json:"failed_part"`
	// Outcomes are the requests by outcome, but for those that none had.
	Outcomes map[string]uint64 `json:"outcomes"`
	// Total is the time from a request's head to the end of its answer, Added what of it the gateway took until it sent the answer's
	// head on. Seconds.
	Total Quantiles `json:"total_seconds"`
	Added Quantiles `json:"added_seconds"`
}

// Quantiles of times, in seconds, each at most an eighth too long; 0 of none.
type Quantiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
}

func quantiles(s *hist.Snapshot) Quantiles {
	at := func(q float64) float64 { return time.Duration(s.Quantile(q)).Seconds() }
	return Quantiles{at(.5), at(.9), at(.99), at(.999)}
}

// Recent is what became of the requests of all routes together, and of each by its name, in about the last minute.
func (m *Metrics) Recent(now time.Time) (all Recent, routes map[string]Recent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, oldest := m.begun, -1
	if m.marks >= windowMarks {
		oldest = m.marks % windowMarks
		from = m.times[oldest]
	}
	seconds := now.Sub(from).Seconds()
	var together sums
	routes = map[string]Recent{}
	m.now.Load().each(func(s *routeSeries) {
		var t sums
		s.addTo(&t)
		if oldest >= 0 {
			t.since(&s.marks[oldest])
		}
		for o, n := range t.requests {
			together.requests[o] += n
		}
		together.failed += t.failed
		together.total.Merge(&t.total)
		together.added.Merge(&t.added)
		routes[s.name] = recent(&t, seconds)
	})
	return recent(&together, seconds), routes
}

func recent(t *sums, seconds float64) Recent {
	r := Recent{Seconds: seconds, Failed: t.failed, Outcomes: map[string]uint64{}, Total: quantiles(&t.total), Added: quantiles(&t.added)}
	for _, o := range policy.Outcomes() {
		n := t.requests[o]
		if r.Requests += n; n > 0 {
			r.Outcomes[o.String()] = n
		}
	}
	r.Refused = r.Requests - t.requests[policy.Admitted]
	if seconds > 0 {
		r.PerSecond = float64(r.Requests) / seconds
	}
	if r.Requests > 0 {
		r.RefusedPart, r.FailedPart = float64(r.Refused)/float64(r.Requests), float64(r.Failed)/float64(r.Requests)
	}
	return r
}
