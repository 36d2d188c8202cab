//go:build !linux

package bench

func goFirst([]int) bool { return false }
