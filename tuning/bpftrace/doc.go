// Package bpftrace has profiling sessions as scripts of bpftrace, each for one question about a running weir, and
// runs them: it finds bpftrace, gives it the script, ends it in a way that has it print what it gathered, and makes
// its output and its errors readable. [Sessions] lists them; each script says in its head what it costs.
//
// The scripts use tracepoints, and uprobes at functions' entries, alone: kprobes and fentry are refused on locked-down kernels,
// and a uretprobe kills a Go process. They hold to the language of bpftrace 0.17, and run by hand as well.
//
// It is not for watching all the time: that is what weir's own tracers and metrics are for, which cost less. Run starts
// one process and two goroutines, and has joined all of them when it returns.
package bpftrace
