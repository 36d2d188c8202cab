package workers

import (
	"reflect"
	"testing"

	"weir/internal/hist"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func counter(name, reason string, v float64) Family {
	return Family{Name: name, Kind: KindCounter, Series: []Series{{Labels: []Label{{"reason", reason}}, Value: v}}}
}

func gauge(name string, v float64) Family {
	return Family{Name: name, Kind: KindGauge, Series: []Series{{Value: v}}}
}

func latencies(count uint64, sum float64, buckets ...Bucket) Family {
	return Family{Name: "weir_edge_delivery_seconds", Kind: KindHistogram, Series: []Series{{Count: count, Sum: sum, Buckets: buckets}}}
}

func native(zero uint64, buckets map[int]uint64) Family {
	f := Family{Name: "weir_edge_delivery_seconds", Kind: KindHistogram, Series: []Series{{IsNative: true, Zero: zero, Native: buckets, Count: zero}}}
	for _, n := range buckets {
		f.Series[0].Count += n
	}
	return f
}

func TestFamiliesAreSummed(t *testing.T) {
	closed, other := counter("weir_edge_closed_total", "draining", 3), counter("weir_edge_closed_total", "draining", 4)
	for _, tt := range []struct {
		name string
		a, b []Family
		want []Family
	}{
		{"counters", []Family{closed}, []Family{other}, []Family{counter("weir_edge_closed_total", "draining", 7)}},
		{
			"of other labels",
			[]Family{closed},
			[]Family{counter("weir_edge_closed_total", "too_large", 1)},
			[]Family{{Name: "weir_edge_closed_total", Kind: KindCounter, Series: []Series{
				{Labels: []Label{{"reason", "draining"}}, Value: 3}, {Labels: []Label{{"reason", "too_large"}}, Value: 1},
			}}},
		},
		{"gauges", []Family{gauge("weir_edge_conns", 2)}, []Family{gauge("weir_edge_conns", 5)}, []Family{gauge("weir_edge_conns", 7)}},
		{"whether the link is up", []Family{gauge(leastHolds[0], 1)}, []Family{gauge(leastHolds[0], 0)}, []Family{gauge(leastHolds[0], 0)}},
		{"how long a loop is stuck", []Family{gauge(mostHolds[0], 1)}, []Family{gauge(mostHolds[0], 3)}, []Family{gauge(mostHolds[0], 3)}},
		{
			"histograms",
			[]Family{latencies(3, 0.5, Bucket{0.1, 1}, Bucket{1, 3})},
			[]Family{latencies(2, 4, Bucket{0.1, 0}, Bucket{1, 1})},
			[]Family{latencies(5, 4.5, Bucket{0.1, 1}, Bucket{1, 4})},
		},
		{
			"native buckets",
			[]Family{native(2, map[int]uint64{-8: 1, 3: 4})},
			[]Family{native(1, map[int]uint64{3: 2, 5: 1})},
			[]Family{native(3, map[int]uint64{-8: 1, 3: 6, 5: 1})},
		},
		{"native buckets of a worker of which there are none yet", []Family{native(0, nil)}, []Family{native(0, map[int]uint64{3: 2})}, []Family{native(0, map[int]uint64{3: 2})}},
		{"one that the other has not", []Family{gauge("weir_edge_conns", 2)}, nil, []Family{gauge("weir_edge_conns", 2)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sums := totals{}
			sums.add(tt.a, true)
			sums.add(tt.b, true)
			if got := sums.families(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	t.Run("what a worker counted that is gone", func(t *testing.T) {
		sums := totals{}
		sums.add([]Family{closed, gauge("weir_edge_conns", 2)}, false)
		if got := sums.families(); !reflect.DeepEqual(got, []Family{closed}) {
			t.Errorf("got %+v", got)
		}
	})
}

// lagOf is a collector of one metric.
type lagOf struct{ prometheus.Metric }

func (l lagOf) Describe(ch chan<- *prometheus.Desc) { ch <- l.Desc() }
func (l lagOf) Collect(ch chan<- prometheus.Metric) { ch <- l.Metric }

// TestSumsTakeThePlaceOfOnesOwn goes from a registry to families and back.
func TestSumsTakeThePlaceOfOnesOwn(t *testing.T) {
	own := prometheus.NewRegistry()
	var lags hist.Histogram
	lags.RecordN(1e6, 3)
	lag := lagOf{hist.NewMetric(prometheus.NewDesc("weir_edge_loop_lag_seconds", "Lag.", nil, nil), lags.Snapshot(), []float64{1})}
	edge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_edge_held_bytes", Help: "Held."}, []string{"where"})
	bus := prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_bus_published_total", Help: "Published."})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_edge_delivery_seconds", Help: "Age.", Buckets: []float64{1, 2}})
	own.MustRegister(edge, bus, seconds, lag)
	edge.WithLabelValues("kernel").Set(2)
	bus.Add(5)
	seconds.Observe(1.5)
	gathered, err := own.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := FamiliesOf(gathered)
	if len(families) != 3 {
		t.Fatalf("summed are %+v", families)
	}
	sums := totals{}
	sums.add(families, true)
	joined := sums.join(gathered)
	if len(joined) != 4 {
		t.Fatalf("joined: %v", joined)
	}
	registry := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return joined, nil })
	check := prometheus.Gatherers{registry} // finds inconsistencies
	if joined, err = check.Gather(); err != nil {
		t.Fatal(err)
	}
	if h := joined[1].GetMetric()[0].GetHistogram(); h.GetSampleCount() != 2 || h.GetSampleSum() != 3 || h.GetBucket()[0].GetCumulativeCount() != 0 || h.GetBucket()[1].GetCumulativeCount() != 2 {
		t.Errorf("the histogram is %v", h)
	}
	if m := joined[2].GetMetric()[0]; m.GetGauge().GetValue() != 4 || m.GetLabel()[0].GetValue() != "kernel" {
		t.Errorf("the gauge is %v", m)
	}
	if zero, buckets, isNative := hist.NativeOf(joined[3].GetMetric()[0].GetHistogram()); !isNative || zero != 0 || len(buckets) != 1 || buckets[-79] != 6 {
		t.Errorf("the native buckets are %v", buckets)
	}
	if v := joined[0].GetMetric()[0].GetCounter().GetValue(); v != 5 {
		t.Errorf("one's own is %v", v)
	}
}

func TestListenersHaveTheirPlaces(t *testing.T) {
	for _, tt := range []struct {
		name            string
		cpus            []int
		worker, workers int
		listeners       []int
		want            []Place
		width           int
	}{
		{"a CPU each", []int{0, 1}, 1, 2, []int{7}, []Place{{1, 0, 7}}, 1},
		{"two on a CPU", []int{0, 2}, 3, 4, []int{7}, []Place{{2, 1, 7}}, 2},
		{"more on one CPU than on the other", []int{0, 1}, 2, 3, []int{7}, nil, 0},
		{"two loops each, two on a CPU", []int{0, 1}, 2, 4, []int{7, 8}, []Place{{0, 2, 7}, {0, 3, 8}}, 4},
		{"more CPUs than workers", []int{0, 1, 2, 3, 4}, 0, 2, []int{7, 8, 9}, []Place{{0, 0, 7}, {2, 0, 8}, {4, 0, 9}}, 2},
		{"as its sibling", []int{0, 1, 2, 3, 4}, 1, 2, []int{7, 8}, []Place{{1, 0, 7}, {3, 0, 8}}, 1},
		{"fewer listeners than CPUs", []int{0, 1, 2, 3}, 1, 2, []int{7}, []Place{{1, 0, 7}}, 1},
		{"no CPU is known", nil, 0, 2, []int{7}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, width := places(tt.cpus, tt.worker, tt.workers, tt.listeners)
			if !reflect.DeepEqual(got, tt.want) || width != tt.width {
				t.Errorf("got %v of %d, want %v of %d", got, width, tt.want, tt.width)
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	for n, good := range map[int]bool{-1: false, 0: true, 64: true, 65: false} {
		if err := (Config{n}).Validate(); (err == nil) != good {
			t.Errorf("%d: %v", n, err)
		}
	}
	if Share(10, 4) != 3 || Share(8, 4) != 2 || Share(uint64(1), 64) != 1 || Share(0, 4) != 0 {
		t.Error("shares are not rounded up")
	}
}
