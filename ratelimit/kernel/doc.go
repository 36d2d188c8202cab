// Package kernel brings quotas into the kernel: it compiles what an operator writes into the terms
// of the program (package bpf/xdp) by the arithmetic of package ratelimit, and keeps it there.
//
// An [Agent] owns a loaded program. Its policy changes whole or not at all, is put back by itself if
// nobody confirms it, and does not cut off those that it is told to protect. [Agent.Run] does what
// has to be done from time to time: it tells listeners to expect SYN cookies, and attaches the
// program again when its interface comes back.
package kernel
