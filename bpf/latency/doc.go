// Package latency measures where the microseconds between the network and a server go: [Open] puts one
// of the [Tracers] into the kernel, which counts durations there in histograms; [Tracer.Snapshot]
// reads them whenever somebody wants to know, and nothing wakes user space in between.
//
// Its programs are on tracepoints, iterators and sockops alone, which a locked-down kernel has too.
// They are gone when the Tracer is closed, or its process has died.
//
// [Export] keeps several open, within a budget, for Prometheus.
//
// A tracer with a [Config.Budget] has a goroutine until it is closed, which looks once a second at what it takes; others have none.
package latency
