package hist

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestNativeBucketsAreAtMostOneOff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Range(1, 1<<maxBits-1).Draw(t, "v")
		var h Histogram
		h.RecordN(v, 5)
		zero, native := h.Snapshot().Native()
		if zero != 0 || len(native) != 1 {
			t.Fatalf("%d zeros, %v", zero, native)
		}
		want := int(math.Ceil(math.Log2(float64(v)/1e9) * (1 << NativeSchema)))
		for i, n := range native {
			if n != 5 || i < want-1 || i > want+1 {
				t.Fatalf("%d ns: %d in bucket %d, want 5 in %d", v, n, i, want)
			}
		}
	})
}

func TestNativeCountsAllThatIsThere(t *testing.T) {
	var h Histogram
	for _, v := range []int64{0, -1, 1, 7, 8, 1000, 1 << 20, 1 << 30, 1 << 50} {
		h.RecordN(v, 2)
	}
	s := h.Snapshot()
	zero, native := s.Native()
	all := zero
	for _, n := range native {
		all += n
	}
	if zero != 4 || all != s.Count() {
		t.Errorf("%d zeros, %d of %d", zero, all, s.Count())
	}
}
