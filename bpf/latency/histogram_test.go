package latency

import (
	"testing"
	"time"
)

func TestHistogramBoundsArePowersOfTwoOfASecond(t *testing.T) {
	for _, tt := range []struct {
		of   time.Duration
		want int
	}{
		{-time.Second, 0},
		{0, 0},
		{1, 1},
		{2 * time.Millisecond, 22},
		{time.Second / 2, 29},
		{time.Second/2 + 1, 30},
		{time.Second, 30},
		{time.Second + 1, 31},
		{256 * time.Second, 38},
		{time.Hour, 38},
	} {
		if got := bucketIn(tt.of); got != tt.want {
			t.Errorf("%v is in bucket %d: want %d", tt.of, got, tt.want)
		}
	}
	if Bound(30) != 1 || Bound(29) != 0.5 || BoundOf(31) != 2*time.Second {
		t.Errorf("bounds are %v, %v, %v", Bound(30), Bound(29), BoundOf(31))
	}
}

func bucketIn(d time.Duration) int {
	var h Histogram
	h.Observe(d)
	return h.Quantile(1)
}

func TestQuantileIsTheBucketWhereTheFractionEnds(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != -1 {
		t.Error("an empty histogram has a median")
	}
	for i := range 100 {
		h.Observe(map[bool]time.Duration{false: time.Microsecond, true: time.Millisecond}[i >= 90])
	}
	low, high := bucketIn(time.Microsecond), bucketIn(time.Millisecond)
	for q, want := range map[float64]int{0: low, 0.5: low, 0.9: low, 0.91: high, 1: high} {
		if got := h.Quantile(q); got != want {
			t.Errorf("quantile %v is bucket %d: want %d", q, got, want)
		}
	}
	if h.Count != 100 || h.Sum != 90*time.Microsecond+10*time.Millisecond {
		t.Errorf("%d durations, %v", h.Count, h.Sum)
	}
}

func TestSubLeavesWhatCameSince(t *testing.T) {
	var h Histogram
	h.Observe(time.Millisecond)
	s := Snapshot{Histograms: []Histogram{h}, Counters: []Counter{{"polls", 3}}, Programs: []Program{{ID: 7, Runs: 5, Time: 50}, {ID: 8, Runs: 1, Time: 1}}}
	before := s.Clone()
	s.Histograms[0].Observe(time.Second)
	s.Counters[0].Count, s.Programs[0].Runs, s.Programs[0].Time = 5, 7, 90
	before.Programs = before.Programs[:1]
	s.Sub(before)
	if h := s.Histograms[0]; h.Count != 1 || h.Sum != time.Second || h.Quantile(1) != secondBucket {
		t.Errorf("%+v", h)
	}
	if s.Counters[0].Count != 2 || s.Programs[0].Runs != 2 || s.Programs[0].Time != 40 || s.Programs[1].Runs != 1 {
		t.Errorf("%+v, %+v", s.Counters, s.Programs)
	}
}

func TestCostIsPerRunAndPerTime(t *testing.T) {
	c := Cost{Runs: 4, Time: time.Millisecond, Open: time.Second}
	if c.PerRun() != 250*time.Microsecond || c.Share() != 0.001 {
		t.Errorf("%v, %v", c.PerRun(), c.Share())
	}
	if c := (Cost{}); c.PerRun() != 0 || c.Share() != 0 {
		t.Errorf("of nothing: %v, %v", c.PerRun(), c.Share())
	}
}
