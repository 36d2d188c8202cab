//go:build !linux

// Package testkernel says which tests a kernel can run by the options that it was built with.
package testkernel

import "testing"

// RequireOption skips: the option is Linux's.
func RequireOption(tb testing.TB, option string) {
	tb.Helper()
	tb.Skipf("it needs a Linux with %s", option)
}
