package gateway

import (
	"time"

	"weir/gateway/trace"
	"weir/gateway/upstream"
	"weir/internal/hist"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descConns    = desc("conns", "Client connections held.")
	descMaxConns = desc("max_conns", "Client connections that may be held: gateway.max_conns.")
	descAccepted = desc("accepted_total", "Client connections accepted.")
	descRefused  = desc("conns_refused_total", "Client connections refused.", "reason")
	descInFlight = desc("requests_in_flight", "Requests that are being served.")
	descReloads  = desc("reloads_total", "Configurations read again.", "result")
	descPressure = desc("quota_pressure_total", "Decisions for a client that had no place of its own, and shared a budget.")
	descServers  = desc("upstream_servers", "Servers of an upstream by state.", "upstream", "state")
	descPicks    = desc("upstream_requests_total", "Requests to an upstream by how they ended.", "upstream", "outcome")
	descRetries  = desc("upstream_retries_total", "Retries by whether the budget allowed them.", "upstream", "result")
	descEjected  = desc("upstream_ejections_total", "Servers ejected by what requests met.", "upstream")
	descPanic    = desc("upstream_panic_picks_total", "Picks while more servers looked bad than can be believed.", "upstream")
	descLines    = desc("access_log_lines_total", "Lines of the access log; dropped: the file is too slow, or cannot be written.", "result")
	descSpans    = desc("trace_spans_total", "Spans of requests and of their attempts at servers; dropped: too many waited; failed: no collector took them.", "result")
	descLag      = desc("loop_lag_seconds", "How late event loops took a turn that each is asked for ten times a second.")
	descStalled  = desc("loop_stalled_seconds", "How long the event loop that is stuck longest has not taken its turn, and still does not; 0: none is.")
	descAllDesc  = []*prometheus.Desc{descConns, descMaxConns, descAccepted, descRefused, descInFlight, descReloads, descPressure, descServers, descPicks, descRetries, descEjected, descPanic, descLines, descSpans, descLag, descStalled}
)

// lagBounds are the classic buckets of weir_gateway_loop_lag_seconds, in seconds.
var lagBounds = []float64{100e-6, 1e-3, 5e-3, 10e-3, 50e-3, 0.1, 0.5, 1, 5}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_gateway_"+name, help, labels, nil)
}

// Describe implements [prometheus.Collector].
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descAllDesc {
		ch <- d
	}
	s.metrics.Describe(ch)
	if s.rls != nil {
		s.rls.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(descConns, float64(s.conns.n.Load()))
	gauge(descMaxConns, float64(s.conns.most))
	count(descAccepted, s.conns.accepted.Load())
	for i, name := range refusalNames {
		count(descRefused, s.conns.refused[i].Load(), name)
	}
	var late hist.Snapshot
	var stalled time.Duration
	if loops := s.serving(); loops != nil {
		late, stalled = loops.Lag(time.Now())
	}
	ch <- hist.NewMetric(descLag, &late, lagBounds)
	gauge(descStalled, stalled.Seconds())
	gauge(descInFlight, float64(s.flight.InFlight()))
	count(descReloads, s.reloads[0].Load(), "taken")
	count(descReloads, s.reloads[1].Load(), "rejected")
	count(descPressure, s.store.Stats().Pressure)
	if pools := s.pools.Load(); pools != nil {
		for name, p := range *pools {
			collectPool(p, name, gauge, count)
		}
	}
	var written, dropped uint64
	if s.deps.Log != nil {
		written, dropped = s.deps.Log.Stats()
	}
	count(descLines, written, "written")
	count(descLines, dropped, "dropped")
	var spans trace.Stats
	if s.deps.Trace != nil {
		spans = s.deps.Trace.Stats()
	}
	count(descSpans, spans.Sent, "sent")
	count(descSpans, spans.Dropped, "dropped")
	count(descSpans, spans.Failed, "failed")
	s.metrics.Collect(ch)
	if s.rls != nil {
		s.rls.Collect(ch)
	}
}

func collectPool(p *upstream.Pool, name string, gauge func(*prometheus.Desc, float64, ...string), count func(*prometheus.Desc, uint64, ...string)) {
	states := map[upstream.State]int{}
	ended := map[upstream.Outcome]uint64{}
	for _, s := range p.Status(time.Now()) {
		states[s.State]++
		for _, o := range upstream.Outcomes() {
			ended[o] += s.Outcomes[o]
		}
	}
	for _, state := range upstream.States() {
		gauge(descServers, float64(states[state]), name, state.String())
	}
	for _, o := range upstream.Outcomes() {
		count(descPicks, ended[o], name, o.String())
	}
	c := p.Counters()
	count(descRetries, c.Retries, name, "allowed")
	count(descRetries, c.RetriesRefused, name, "refused")
	count(descEjected, c.Ejections, name)
	count(descPanic, c.InPanic, name)
}
