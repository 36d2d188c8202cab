package latency

import (
	"math"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

var (
	descDurations = prometheus.NewDesc("weir_trace_duration_seconds", "Durations that tracers of the kernel have counted, by tracer and from what to what; native histograms, with classic buckets beside them.", []string{"tracer", "what"}, nil)
	descEvents    = prometheus.NewDesc("weir_trace_events_total", "What tracers have counted beside durations.", []string{"tracer", "event"}, nil)
	descStalls    = prometheus.NewDesc("weir_trace_stalls_total", "Times that an event loop did not ask for events for longer than trace.threshold, by what took most of the time.", []string{"cause"}, nil)
	descState     = prometheus.NewDesc("weir_trace_state", "1 for the state that a tracer is in; the log has why it is not attached.", []string{"tracer", "state"}, nil)
	descRuns      = prometheus.NewDesc("weir_trace_runs_total", "Runs of a tracer's own programs.", []string{"tracer"}, nil)
	descSeconds   = prometheus.NewDesc("weir_trace_seconds_total", "Time of CPUs that a tracer took itself.", []string{"tracer"}, nil)
	descBudget    = prometheus.NewDesc("weir_trace_budget_ratio", "Share of one CPU that a tracer may take: above it it follows fewer events, and is detached for a while if that is not enough.", nil, nil)
	descSample    = prometheus.NewDesc("weir_trace_sample_every", "Events of which a tracer follows one, which counts for as many; 0 while it is not attached.", []string{"tracer"}, nil)

	descConns       = prometheus.NewDesc("weir_trace_conns", "TCP connections of the network namespace.", []string{"direction"}, nil)
	descRTT         = prometheus.NewDesc("weir_trace_conns_rtt_seconds", "Round trip times of those that are there, by quantile: at most this, and more than half of it.", []string{"direction", "quantile"}, nil)
	descHeld        = prometheus.NewDesc("weir_trace_conns_held_bytes", "Bytes in their sockets: not sent, not acknowledged, not read.", []string{"direction", "which"}, nil)
	descBehind      = prometheus.NewDesc("weir_trace_conns_behind", "Those of them that wait for the answer to what was sent again, or whose peers take nothing.", []string{"direction", "why"}, nil)
	descAcceptQueue = prometheus.NewDesc("weir_trace_accept_queue", "Connections that wait for accept(2), and how many may, of all listeners.", []string{"which"}, nil)

	descXDPRuns    = prometheus.NewDesc("weir_trace_xdp_runs_total", "Runs of the host's XDP programs, of whoever loaded them.", nil, nil)
	descXDPSeconds = prometheus.NewDesc("weir_trace_xdp_seconds_total", "Time that those took.", nil, nil)
)

// Classic buckets are those of durations up to 2^-20 s, about 1 µs, to 2^3 s: servers that know native histograms have them all.
const (
	firstClassic = secondBucket - 20
	lastClassic  = secondBucket + 3
)

// Describe implements [prometheus.Collector].
func (e *Export) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descDurations, descEvents, descStalls, descState, descRuns, descSeconds, descBudget, descSample,
		descConns, descRTT, descHeld, descBehind, descAcceptQueue, descXDPRuns, descXDPSeconds,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. The series of a tracer are there whether it is attached or not.
func (e *Export) Collect(ch chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range e.kept {
		if k.source != nil {
			if err := k.read(); err != nil {
				e.lose(k, time.Now(), err)
			}
		}
		e.collect(ch, k)
	}
	if len(e.kept) > 0 {
		ch <- gauge(descBudget, e.cfg.Budget)
	}
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (e *Export) collect(ch chan<- prometheus.Metric, k *kept) {
	name := k.about.Name
	for _, s := range States() {
		on := 0.0
		if s == k.state {
			on = 1
		}
		ch <- gauge(descState, on, name, s.String())
	}
	ch <- counter(descRuns, float64(k.total.runs()), name)
	ch <- counter(descSeconds, k.total.seconds(), name)
	every := 0
	if k.source != nil {
		every = k.total.cost.now.SampleEvery
	}
	ch <- gauge(descSample, float64(every), name)
	for i, what := range k.about.Histograms {
		h := k.total.histogram(i)
		ch <- e.durations(&h, name, what)
	}
	for i, what := range k.about.Counters {
		if cause, ok := strings.CutPrefix(what, causePrefix); ok {
			ch <- counter(descStalls, float64(k.total.count(i)), cause)
		} else {
			ch <- counter(descEvents, float64(k.total.count(i)), name, what)
		}
	}
	switch name {
	case RTT:
		k.collectConns(ch)
	case XDP:
		ch <- counter(descXDPRuns, float64(k.total.programRuns))
		ch <- counter(descXDPSeconds, k.total.programTime)
	}
}

// collectConns gives the state of the connections, of all ports.
func (k *kept) collectConns(ch chan<- prometheus.Metric) {
	var all [2]Class // out, in
	if k.source != nil {
		for i := range k.snap.Classes {
			c := &k.snap.Classes[i]
			to := &all[0]
			if c.Inbound {
				to = &all[1]
			}
			to.plus(c)
		}
	}
	for i, direction := range []string{"out", "in"} {
		c := &all[i]
		ch <- gauge(descConns, float64(c.Conns), direction)
		for quantile, q := range map[string]float64{"0.5": 0.5, "0.99": 0.99, "1": 1} {
			bound := 0.0
			if at := c.RTT.Quantile(q); at >= 0 {
				bound = Bound(at)
			}
			ch <- gauge(descRTT, bound, direction, quantile)
		}
		for which, n := range map[string]uint64{"unsent": c.Unsent, "unacked": c.Unacked, "unread": c.Unread} {
			ch <- gauge(descHeld, float64(n), direction, which)
		}
		for why, n := range map[string]uint64{"retransmitting": c.Retransmitting, "zero_window": c.Closed} {
			ch <- gauge(descBehind, float64(n), direction, why)
		}
	}
	for which, n := range map[string]uint64{"waiting": all[1].Backlog, "most": all[1].MostBacklog} {
		ch <- gauge(descAcceptQueue, float64(n), which)
	}
}

// plus adds the connections of another class.
func (c *Class) plus(other *Class) {
	c.Conns += other.Conns
	c.RTT.plus(&other.RTT)
	c.Retransmits += other.Retransmits
	c.Retransmitting += other.Retransmitting
	c.Closed += other.Closed
	c.Unsent += other.Unsent
	c.Unacked += other.Unacked
	c.Unread += other.Unread
	c.Backlog += other.Backlog
	c.MostBacklog += other.MostBacklog
}

// durations is a histogram as Prometheus has it.
func (e *Export) durations(h *Histogram, tracer, what string) prometheus.Metric {
	positive := map[int]int64{}
	for i, n := range h.Buckets {
		if i > 0 && n > 0 {
			positive[i-secondBucket] = int64(min(n, math.MaxInt64)) //nolint:gosec // bounded by the min
		}
	}
	native, err := prometheus.NewConstNativeHistogram(descDurations, h.Count, h.Sum.Seconds(), positive, nil, h.Buckets[0], 0, Bound(0), e.created, tracer, what)
	if err != nil {
		return prometheus.NewInvalidMetric(descDurations, err)
	}
	return &both{native, h.Buckets}
}

// both is a native histogram with classic buckets beside it, which are the same counts.
type both struct {
	prometheus.Metric
	buckets [Buckets]uint64
}

// Write implements [prometheus.Metric].
func (b *both) Write(out *dto.Metric) error {
	if err := b.Metric.Write(out); err != nil {
		return err
	}
	count := uint64(0)
	out.Histogram.Bucket = nil // Metric gives its own
	for i, n := range b.buckets[:lastClassic+1] {
		count += n
		if i >= firstClassic {
			upper, upTo := Bound(i), count
			out.Histogram.Bucket = append(out.Histogram.Bucket, &dto.Bucket{UpperBound: &upper, CumulativeCount: &upTo})
		}
	}
	return nil
}
