// Package kernel brings quotas into the kernel: it compiles what an operator writes into the terms
// of the program (package bpf/xdp) by the arithmetic of package ratelimit, and keeps it there.
//
// An [Agent] owns a loaded program. Its policy changes whole or not at all, is put back by itself if
// nobody confirms it, and does not cut off those that it is told to protect. [Agent.Run] does what
// has to be done from time to time: it takes off escalations that are over, tells listeners to expect
// SYN cookies, and attaches the program again when its interface comes back.
//
// A [Client] is an address or an identity. [Agent.Bind] has a connection charged to an identity from when
// its token was seen; [Agent.Escalate] cuts a client below its quotas for a time, which ends by itself:
// who is to be cut decides package weir/ratelimit/escalate.
package kernel
