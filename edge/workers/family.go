package workers

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"weir/internal/hist"

	dto "github.com/prometheus/client_model/go"
)

// Kind is what a family's series are.
type Kind uint8

// The kinds that are summed.
const (
	KindCounter Kind = iota + 1
	KindGauge
	KindHistogram
)

// Family is a metric with its series, as a worker sends it.
type Family struct {
	Name, Help string
	Kind       Kind
	Series     []Series
}

// Series is one: Value of a counter or gauge, the rest of a histogram.
type Series struct {
	Labels  []Label // by name
	Value   float64
	Count   uint64
	Sum     float64
	Buckets []Bucket // by bound
	// IsNative says that it has native buckets too, of hist.NativeSchema: Zero is what is in none of them, Native what is in each, by its
	// index.
	IsNative bool
	Zero     uint64
	Native   map[int]uint64
}

// Label is a name and its value.
type Label struct{ Name, Value string }

// Bucket counts the values up to a bound.
type Bucket struct {
	Upper float64
	Count uint64
}

// What is no amount is not added up: of several workers the least holds, or the most.
var (
	leastHolds = []string{"weir_broker_link_up", "weir_edge_tls_certificate_expires_seconds", "weir_jwks_keys"}
	mostHolds  = []string{"weir_edge_loop_stalled_seconds", "weir_jwks_age_seconds", "weir_jwks_ignored_keys"}
)

// IsSummed reports whether a metric is summed over workers: those of an edge, of its link to the bus
// and of its JWK set.
func IsSummed(name string) bool {
	return slices.ContainsFunc([]string{"weir_edge_", "weir_broker_", "weir_bus_link_", "weir_jwks_"}, func(part string) bool {
		return strings.HasPrefix(name, part)
	})
}

// FamiliesOf are those that are summed.
func FamiliesOf(all []*dto.MetricFamily) (families []Family) {
	for _, from := range all {
		if !IsSummed(from.GetName()) {
			continue
		}
		f := Family{Name: from.GetName(), Help: from.GetHelp()}
		switch from.GetType() {
		case dto.MetricType_COUNTER:
			f.Kind = KindCounter
		case dto.MetricType_GAUGE:
			f.Kind = KindGauge
		case dto.MetricType_HISTOGRAM:
			f.Kind = KindHistogram
		default:
			continue
		}
		for _, m := range from.GetMetric() {
			f.Series = append(f.Series, seriesOf(f.Kind, m))
		}
		families = append(families, f)
	}
	return families
}

func seriesOf(kind Kind, m *dto.Metric) (s Series) {
	for _, l := range m.GetLabel() {
		s.Labels = append(s.Labels, Label{l.GetName(), l.GetValue()})
	}
	switch kind {
	case KindCounter:
		s.Value = m.GetCounter().GetValue()
	case KindGauge:
		s.Value = m.GetGauge().GetValue()
	case KindHistogram:
		h := m.GetHistogram()
		s.Count, s.Sum = h.GetSampleCount(), h.GetSampleSum()
		for _, b := range h.GetBucket() {
			s.Buckets = append(s.Buckets, Bucket{b.GetUpperBound(), b.GetCumulativeCount()})
		}
		s.Zero, s.Native, s.IsNative = hist.NativeOf(h)
	}
	return s
}

// totals are sums of families, by name.
type totals map[string]*total

type total struct {
	family Family            // without series
	series map[string]Series // by labels
}

// add adds families; gauges says whether theirs, too: those of a worker that is gone hold nothing.
func (t totals) add(families []Family, gauges bool) {
	for _, f := range families {
		if f.Kind == KindGauge && !gauges {
			continue
		}
		of := t[f.Name]
		if of == nil {
			of = &total{Family{Name: f.Name, Help: f.Help, Kind: f.Kind}, map[string]Series{}}
			t[f.Name] = of
		}
		for _, s := range f.Series {
			key := s.key()
			if old, ok := of.series[key]; ok {
				s = sum(f.Name, old, s)
			}
			of.series[key] = s
		}
	}
}

func (s *Series) key() string {
	var b strings.Builder
	for _, l := range s.Labels {
		b.WriteString(l.Name + "\x00" + l.Value + "\x00")
	}
	return b.String()
}

func sum(name string, a, b Series) Series {
	switch {
	case slices.Contains(leastHolds, name):
		a.Value = min(a.Value, b.Value)
		return a
	case slices.Contains(mostHolds, name):
		a.Value = max(a.Value, b.Value)
		return a
	}
	a.Value += b.Value
	a.Count += b.Count
	a.Sum += b.Sum
	a.Buckets = sumBuckets(a.Buckets, b.Buckets)
	a.IsNative, a.Zero, a.Native = a.IsNative || b.IsNative, a.Zero+b.Zero, sumNative(a.Native, b.Native)
	return a
}

// sumBuckets has the bounds of both: processes of one release have the same.
func sumBuckets(a, b []Bucket) (all []Bucket) {
	counts := map[float64]uint64{}
	for _, bucket := range slices.Concat(a, b) {
		counts[bucket.Upper] += bucket.Count
	}
	for _, upper := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, Bucket{upper, counts[upper]})
	}
	return all
}

func sumNative(a, b map[int]uint64) map[int]uint64 {
	all := maps.Clone(a) // what a worker sent is kept
	if all == nil {
		return maps.Clone(b)
	}
	for i, n := range b {
		all[i] += n
	}
	return all
}

// families are what was summed, by name.
func (t totals) families() []Family {
	all := make([]Family, 0, len(t))
	for _, name := range slices.Sorted(maps.Keys(t)) {
		f := t[name].family
		for _, key := range slices.Sorted(maps.Keys(t[name].series)) {
			f.Series = append(f.Series, t[name].series[key])
		}
		all = append(all, f)
	}
	return all
}

// metric is the family as Prometheus has it.
func (f *Family) metric() *dto.MetricFamily {
	kind := map[Kind]dto.MetricType{
		KindCounter: dto.MetricType_COUNTER, KindGauge: dto.MetricType_GAUGE, KindHistogram: dto.MetricType_HISTOGRAM,
	}[f.Kind]
	out := &dto.MetricFamily{Name: &f.Name, Help: &f.Help, Type: &kind}
	for i := range f.Series {
		s := &f.Series[i]
		m := &dto.Metric{}
		for j := range s.Labels {
			m.Label = append(m.Label, &dto.LabelPair{Name: &s.Labels[j].Name, Value: &s.Labels[j].Value})
		}
		switch f.Kind {
		case KindCounter:
			m.Counter = &dto.Counter{Value: &s.Value}
		case KindGauge:
			m.Gauge = &dto.Gauge{Value: &s.Value}
		case KindHistogram:
			m.Histogram = &dto.Histogram{SampleCount: &s.Count, SampleSum: &s.Sum}
			for j := range s.Buckets {
				b := &s.Buckets[j]
				m.Histogram.Bucket = append(m.Histogram.Bucket, &dto.Bucket{UpperBound: &b.Upper, CumulativeCount: &b.Count})
			}
			if s.IsNative {
				hist.SetNative(m.Histogram, s.Zero, s.Native)
			}
		}
		out.Metric = append(out.Metric, m)
	}
	return out
}

// join is own with what was summed in the place of the metrics of the same names.
func (t totals) join(own []*dto.MetricFamily) (all []*dto.MetricFamily) {
	t.add(FamiliesOf(own), true)
	for _, f := range own {
		if _, ok := t[f.GetName()]; !ok {
			all = append(all, f)
		}
	}
	for _, f := range t.families() {
		all = append(all, f.metric())
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return all
}
