// Package test runs the weir binary as a user does, end to end. Its tests need the binary's
// path in WEIR_BIN; `make test-e2e` sets it.
package test
