// Package trace makes spans of requests and sends them to a collector, by OpenTelemetry over HTTP (OTLP). It is the only one that
// knows OpenTelemetry.
//
// While a request is served there is no span: [Tracer.Start] says by 55 bytes what it is traced as (W3C Trace Context), which goes to the
// upstream and allocates nothing; of a request that is sampled both ways note each attempt at a server (access.Try); [Tracer.Observe] makes a copy
// of what a request that is sampled has become, and [Tracer.Run], a goroutine, makes its spans of that: a server span, and a client span of
// each attempt. So both ways of the gateway are traced alike, and none waits for a collector.
//
// # What is sampled
//
// A request that comes with a trace of somebody who is trusted is as that says: see [Config.From]. Of the others a part is, by the
// trace's number, as TraceIDRatioBased of OpenTelemetry does: an upstream with the same part samples the same ones. Their
// tracestate and baggage go no further.
//
// # What is lost
//
// The queue is bounded, and what is over is counted, as is what no collector took: see [Tracer.Stats]. Spans have no query, no
// credential and no identity.
package trace
