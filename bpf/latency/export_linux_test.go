package latency

import (
	"log/slog"
	"testing"

	"weir/bpf/bpftest"

	dto "github.com/prometheus/client_model/go"
)

// inSpan is how many durations of a histogram are of a span, as well as its classic buckets can tell.
func inSpan(h *dto.Histogram, of span) (n uint64) {
	for _, b := range h.GetBucket() {
		switch {
		case b.GetUpperBound() <= Bound(bucketOf(of.least)-1):
			n = -b.GetCumulativeCount()
		case b.GetUpperBound() == Bound(bucketOf(of.most)):
			n += b.GetCumulativeCount()
		}
	}
	return n
}

func TestBPFExportServesAMadeDelay(t *testing.T) {
	bpftest.Require(t, "6.3", "the hooks of accept, read and rtt")
	l, port := listen(t)
	x, err := NewExport(ExportConfig{Tracers: []string{Accept, Read, RTT}, PIDs: func() ([]int, error) { return us(), nil }, Ports: []uint16{port}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	before := &dto.Histogram{}
	for round := range 2 { // it is closed, and opened again
		x.Open()
		for name, s := range x.States() {
			if s != Attached {
				t.Fatalf("%s is %v", name, s)
			}
		}
		took := late(func() { dial(t, l) }, func() { accept(t, l) })
		h := series(t, x, "weir_trace_duration_seconds")["accept,queued"].GetHistogram()
		if got := h.GetSampleCount(); got != uint64(round+1) { //nolint:gosec // 1 or 2
			t.Fatalf("%d are counted after %d", got, round+1)
		}
		if n := inSpan(h, took) - inSpan(before, took); n != 1 {
			t.Errorf("%d more took %v to %v: %v", n, took.least, took.most, h.GetBucket())
		}
		before = h
		if runs := series(t, x, "weir_trace_runs_total")["accept"].GetCounter().GetValue(); runs < float64(round+1) {
			t.Errorf("%v runs are counted", runs)
		}
		if got := series(t, x, "weir_trace_conns")["in"].GetGauge().GetValue(); got < float64(round+1) {
			t.Errorf("%v connections came in", got)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
