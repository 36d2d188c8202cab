//go:build !linux

package rights

func mayLoad() bool { return true }
