package bpftest

import (
	"testing"

	"weir/bpf/baseline"

	"github.com/cilium/ebpf"
)

// Spray is [baseline.Spray]: a program that runs target on a test's IPv4 packet with a random
// source of as many as 1<<bits.
func Spray(tb testing.TB, target *ebpf.Program, bits int) *ebpf.Program {
	tb.Helper()
	return Runner(tb)(baseline.Spray(target, bits)).Program()
}

// Drop is [baseline.Drop]: a program that drops every packet and does nothing else.
func Drop(tb testing.TB) *ebpf.Program {
	tb.Helper()
	return Runner(tb)(baseline.Drop()).Program()
}

// Runner fails the test if a [baseline.Runner] cannot be made, and closes it with the test.
func Runner(tb testing.TB) func(*baseline.Runner, error) *baseline.Runner {
	tb.Helper()
	return func(r *baseline.Runner, err error) *baseline.Runner {
		tb.Helper()
		if err != nil {
			tb.Fatalf("%+v", err)
		}
		tb.Cleanup(func() {
			if err := r.Close(); err != nil {
				tb.Error(err)
			}
		})
		return r
	}
}
