package access

import (
	"strconv"
	"time"

	"weir/gateway/policy"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of a policy, as metrics have them.
const (
	resultAllowed = "allowed"
	resultLimited = "limited"
	resultShadow  = "shadow" // let through, as the policy is in shadow
)

// noRoute is the label of requests without a route.
const noRoute = "none"

// classes are the status classes of answers; of aborted ones there was no whole answer.
var classes = [...]string{"aborted", "1xx", "2xx", "3xx", "4xx", "5xx"}

// Metrics counts requests. Its series are of the routes and policies that it is told of.
type Metrics struct {
	requests  *prometheus.CounterVec
	responses *prometheus.CounterVec
	decisions *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	retries   *prometheus.CounterVec
	total     *prometheus.HistogramVec
	added     *prometheus.HistogramVec
}

// native are the options of a native histogram: each bucket is at most 10 % wider than the one before.
func native(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Namespace: "weir", Subsystem: "gateway", Name: name, Help: help,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}
}

// NewMetrics returns Metrics without any series: see [Metrics.Expect].
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "weir", Subsystem: "gateway", Name: name, Help: help}, labels)
	}
	return &Metrics{
		requests:  counter("requests_total", "Requests by route and by what became of them.", "route", "outcome"),
		responses: counter("responses_total", "Answers by route and class of status; aborted: not whole.", "route", "class"),
		decisions: counter("decisions_total", "Decisions by policy; shadow: would be limited.", "policy", "result"),
		bytes:     counter("body_bytes_total", "Bytes of bodies, received from clients and sent to them.", "route", "direction"),
		retries:   counter("retries_total", "Requests that were tried again at another server.", "route"),
		total:     prometheus.NewHistogramVec(native("request_seconds", "Time from a request's head to the end of its answer."), []string{"route"}),
		added:     prometheus.NewHistogramVec(native("added_seconds", "Time that the gateway took itself, until it sent the answer's head."), []string{"route"}),
	}
}

// Expect makes the series of a configuration, which are there from then on.
func (m *Metrics) Expect(r *policy.Rules) {
	routes := []string{noRoute}
	for _, route := range r.Routes() {
		routes = append(routes, route.Name)
	}
	for _, route := range routes {
		for _, o := range policy.Outcomes() {
			m.requests.WithLabelValues(route, o.String())
		}
		for _, c := range classes {
			m.responses.WithLabelValues(route, c)
		}
		m.bytes.WithLabelValues(route, "received")
		m.bytes.WithLabelValues(route, "sent")
		m.retries.WithLabelValues(route)
		m.total.WithLabelValues(route)
		m.added.WithLabelValues(route)
	}
	for _, p := range r.Config().Policies {
		for _, result := range []string{resultAllowed, resultLimited, resultShadow} {
			m.decisions.WithLabelValues(p.Quota.Name, result)
		}
	}
}

// Observe counts a request.
func (m *Metrics) Observe(r *Record) {
	route := r.Route
	if route == "" {
		route = noRoute
	}
	m.requests.WithLabelValues(route, r.Outcome.String()).Inc()
	class := classes[0]
	if c := r.Status / 100; c >= 1 && c < len(classes) && r.Err == nil || r.Status > 0 && r.Sent > 0 {
		class = strconv.Itoa(r.Status/100) + "xx"
	}
	m.responses.WithLabelValues(route, class).Inc()
	m.bytes.WithLabelValues(route, "received").Add(float64(r.Received))
	m.bytes.WithLabelValues(route, "sent").Add(float64(r.Sent))
	if r.Attempts > 1 {
		m.retries.WithLabelValues(route).Add(float64(r.Attempts - 1))
	}
	m.total.WithLabelValues(route).Observe(r.Total.Seconds())
	m.added.WithLabelValues(route).Observe(r.Added.Seconds())
	for _, p := range r.Policies {
		result := resultAllowed
		switch {
		case !p.Allowed && p.Shadow:
			result = resultShadow
		case !p.Allowed:
			result = resultLimited
		}
		m.decisions.WithLabelValues(p.Name, result).Inc()
	}
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.responses, m.decisions, m.bytes, m.retries, m.total, m.added}
}
