// Package hist is a histogram of durations for a writer and any number of readers: fixed
// log-linear buckets, atomic counters, no lock and no allocation on the writer's side.
//
// Its error is bounded by the width of a bucket: an eighth of the value.
package hist

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
)

const (
	// subBits makes 1<<subBits buckets of each power of two.
	subBits = 3
	subs    = 1 << subBits
	// maxBits bounds values: 2^40 ns is 18 minutes. Larger ones count in the last bucket.
	maxBits = 40
	buckets = (maxBits - subBits + 1) * subs
)

// Histogram counts durations in nanoseconds. The zero value is ready. Any goroutine records, but those that do at a time
// wait for each other's cache lines: one of its own is best. Any may take snapshots.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Uint64
}

// bucketOf is the index of v's bucket. Values below subs have a bucket each.
func bucketOf(v int64) int {
	if v < subs {
		return int(max(v, 0))
	}
	shift := bits.Len64(uint64(v)) - 1 - subBits
	return min((shift+1)*subs+int(v>>shift)-subs, buckets-1)
}

// upperOf is the largest value of bucket i.
func upperOf(i int) int64 {
	if i < subs {
		return int64(i)
	}
	shift := i/subs - 1
	return (int64(i%subs)+subs+1)<<shift - 1
}

// Record counts one value, in nanoseconds. Negative values count as 0.
func (h *Histogram) Record(v int64) { h.RecordN(v, 1) }

// RecordN counts v n times.
func (h *Histogram) RecordN(v int64, n uint64) {
	h.counts[bucketOf(v)].Add(n)
	if v > 0 {
		h.sum.Add(uint64(v) * n)
	}
}

// Snapshot is a copy of a histogram's counters. The zero value is empty. It is not safe for
// use by several goroutines.
type Snapshot struct {
	counts [buckets]uint64
	count  uint64
	sum    uint64
}

// Snapshot copies the counters. Values recorded meanwhile may be in it or not.
func (h *Histogram) Snapshot() *Snapshot {
	s := new(Snapshot)
	h.SnapshotInto(s)
	return s
}

// SnapshotInto is [Histogram.Snapshot] into memory that the caller reuses.
func (h *Histogram) SnapshotInto(s *Snapshot) {
	s.count = 0
	s.sum = h.sum.Load()
	for i := range h.counts {
		s.counts[i] = h.counts[i].Load()
		s.count += s.counts[i]
	}
}

// Merge adds o to s.
func (s *Snapshot) Merge(o *Snapshot) {
	for i, n := range o.counts {
		s.counts[i] += n
	}
	s.count += o.count
	s.sum += o.sum
}

// Sub takes an earlier snapshot of the same histogram off s: what is left was recorded since.
func (s *Snapshot) Sub(earlier *Snapshot) {
	for i, n := range earlier.counts {
		s.counts[i] -= n
	}
	s.count -= earlier.count
	s.sum -= earlier.sum
}

// MarshalBinary implements [encoding.BinaryMarshaler]: the sum, then the counters, each as an unsigned
// varint.
func (s *Snapshot) MarshalBinary() ([]byte, error) {
	b := binary.AppendUvarint(make([]byte, 0, 2*buckets), s.sum)
	for _, n := range s.counts {
		b = binary.AppendUvarint(b, n)
	}
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (s *Snapshot) UnmarshalBinary(b []byte) error {
	*s = Snapshot{}
	for i := -1; i < buckets; i++ {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return fmt.Errorf("read a histogram: it ends within counter %d of %d", i, buckets)
		}
		b = b[size:]
		if i < 0 {
			s.sum = n
			continue
		}
		s.counts[i] = n
		s.count += n
	}
	if len(b) > 0 {
		return fmt.Errorf("read a histogram: %d bytes are left over", len(b))
	}
	return nil
}

// Count is the number of values.
func (s *Snapshot) Count() uint64 { return s.count }

// Sum is their sum, in nanoseconds.
func (s *Snapshot) Sum() uint64 { return s.sum }

// Quantile is the smallest bucket's upper end, in nanoseconds, that at least q of the values
// are at or below. q is 0 to 1. 0 of an empty snapshot.
func (s *Snapshot) Quantile(q float64) int64 {
	if s.count == 0 {
		return 0
	}
	want := max(uint64(q*float64(s.count)), 1)
	if float64(want) < q*float64(s.count) {
		want++
	}
	var seen uint64
	for i, n := range s.counts {
		if seen += n; seen >= want {
			return upperOf(i)
		}
	}
	return upperOf(buckets - 1)
}

// Buckets is the number of values at or below each bound, in seconds, as a Prometheus
// histogram wants them. A bucket that a bound cuts counts above it.
func (s *Snapshot) Buckets(boundsSeconds []float64) map[float64]uint64 {
	out := make(map[float64]uint64, len(boundsSeconds))
	var seen uint64
	i := 0
	for _, b := range boundsSeconds { // in ascending order
		for i < buckets && float64(upperOf(i)) <= b*1e9 {
			seen += s.counts[i]
			i++
		}
		out[b] = seen
	}
	return out
}
