package hist

import (
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"
)

// collector has one metric.
type collector struct{ prometheus.Metric }

func (c collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.Desc() }
func (c collector) Collect(ch chan<- prometheus.Metric) { ch <- c.Metric }

func TestAMetricHasBothKindsOfBuckets(t *testing.T) {
	var h Histogram
	h.RecordN(0, 2)
	h.RecordN(1e6, 3)
	h.RecordN(1e9, 4)
	desc := prometheus.NewDesc("x_seconds", "X.", []string{"of"}, nil)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{NewMetric(desc, h.Snapshot(), []float64{0.01, 5}, "a")})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	m := families[0].GetMetric()[0]
	got := m.GetHistogram()
	if m.GetLabel()[0].GetValue() != "a" || got.GetSampleCount() != 9 || got.GetSampleSum() != 4.003 {
		t.Errorf("%v", m)
	}
	if b := got.GetBucket(); len(b) != 2 || b[0].GetCumulativeCount() != 5 || b[1].GetCumulativeCount() != 9 {
		t.Errorf("classic buckets %v", b)
	}
	zero, native, ok := NativeOf(got)
	if !ok || zero != 2 || len(native) != 2 || got.GetSchema() != NativeSchema {
		t.Errorf("native buckets %v, %d zeros, %v", native, zero, ok)
	}
}

func TestNativeBucketsAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		native := rapid.MapOf(rapid.IntRange(-300, 300), rapid.Uint64Range(1, 1<<40)).Draw(t, "native")
		zero := rapid.Uint64().Draw(t, "zero")
		out := &dto.Histogram{}
		SetNative(out, zero, native)
		gotZero, got, ok := NativeOf(out)
		if !ok || gotZero != zero || !maps.Equal(got, native) {
			t.Fatalf("read back as %v, %d zeros, %v", got, gotZero, ok)
		}
	})
}

func TestOtherHistogramsAreNotNativeOnes(t *testing.T) {
	classic := &dto.Histogram{Bucket: []*dto.Bucket{{UpperBound: new(1.0), CumulativeCount: new(uint64(3))}}}
	other := &dto.Histogram{}
	SetNative(other, 0, map[int]uint64{3: 1})
	other.Schema = new(int32(NativeSchema + 1))
	for name, h := range map[string]*dto.Histogram{"classic": classic, "another schema": other} {
		if _, _, ok := NativeOf(h); ok {
			t.Errorf("%s is taken for native", name)
		}
	}
}
