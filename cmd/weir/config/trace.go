package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"weir/bpf/latency"
)

// Trace is the section of the tracers that weir runs on itself; see docs/TRACING.md.
type Trace struct {
	Tracers   []string
	Budget    float64
	Threshold time.Duration
}

func defaultTrace() Trace {
	return Trace{Budget: latency.DefaultBudget, Threshold: 10 * time.Millisecond}
}

func traceSettings() []setting {
	return []setting{
		texts("trace.tracers", "trace.tracers", "tracers that weir runs on itself, for its metrics: accept, read, write, rtt, runq, softirq, stall, gc, xdp; empty: none", func(c *Config) *[]string { return &c.Trace.Tracers }),
		part("trace.budget", "share of one CPU that a tracer may take; above it it follows one in many events, and is detached for ten minutes if that is not enough", func(c *Config) *float64 { return &c.Trace.Budget }).of("trace.budget"),
		duration("trace.threshold", "trace.threshold", "event loops that do not ask for events for as long are stalls (stall)", func(c *Config) *time.Duration { return &c.Trace.Threshold }),
	}
}

// validate reports what is wrong with the section.
func (t Trace) validate() error {
	var errs []error
	for _, err := range flatten(latency.ExportConfig{Tracers: t.Tracers, Budget: t.Budget}.Validate()) {
		if wrong, ok := errors.AsType[*latency.FieldError](err); ok {
			err = fmt.Errorf("trace.%s is %v: want %s", strings.ToLower(wrong.Field), wrong.Value, wrong.Want)
		}
		errs = append(errs, err)
	}
	if t.Threshold <= 0 {
		errs = append(errs, fmt.Errorf("trace.threshold is %v: want a duration above 0, such as 10ms", t.Threshold))
	}
	return errors.Join(errs...)
}
