package hist

import "math"

// NativeSchema is that of the buckets of [Snapshot.Native]: each ends 2^(1/8) times as far as the one before.
const NativeSchema = 3

// Native is how many values are in each bucket of a Prometheus native histogram of [NativeSchema], by its index: that of i ends at 2^(i/8)
// seconds. zero are those of 0 ns. A bucket of the snapshot counts where its middle is: at most one bucket off.
func (s *Snapshot) Native() (zero uint64, native map[int]uint64) {
	native = map[int]uint64{}
	for i, n := range s.counts {
		switch {
		case n == 0:
		case i == 0:
			zero = n
		default:
			middle := (float64(upperOf(i-1)) + 1 + float64(upperOf(i))) / 2
			native[int(math.Ceil(math.Log2(middle/1e9)*(1<<NativeSchema)))] += n
		}
	}
	return zero, native
}
