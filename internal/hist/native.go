package hist

import (
	"maps"
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

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

// SetNative makes a histogram a native one of [NativeSchema] too, of what [Snapshot.Native] returns.
func SetNative(out *dto.Histogram, zero uint64, native map[int]uint64) {
	out.Schema, out.ZeroThreshold, out.ZeroCount = new(int32(NativeSchema)), new(1e-9), new(zero)
	if len(native) == 0 { // by a span it is known to be native
		out.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}}
		return
	}
	// Buckets are runs, each behind a gap, and each count is the difference to the one before.
	next, before := 0, int64(0)
	var span *dto.BucketSpan
	for _, i := range slices.Sorted(maps.Keys(native)) {
		if span == nil || i != next {
			span = &dto.BucketSpan{Offset: new(int32(i - next)), Length: new(uint32(0))} //nolint:gosec // there are few buckets
			out.PositiveSpan = append(out.PositiveSpan, span)
		}
		*span.Length++
		n := int64(native[i]) //nolint:gosec // nobody counts so far
		out.PositiveDelta = append(out.PositiveDelta, n-before)
		next, before = i+1, n
	}
}

// NativeOf is what [SetNative] made; isNative is false of a histogram that is not native, or of another schema.
func NativeOf(h *dto.Histogram) (zero uint64, native map[int]uint64, isNative bool) {
	if h.Schema == nil || h.GetSchema() != NativeSchema || len(h.GetPositiveSpan()) == 0 {
		return 0, nil, false
	}
	native = map[int]uint64{}
	at, count, deltas := 0, int64(0), h.GetPositiveDelta()
	for _, span := range h.GetPositiveSpan() {
		at += int(span.GetOffset())
		for range min(int(span.GetLength()), len(deltas)) {
			count += deltas[0]
			native[at] = uint64(max(count, 0)) //nolint:gosec // not below 0
			deltas = deltas[1:]
			at++
		}
	}
	return h.GetZeroCount(), native, true
}
