//go:build !linux

package xdp

// hasEthernet is not asked where there is no XDP.
func hasEthernet(int) bool { return true }

// driver is not known where there is no XDP.
func driver(string) string { return "unknown" }

// occupant is not known where there is no XDP.
func occupant(int) string { return "" }

// attachedAs is not known where there is no XDP.
func attachedAs(string) AttachMode { return "" }
