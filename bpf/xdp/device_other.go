//go:build !linux

package xdp

// hasEthernet is not asked where there is no XDP.
func hasEthernet(int) bool { return true }

// occupant is not known where there is no XDP.
func occupant(int) string { return "" }

// attachedAs is not known where there is no XDP.
func attachedAs(string) AttachMode { return "" }
