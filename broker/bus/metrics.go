package bus

import (
	"errors"
	"sync/atomic"
	"time"

	"weir/broker"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are the bus's metrics.
type counts struct {
	stored    atomic.Uint64
	published prometheus.CounterFunc
	errors    *prometheus.CounterVec
	seconds   prometheus.Histogram
	lost      prometheus.Counter

	reconnects    prometheus.Counter
	subscriptions [kinds]atomic.Int64
	// switches are those of shards, to the kind.
	switches [kinds]atomic.Uint64
	unwanted atomic.Uint64
}

// Reasons of weir_bus_publish_errors_total.
const (
	reasonTooLarge    = "too_large"
	reasonUnavailable = "unavailable"
	reasonBadTopic    = "bad_topic"
)

var (
	descLinkUp        = prometheus.NewDesc("weir_broker_link_up", "Whether the bus can be reached: 1, or 0.", nil, nil)
	descShards        = prometheus.NewDesc("weir_bus_shards", "Shards in use.", nil, nil)
	descSubscriptions = prometheus.NewDesc("weir_bus_link_subscriptions", "Subscriptions to live events, by what they are to.", []string{"to"}, nil)
	descSwitches      = prometheus.NewDesc("weir_bus_link_switches_total", "Shards that a link began to subscribe to as a whole, or by topic again.", []string{"to"}, nil)
	descUnwanted      = prometheus.NewDesc("weir_bus_link_unwanted_total", "Events that came with those of their shard, and that nobody subscribed to.", nil, nil)
	descMaxBytes      = prometheus.NewDesc("weir_bus_max_bytes", "Bytes that may be stored over all shards: bus.max_bytes; 0: another process stores them.", nil, nil)
	descShardMax      = prometheus.NewDesc("weir_bus_shard_max_bytes", "The part of them that each shard has, and drops its oldest events at; 0: another process stores them.", nil, nil)
	descMemory        = prometheus.NewDesc("weir_bus_stored_bytes", "Bytes stored, by storage.", []string{"storage"}, nil)
)

func (c *counts) init() {
	c.published = prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "weir_bus_published_total", Help: "Events stored and acknowledged."},
		func() float64 { return float64(c.stored.Load()) })
	c.errors = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_bus_publish_errors_total", Help: "Events not stored, by reason."}, []string{"reason"})
	for _, r := range []string{reasonTooLarge, reasonUnavailable, reasonBadTopic} {
		c.errors.WithLabelValues(r)
	}
	c.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "weir_bus_publish_seconds", Help: "Time from publish to acknowledgment.", Buckets: prometheus.ExponentialBuckets(25e-6, 2, 16),
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	})
	c.lost = prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_bus_link_losses_total", Help: "Times a link fell behind or reconnected, so that events may be missing from it."})
	c.reconnects = prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_broker_link_reconnects_total", Help: "Times a link to the bus was connected anew."})
}

func (c *counts) failed(err error) {
	reason := reasonUnavailable
	switch {
	case errors.Is(err, broker.ErrTooLarge):
		reason = reasonTooLarge
	case errors.Is(err, broker.ErrBadTopic):
		reason = reasonBadTopic
	}
	c.errors.WithLabelValues(reason).Inc()
}

// Published is the number of events stored since the start.
func (b *Bus) Published() uint64 { return b.counts.stored.Load() }

// Describe implements [prometheus.Collector].
func (b *Bus) Describe(ch chan<- *prometheus.Desc) {
	b.counts.published.Describe(ch)
	b.counts.errors.Describe(ch)
	b.counts.seconds.Describe(ch)
	b.counts.lost.Describe(ch)
	b.counts.reconnects.Describe(ch)
	ch <- descLinkUp
	ch <- descSubscriptions
	ch <- descSwitches
	ch <- descUnwanted
	ch <- descShards
	ch <- descMemory
	ch <- descMaxBytes
	ch <- descShardMax
}

// Collect implements [prometheus.Collector].
func (b *Bus) Collect(ch chan<- prometheus.Metric) {
	b.counts.published.Collect(ch)
	b.counts.errors.Collect(ch)
	b.counts.seconds.Collect(ch)
	b.counts.lost.Collect(ch)
	b.counts.reconnects.Collect(ch)
	up := 1.0
	if b.Up() != nil {
		up = 0
	}
	ch <- prometheus.MustNewConstMetric(descLinkUp, prometheus.GaugeValue, up)
	for k := range kinds {
		ch <- prometheus.MustNewConstMetric(descSubscriptions, prometheus.GaugeValue, float64(b.counts.subscriptions[k].Load()), k.String())
	}
	for _, k := range []kind{kindTopic, kindShard} {
		ch <- prometheus.MustNewConstMetric(descSwitches, prometheus.CounterValue, float64(b.counts.switches[k].Load()), k.String())
	}
	ch <- prometheus.MustNewConstMetric(descUnwanted, prometheus.CounterValue, float64(b.counts.unwanted.Load()))
	used := 0
	for i := range b.used {
		if b.used[i].Load() {
			used++
		}
	}
	ch <- prometheus.MustNewConstMetric(descShards, prometheus.GaugeValue, float64(used))
	var most int64
	if !b.Remote() {
		most = b.cfg.MaxBytes
	}
	ch <- prometheus.MustNewConstMetric(descMaxBytes, prometheus.GaugeValue, float64(most))
	ch <- prometheus.MustNewConstMetric(descShardMax, prometheus.GaugeValue, float64(most/broker.Shards))
	var memory, file float64
	if srv := b.srv.Load(); srv != nil && srv.JetStreamEnabled() {
		if z, err := srv.Jsz(nil); err == nil {
			memory, file = float64(z.Memory), float64(z.Store)
		}
	}
	ch <- prometheus.MustNewConstMetric(descMemory, prometheus.GaugeValue, memory, string(Memory))
	ch <- prometheus.MustNewConstMetric(descMemory, prometheus.GaugeValue, file, string(File))
}
