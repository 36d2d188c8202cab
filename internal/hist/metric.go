package hist

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metric is a snapshot as Prometheus has it.
type metric struct {
	desc   *prometheus.Desc
	of     *Snapshot
	bounds []float64
	labels []string
}

// NewMetric is a snapshot as a native histogram, with classic buckets beside it for whoever does not take those: their bounds are
// seconds, in ascending order. labels are the values of desc's. Both are kept, and the snapshot too.
func NewMetric(desc *prometheus.Desc, of *Snapshot, bounds []float64, labels ...string) prometheus.Metric {
	return &metric{desc, of, bounds, labels}
}

// Desc implements [prometheus.Metric].
func (m *metric) Desc() *prometheus.Desc { return m.desc }

// Write implements [prometheus.Metric].
func (m *metric) Write(out *dto.Metric) error {
	out.Label = prometheus.MakeLabelPairs(m.desc, m.labels)
	out.Histogram = &dto.Histogram{SampleCount: new(m.of.Count()), SampleSum: new(float64(m.of.Sum()) / 1e9)}
	below := m.of.Buckets(m.bounds)
	for _, b := range m.bounds {
		out.Histogram.Bucket = append(out.Histogram.Bucket, &dto.Bucket{UpperBound: new(b), CumulativeCount: new(below[b])})
	}
	zero, native := m.of.Native()
	SetNative(out.Histogram, zero, native)
	return nil
}
