package edge

import (
	"weir/edge/loop"
	"weir/edge/tlsconn"
	"weir/internal/hist"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descConns         = prometheus.NewDesc("weir_edge_conns", "Conns held now.", nil, nil)
	descMaxConns      = prometheus.NewDesc("weir_edge_max_conns", "Conns that may be held: edge.max_conns, or what the descriptor limit allows if that is less.", nil, nil)
	descSubscriptions = prometheus.NewDesc("weir_edge_subscriptions", "Subscriptions held now.", nil, nil)
	descTopics        = prometheus.NewDesc("weir_edge_topics", "Topics open on this node.", nil, nil)
	descPatterns      = prometheus.NewDesc("weir_edge_patterns", "Patterns among the topics open on this node.", nil, nil)
	descMatches       = prometheus.NewDesc("weir_edge_pattern_matches_total", "Events matched with the patterns, by whether the answer for their topic was at hand.", []string{"answer"}, nil)
	descAccepted      = prometheus.NewDesc("weir_edge_accepted_total", "Handshakes answered with a subscription.", nil, nil)
	descAdopted       = prometheus.NewDesc("weir_edge_adopted_total", "Conns taken over from another process.", nil, nil)
	descDeflate       = prometheus.NewDesc("weir_edge_accepted_deflate_total", "Handshakes that agreed on permessage-deflate.", nil, nil)
	descDeflated      = prometheus.NewDesc("weir_edge_deflated_events_total", "Events that were compressed, once an encoding, however many conns they were written to.", nil, nil)
	descDeflateSaved  = prometheus.NewDesc("weir_edge_deflate_saved_bytes_total", "Bytes that compressing events saved, once an encoding.", nil, nil)
	descWrites        = prometheus.NewDesc("weir_edge_writes_total", "Writes that carried events or controls.", nil, nil)
	descDeliveries    = prometheus.NewDesc("weir_edge_deliveries_total", "Events written to conns.", nil, nil)
	descSentBytes     = prometheus.NewDesc("weir_edge_sent_bytes_total", "Bytes of frames handed to the kernel or queued for it.", nil, nil)
	descPings         = prometheus.NewDesc("weir_edge_pings_total", "Pings from clients.", nil, nil)
	descPongs         = prometheus.NewDesc("weir_edge_pongs_total", "Pongs from clients, asked for or not.", nil, nil)
	descStalls        = prometheus.NewDesc("weir_edge_inbox_stalls_total", "Times the broker's reader waited for a loop's inbox.", nil, nil)
	descLag           = prometheus.NewDesc("weir_edge_loop_lag_seconds", "How late event loops took a turn that each is asked for ten times a second.", nil, nil)
	descStalled       = prometheus.NewDesc("weir_edge_loop_stalled_seconds", "How long the event loop that is stuck longest has not taken its turn, and still does not; 0: none is.", nil, nil)
	descBehind        = prometheus.NewDesc("weir_edge_behind_subscriptions", "Subscriptions now that are not written to, since their conns have bytes outstanding.", nil, nil)
	descHeld          = prometheus.NewDesc("weir_edge_held_bytes", "Bytes held for clients that are behind, in the process and in their sockets.", []string{"where"}, nil)
	descSkipped       = prometheus.NewDesc("weir_edge_skipped_total", "Events that slow subscribers of topics in mode latest were not sent.", nil, nil)
	descOverflows     = prometheus.NewDesc("weir_edge_rate_overflows_total", "Conns let in without a look at the rate of their prefix, whose place others that owe had taken.", nil, nil)
	descClosed        = prometheus.NewDesc("weir_edge_closed_total", "Conns that ended, by reason.", []string{"reason"}, nil)
	descTLSConns      = prometheus.NewDesc("weir_edge_tls_conns", "TLS conns held now, by where their records are made.", []string{"layer"}, nil)
	descTLSHandshakes = prometheus.NewDesc("weir_edge_tls_handshakes_total", "TLS handshakes, by result: refused are those for which too many were under way.", []string{"result"}, nil)
	descTLSReloads    = prometheus.NewDesc("weir_edge_tls_reloads_total", "Changes of the files of certificates, by whether what they have can be served.", []string{"result"}, nil)
	descTLSNotTaken   = prometheus.NewDesc("weir_edge_tls_kernel_failures_total", "TLS conns that the kernel did not take, though it has TLS.", nil, nil)
	descTLSExpires    = prometheus.NewDesc("weir_edge_tls_certificate_expires_seconds", "When the first certificate expires, in seconds since 1970; 0: there is none.", nil, nil)
	descLatency       = prometheus.NewDesc("weir_edge_delivery_seconds", "Age of an event at its write to a conn, from the publisher's weir.", nil, nil)
)

