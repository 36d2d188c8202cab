package hist

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestEveryValueIsInABucketAtMostAnEighthWide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Range(0, 1<<maxBits-1).Draw(t, "v")
		i := bucketOf(v)
		if up := upperOf(i); v > up || float64(up-v) > float64(v)/subs+1 {
			t.Fatalf("%d is in bucket %d, up to %d", v, i, up)
		}
		if i > 0 && upperOf(i-1) >= v {
			t.Fatalf("%d is in bucket %d, but %d ends at %d", v, i, i-1, upperOf(i-1))
		}
	})
}

func TestValuesBeyondTheRangeCountInTheLastBucket(t *testing.T) {
	for _, v := range []int64{1 << maxBits, math.MaxInt64} {
		if i := bucketOf(v); i != buckets-1 {
			t.Errorf("%d is in bucket %d, want %d", v, i, buckets-1)
		}
	}
	if bucketOf(-5) != 0 {
		t.Error("a negative value is not in bucket 0")
	}
}

func TestQuantilesOfKnownValues(t *testing.T) {
	var h Histogram
	for v := int64(1); v <= 1000; v++ {
		h.Record(v * 1000)
	}
	s := h.Snapshot()
	for _, tt := range []struct{ q, want float64 }{{0.5, 500e3}, {0.99, 990e3}, {1, 1000e3}, {0, 1e3}} {
		if got := float64(s.Quantile(tt.q)); got < tt.want || got > tt.want*1.13 {
			t.Errorf("q%v is %v, want about %v", tt.q, got, tt.want)
		}
	}
	if s.Count() != 1000 || s.Sum() != 500500*1000 {
		t.Errorf("count %d, sum %d", s.Count(), s.Sum())
	}
}

func TestSubIsWhatCameSince(t *testing.T) {
	var h Histogram
	h.RecordN(100, 7)
	before := h.Snapshot()
	h.RecordN(1e6, 3)
	s := h.Snapshot()
	s.Sub(before)
	if s.Count() != 3 || s.Sum() != 3e6 || s.Quantile(0) < 1e6 {
		t.Errorf("count %d, sum %d, q0 %d", s.Count(), s.Sum(), s.Quantile(0))
	}
	s.Merge(before)
	if s.Count() != 10 {
		t.Errorf("merged count %d", s.Count())
	}
}

func TestBucketsCountUpToEachBound(t *testing.T) {
	var h Histogram
	h.RecordN(1e3, 2)
	h.RecordN(1e6, 3)
	h.RecordN(1e9, 4)
	got := h.Snapshot().Buckets([]float64{1e-5, 1e-2, 5})
	if got[1e-5] != 2 || got[1e-2] != 5 || got[5] != 9 {
		t.Errorf("got %v", got)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.RecordN(12345, 2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecordN(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	for b.Loop() {
		h.RecordN(123456, 256)
	}
}

func TestASnapshotIsReadBack(t *testing.T) {
	var h Histogram
	for _, v := range []int64{0, 7, 1000, 1 << 20, 1 << 50} {
		h.RecordN(v, 3)
	}
	want := h.Snapshot()
	b, err := want.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var got Snapshot
	if err := got.UnmarshalBinary(b); err != nil || got != *want {
		t.Errorf("read back as %+v, %v", got, err)
	}
	if got.UnmarshalBinary(b[:len(b)-1]) == nil || got.UnmarshalBinary(append(b, 0)) == nil {
		t.Error("one that is cut, or has more, is taken")
	}
}
