// Package traceload makes the events that tracers look at, of one kind, at a rate or as fast as it
// goes: a process of its own, that weir bench trace starts beside the tracer.
//
// Its threads are each on a CPU, so that an event costs the same with a tracer and without one.
// What it made it counts itself: nothing is asked of the tracer that is measured.
package traceload
