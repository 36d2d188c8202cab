package access

import (
	"maps"
	"slices"

	"weir/gateway/policy"
	"weir/internal/hist"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

var (
	descRequests  = desc("requests_total", "Requests by route and by what became of them.", "route", "outcome")
	descResponses = desc("responses_total", "Answers by route and class of status; aborted: not whole.", "route", "class")
	descFailures  = desc("failures_total", "Requests that were admitted and answered with 500 or above, not at all, or not whole; but for those whose client went.", "route")
	descDecisions = desc("decisions_total", "Decisions by policy, of requests and of Envoy's calls; shadow: would be limited.", "policy", "result")
	descBytes     = desc("body_bytes_total", "Bytes of bodies, received from clients and sent to them.", "route", "direction")
	descRetries   = desc("retries_total", "Requests that were tried again at another server.", "route")
	descTotal     = desc("request_seconds", "Time from a request's head to the end of its answer.", "route")
	descAdded     = desc("added_seconds", "Time that the gateway took itself, until it sent the answer's head.", "route")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_gateway_"+name, help, labels, nil)
}

// bounds are those of the buckets for whoever does not take native histograms, seconds.
var bounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descResponses, descFailures, descDecisions, descBytes, descRetries, descTotal, descAdded} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	e := m.now.Load()
	e.each(func(s *routeSeries) {
		var t sums
		s.addTo(&t)
		for _, o := range policy.Outcomes() {
			count(descRequests, t.requests[o], s.name, o.String())
		}
		for i, class := range classes {
			count(descResponses, t.classes[i], s.name, class)
		}
		count(descFailures, t.failed, s.name)
		count(descBytes, t.received, s.name, "received")
		count(descBytes, t.sent, s.name, "sent")
		count(descRetries, t.retries, s.name)
		ch <- &histogram{descTotal, s.name, &t.total}
		ch <- &histogram{descAdded, s.name, &t.added}
	})
	for _, s := range e.policies {
		for i, n := range s.sum() {
			count(descDecisions, n, s.name, results[i])
		}
	}
}

// histogram is a snapshot as a native histogram, and as one of fixed buckets.
type histogram struct {
	desc  *prometheus.Desc
	route string
	of    *hist.Snapshot
}

// Desc implements [prometheus.Metric].
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements [prometheus.Metric].
func (h *histogram) Write(out *dto.Metric) error {
	out.Label = prometheus.MakeLabelPairs(h.desc, []string{h.route})
	zero, buckets := h.of.Native()
	out.Histogram = &dto.Histogram{
		SampleCount: new(h.of.Count()), SampleSum: new(float64(h.of.Sum()) / 1e9),
		Schema: new(int32(hist.NativeSchema)), ZeroThreshold: new(1e-9), ZeroCount: new(zero),
	}
	below := h.of.Buckets(bounds)
	for _, b := range bounds {
		out.Histogram.Bucket = append(out.Histogram.Bucket, &dto.Bucket{UpperBound: new(b), CumulativeCount: new(below[b])})
	}
	spans(out.Histogram, buckets)
	return nil
}

// spans writes buckets as runs, each behind a gap, and each count as the difference to the one before.
func spans(out *dto.Histogram, buckets map[int]uint64) {
	if len(buckets) == 0 { // by a span it is known to be native
		out.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}}
		return
	}
	next, before := 0, int64(0)
	var span *dto.BucketSpan
	for _, i := range slices.Sorted(maps.Keys(buckets)) {
		if span == nil || i != next {
			span = &dto.BucketSpan{Offset: new(int32(i - next)), Length: new(uint32(0))} //nolint:gosec // there are few buckets
			out.PositiveSpan = append(out.PositiveSpan, span)
		}
		*span.Length++
		n := int64(buckets[i]) //nolint:gosec // nobody counts so far
		out.PositiveDelta = append(out.PositiveDelta, n-before)
		next, before = i+1, n
	}
}
