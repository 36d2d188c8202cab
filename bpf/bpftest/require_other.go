//go:build !linux

package bpftest

import "testing"

// Require skips: only Linux has BPF programs of this kind.
func Require(tb testing.TB, version, feature string) {
	tb.Helper()
	tb.Skipf("%s needs Linux %s", feature, version)
}