// Bounds of classic buckets, in seconds: of weir_edge_delivery_seconds and of weir_edge_loop_lag_seconds.
var (
	latencyBounds = []float64{50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1, 2, 5}
	lagBounds     = []float64{100e-6, 1e-3, 5e-3, 10e-3, 50e-3, 0.1, 0.5, 1, 5}
)

// Describe implements [prometheus.Collector].
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descConns, descMaxConns, descSubscriptions, descTopics, descPatterns, descMatches, descAccepted, descAdopted, descDeflate, descDeflated, descDeflateSaved, descWrites,
		descDeliveries, descSentBytes, descPings, descPongs, descStalls, descLag, descStalled, descBehind, descHeld, descSkipped, descOverflows, descClosed, descLatency,
		descTLSConns, descTLSHandshakes, descTLSReloads, descTLSNotTaken, descTLSExpires,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	st := s.Stats()
	for _, m := range []struct {
		desc  *prometheus.Desc
		kind  prometheus.ValueType
		value float64
	}{
		{descConns, prometheus.GaugeValue, float64(st.Conns)},
		{descMaxConns, prometheus.GaugeValue, float64(st.MaxConns)},
		{descSubscriptions, prometheus.GaugeValue, float64(st.Subscriptions)},
		{descTopics, prometheus.GaugeValue, float64(st.Topics)},
		{descPatterns, prometheus.GaugeValue, float64(st.Patterns)},
		{descAccepted, prometheus.CounterValue, float64(st.Accepted)},
		{descAdopted, prometheus.CounterValue, float64(st.Adopted)},
		{descDeflate, prometheus.CounterValue, float64(st.AcceptedDeflate)},
		{descDeflated, prometheus.CounterValue, float64(st.Deflated.Events)},
		{descDeflateSaved, prometheus.CounterValue, float64(st.Deflated.SavedBytes)},
		{descWrites, prometheus.CounterValue, float64(st.Writes)},
		{descDeliveries, prometheus.CounterValue, float64(st.Deliveries)},
		{descSentBytes, prometheus.CounterValue, float64(st.SentBytes)},
		{descPings, prometheus.CounterValue, float64(st.Pings)},
		{descPongs, prometheus.CounterValue, float64(st.Pongs)},
		{descStalls, prometheus.CounterValue, float64(st.InboxStalls)},
		{descStalled, prometheus.GaugeValue, st.Stalled.Seconds()},
		{descBehind, prometheus.GaugeValue, float64(st.Behind)},
		{descSkipped, prometheus.CounterValue, float64(st.Skipped)},
		{descOverflows, prometheus.CounterValue, float64(st.RateOverflows)},
	} {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value)
	}
	ch <- prometheus.MustNewConstMetric(descMatches, prometheus.CounterValue, float64(st.Matched.Hits), "cached")
	ch <- prometheus.MustNewConstMetric(descMatches, prometheus.CounterValue, float64(st.Matched.Misses), "searched")
	ch <- prometheus.MustNewConstMetric(descHeld, prometheus.GaugeValue, float64(st.HeldProcess), "process")
	ch <- prometheus.MustNewConstMetric(descHeld, prometheus.GaugeValue, float64(st.HeldKernel), "kernel")
	collectTLS(ch, &st)
	for _, r := range loop.Reasons() {
		ch <- prometheus.MustNewConstMetric(descClosed, prometheus.CounterValue, float64(st.Closed[r]), r.String())
	}
	ch <- hist.NewMetric(descLatency, &st.Latency, latencyBounds)
	ch <- hist.NewMetric(descLag, &st.Lag, lagBounds)
}

func collectTLS(ch chan<- prometheus.Metric, st *Stats) {
	ch <- prometheus.MustNewConstMetric(descTLSConns, prometheus.GaugeValue, float64(st.TLSKernel), "kernel")
	ch <- prometheus.MustNewConstMetric(descTLSConns, prometheus.GaugeValue, float64(st.TLSProcess), "process")
	for _, r := range tlsconn.Results() {
		ch <- prometheus.MustNewConstMetric(descTLSHandshakes, prometheus.CounterValue, float64(st.TLS.Handshakes[r]), r.String())
	}
	ch <- prometheus.MustNewConstMetric(descTLSReloads, prometheus.CounterValue, float64(st.TLS.Reloaded), "taken")
	ch <- prometheus.MustNewConstMetric(descTLSReloads, prometheus.CounterValue, float64(st.TLS.Rejected), "rejected")
	ch <- prometheus.MustNewConstMetric(descTLSNotTaken, prometheus.CounterValue, float64(st.TLS.KernelFailed))
	var expires float64
	if !st.TLS.Expires.IsZero() {
		expires = float64(st.TLS.Expires.Unix())
	}
	ch <- prometheus.MustNewConstMetric(descTLSExpires, prometheus.GaugeValue, expires)
}
