package bpftest

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
)

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types bucket bucket.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.

// GCRA loads the kernel's gcra and gcra_clamp and returns them as one function: the new arrival
// time, 0 for no, and the arrival time clamped to what the quota can bring it to.
func GCRA(tb testing.TB) func(interval, tolerance, tat, now uint64) (next, clamped uint64) {
	tb.Helper()
	var objs bucketObjects
	if err := loadBucketObjects(&objs, nil); err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		if err := objs.Close(); err != nil {
			tb.Error(err)
		}
	})
	return func(interval, tolerance, tat, now uint64) (next, clamped uint64) {
		tb.Helper()
		in := make([]byte, 16, 64) // struct numbers of bucket.c
		for _, v := range []uint64{interval, tolerance, tat, now, 0, 0} {
			in = binary.LittleEndian.AppendUint64(in, v)
		}
		opts := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in))}
		if _, err := objs.Bucket.Run(opts); err != nil {
			tb.Fatalf("run: %v", err)
		}
		return binary.LittleEndian.Uint64(opts.DataOut[48:]), binary.LittleEndian.Uint64(opts.DataOut[56:])
	}
}
