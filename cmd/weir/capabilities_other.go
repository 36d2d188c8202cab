//go:build !linux

package main

// dropCapabilities has nothing to drop: capabilities are Linux's.
func dropCapabilities([]capability) error { return nil }
