package bpftest

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types delay delay.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-prefix-map=.=.

// Delays are an XDP program that takes its time, and the kernel's histogram of durations.
type Delays struct {
	// Delay passes each packet after the time that it was made with. Linux 5.17.
	Delay *ebpf.Program

	tb   testing.TB
	objs delayObjects
}

// NewDelays loads both.
func NewDelays(tb testing.TB, each time.Duration) *Delays {
	tb.Helper()
	spec, err := loadDelay()
	if err == nil {
		err = spec.Variables[delayVarDelayNs].Set(uint64(each)) //nolint:gosec // a test's
	}
	d := &Delays{tb: tb}
	if err == nil {
		err = spec.LoadAndAssign(&d.objs, nil)
	}
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		if err := d.objs.Close(); err != nil {
			tb.Error(err)
		}
	})
	d.Delay = d.objs.Delay
	return d
}

// Bucket is that of a duration in hist.h.
func (d *Delays) Bucket(of time.Duration) int {
	d.tb.Helper()
	in := make([]byte, 32)
	binary.LittleEndian.PutUint64(in[16:], uint64(of)) //nolint:gosec // a test's
	opts := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in))}
	if _, err := d.objs.BucketOf.Run(opts); err != nil {
		d.tb.Fatalf("run: %v", err)
	}
	return int(binary.LittleEndian.Uint64(opts.DataOut[24:])) //nolint:gosec // a bucket
}
