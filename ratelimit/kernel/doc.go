// Package kernel writes quotas into the maps of the program in the kernel, by difference. It
// compiles nothing itself (package ratelimit does) and loads nothing (package bpf/xdp does), and
// starts no goroutine.
package kernel
