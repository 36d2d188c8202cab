package rls

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// result is what became of a descriptor. Names are the series of metrics: new ones go before results.
type result uint8

const (
	resultAllowed result = iota
	resultOverLimit
	resultShadow        // let through, as the policy is in shadow
	resultUnmatched     // no rule is for it
	resultUnknownDomain // no rules are of its domain
	results
)

var resultNames = [results]string{"allowed", "over_limit", "shadow", "unmatched", "unknown_domain"}

// code is what a call was answered.
type code uint8

const (
	codeOK          code = iota
	codeOverLimit        // over a quota
	codeUnavailable      // over a quota since the store of shared quotas is gone, and a policy is closed then
	codeInvalid          // an error: nothing was decided
	callCodes
)

var codeNames = [callCodes]string{"ok", "over_limit", "unavailable", "invalid"}

var (
	descRequests    = desc("requests_total", "Calls of the rate limit service by answer; unavailable: refused without the shared store.", "code")
	descDescriptors = desc("descriptors_total", "Descriptors of its calls by what became of them.", "result")
	descOverrides   = desc("overrides_total", "Limits that descriptors had by whether they held.", "result")
	descConns       = desc("conns", "Connections of Envoys to the rate limit service.")
	descRefused     = desc("conns_refused_total", "Connections to it that were closed, as there were too many.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_gateway_rls_"+name, help, labels, nil)
}

// metrics are what a Server counts.
type metrics struct {
	requests    [callCodes]atomic.Uint64
	descriptors [results]atomic.Uint64
	overrides   [2]atomic.Uint64
	seconds     prometheus.Histogram
}

func newMetrics() *metrics {
	return &metrics{seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "weir_gateway_rls_seconds", Help: "Time that a call of the rate limit service took.",
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, 1},
	})}
}

// count counts a call.
func (m *metrics) count(x *call, c code, took time.Duration) {
	m.requests[c].Add(1)
	m.seconds.Observe(took.Seconds())
	if c == codeInvalid {
		return
	}
	for i := range x.n {
		m.descriptors[x.found[i].result].Add(1)
	}
	for i, n := range x.overridden {
		if n > 0 {
			m.overrides[i].Add(n)
		}
	}
}

// Describe implements [prometheus.Collector].
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descDescriptors, descOverrides, descConns, descRefused, s.metrics.seconds.Desc()} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for i := range s.metrics.requests {
		count(descRequests, s.metrics.requests[i].Load(), codeNames[i])
	}
	for i := range s.metrics.descriptors {
		count(descDescriptors, s.metrics.descriptors[i].Load(), resultNames[i])
	}
	count(descOverrides, s.metrics.overrides[0].Load(), "honored")
	count(descOverrides, s.metrics.overrides[1].Load(), "ignored")
	ch <- prometheus.MustNewConstMetric(descConns, prometheus.GaugeValue, float64(s.conns.Load()))
	count(descRefused, s.refused.Load())
	s.metrics.seconds.Collect(ch)
}
