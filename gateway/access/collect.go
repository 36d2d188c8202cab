package access

import (
	"weir/gateway/policy"
	"weir/internal/hist"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descRequests  = desc("requests_total", "Requests by route and by what became of them.", "route", "outcome")
	descResponses = desc("responses_total", "Answers by route and class of status; aborted: not whole.", "route", "class")
	descFailures  = desc("failures_total", "Requests that were admitted and answered with 500 or above, not at all, or not whole; but for those whose client went.", "route")
	descDecisions = desc("decisions_total", "Decisions by policy, of requests and of Envoy's calls; shadow: would be limited.", "policy", "result")
	descBytes     = desc("body_bytes_total", "Bytes of bodies, received from clients and sent to them.", "route", "direction")
	descRetries   = desc("retries_total", "Requests that were tried again at another server.", "route")
	descTotal     = desc("request_seconds", "Time from a request's head to the end of its answer.", "route")
	descUpstream  = desc("upstream_seconds", "Time from when the first server of an upstream was asked until the head of the last one's answer, or until it was given up; of each request, with what it was tried again.", "upstream")
	descAdded     = desc("added_seconds", "Time that the gateway took itself, until it sent the answer's head.", "route")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_gateway_"+name, help, labels, nil)
}

// bounds are those of the buckets for whoever does not take native histograms, seconds.
var bounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descResponses, descFailures, descDecisions, descBytes, descRetries, descTotal, descAdded, descUpstream} {
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
		ch <- hist.NewMetric(descTotal, &t.total, bounds, s.name)
		ch <- hist.NewMetric(descAdded, &t.added, bounds, s.name)
	})
	for name, s := range e.upstreams {
		ch <- hist.NewMetric(descUpstream, s.sum(), bounds, name)
	}
	for _, s := range e.policies {
		for i, n := range s.sum() {
			count(descDecisions, n, s.name, results[i])
		}
	}
}
