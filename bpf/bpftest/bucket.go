package bpftest

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
)

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types bucket bucket.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.

// Bucket is the kernel's arithmetic of quotas.
type Bucket struct {
	tb   testing.TB
	objs bucketObjects
}

// NewBucket loads gcra, gcra_clamp and byte_cost.
func NewBucket(tb testing.TB) *Bucket {
	tb.Helper()
	b := &Bucket{tb: tb}
	if err := loadBucketObjects(&b.objs, nil); err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		if err := b.objs.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// GCRA is the new arrival time, 0 for no, and the arrival time clamped to what the quota can
// bring it to.
func (b *Bucket) GCRA(cost, limit, tat, now uint64) (next, clamped uint64) {
	b.tb.Helper()
	out := b.run(cost, limit, tat, now, 0, 0, 0, 0, 0, 0)
	return out[4], out[5]
}

// ByteCost is the ticks that bytes cost.
func (b *Bucket) ByteCost(bytes, mult uint64, shift uint32) uint64 {
	b.tb.Helper()
	return b.run(0, 0, 0, 0, 0, 0, bytes, mult, uint64(shift), 0)[9]
}

// run runs the program on the numbers of struct numbers in bucket.c.
func (b *Bucket) run(numbers ...uint64) []uint64 {
	b.tb.Helper()
	in := make([]byte, 16)
	for _, v := range numbers {
		in = binary.LittleEndian.AppendUint64(in, v)
	}
	opts := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in))}
	if _, err := b.objs.Bucket.Run(opts); err != nil {
		b.tb.Fatalf("run: %v", err)
	}
	out := make([]uint64, len(numbers))
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(opts.DataOut[16+8*i:])
	}
	return out
}
