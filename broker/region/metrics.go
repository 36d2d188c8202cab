package region

import "github.com/prometheus/client_golang/prometheus"

// Values of the label outcome.
const (
	outcomeRecovered = "recovered"
	outcomeHole      = "hole"
	outcomeFailed    = "failed"
	outcomeRefused   = "refused"
)

// counts are the node's metrics.
type counts struct {
	events     prometheus.Counter
	duplicates prometheus.Counter
	repaired   prometheus.Counter
	retries    prometheus.Counter
	gaps       *prometheus.CounterVec
	recoveries *prometheus.CounterVec
	forgotten  prometheus.Counter
}

var (
	descTopics   = prometheus.NewDesc("weir_broker_topics", "Topics subscribed to.", nil, nil)
	descPatterns = prometheus.NewDesc("weir_broker_patterns", "Patterns subscribed to.", nil, nil)
	descSeen     = prometheus.NewDesc("weir_broker_seen_topics", "Topics known through patterns alone.", nil, nil)
)

func (c *counts) init() {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	c.events = counter("weir_broker_events_total", "Events handed to the edge.")
	c.duplicates = counter("weir_broker_duplicates_total", "Events that came twice and were dropped.")
	c.repaired = counter("weir_broker_repaired_events_total", "Events read from the stream because they did not come live.")
	c.retries = counter("weir_broker_repair_retries_total", "Times a repair found no bus, and waited to ask again.")
	c.forgotten = counter("weir_broker_forgotten_topics_total", "Topics known through patterns alone that were forgotten for others.")
	c.gaps = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_broker_gaps_total", Help: "Gaps, by what became of them."}, []string{"outcome"})
	c.recoveries = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_broker_recoveries_total", Help: "Resumes asked of the stream, by outcome."}, []string{"outcome"})
	for _, o := range []string{outcomeRecovered, outcomeHole} {
		c.gaps.WithLabelValues(o)
		c.recoveries.WithLabelValues(o)
	}
	c.recoveries.WithLabelValues(outcomeFailed)
	c.recoveries.WithLabelValues(outcomeRefused)
}

func (n *Node) collectors() []prometheus.Collector {
	return []prometheus.Collector{n.counts.events, n.counts.duplicates, n.counts.repaired, n.counts.retries, n.counts.gaps, n.counts.recoveries, n.counts.forgotten}
}

// Describe implements [prometheus.Collector].
func (n *Node) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range n.collectors() {
		c.Describe(ch)
	}
	ch <- descTopics
	ch <- descPatterns
	ch <- descSeen
}

// Collect implements [prometheus.Collector].
func (n *Node) Collect(ch chan<- prometheus.Metric) {
	for _, c := range n.collectors() {
		c.Collect(ch)
	}
	n.mu.Lock()
	seen := n.patterns.seen.Len()
	topics, patterns := len(n.topics)-seen, len(n.patterns.byName)
	n.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(descTopics, prometheus.GaugeValue, float64(topics))
	ch <- prometheus.MustNewConstMetric(descPatterns, prometheus.GaugeValue, float64(patterns))
	ch <- prometheus.MustNewConstMetric(descSeen, prometheus.GaugeValue, float64(seen))
}
