//go:build !linux

package xdp

// occupant is not known where there is no XDP.
func occupant(int) string { return "" }
