package main

import (
	"context"
	"errors"
	"time"

	"weir/bench"
	"weir/tuning/catalog"
)

type benchTuningCmd struct {
	Profile  string        `help:"What is on in every other turn: edge or gateway." default:"edge"`
	For      int           `help:"Connections that the profile is made for." default:"1000000"`
	Each     bool          `help:"Measure each group of settings by itself, in place of all of the profile."`
	Only     []string      `help:"Groups to measure with --each: memory, sending, softirq, steering, napi, offloads, vm, timers, runtime; or single settings of theirs; all groups if none." placeholder:"NAME"`
	Conns    int           `help:"Subscribers; 0: 8000, and 4000 with --each." default:"0"`
	Rate     float64       `help:"Events a second; 0: 5, and 10 with --each." default:"0"`
	Size     int           `help:"Bytes of a payload." default:"128"`
	Duration time.Duration `help:"How long each turn publishes; 0: 10s, and 3s with --each." default:"0s"`
	Reps     int           `help:"Pairs of turns, without and with the settings; 0: 12, and 5 of each group with --each." default:"0"`
	Quick    bool          `help:"The least that shows all of it: two short turns of a few subscribers."`
	JSON     bool          `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchTuningCmd) Help() string {
	return `Examples:
  sudo weir bench tuning --json > result.json
  sudo weir bench tuning --each --json > result.json
  sudo weir bench tuning --each --only napi,steering --reps 12

Whether tuning pays. Each turn has two network namespaces, an edge in one and its subscribers in
the other; in every other turn the profile, or one group of its settings, is applied as
"weir tune apply" does: what is a namespace's to the edge's, what is a device's to its end of the cable,
what is the host's to this host; "runtime" is what the edge's process is told, which weir tune
leaves to you. It is put back after each turn, byte for byte, also if the run
fails or is interrupted; a run that was killed is put back by the next one, or by
"weir tune rollback --journal /run/weir-bench-tuning/host.journal". The command fails if anything
is not as it was, and refuses a host on which weir tune has been applied.

The figures are connections per GB (1e9 bytes: the server's RSS and the kernel's memory of both ends), idle
and with a message to each that no client acknowledges; latency of deliveries at a fixed rate;
CPU a delivery: the server's, that in soft interrupts, and all that the host was not idle.
Settings that are bounds change none of these: of the accept queue's there is a test at the end.
The exit code is 1 if an event was lost; the bars do not change it. Do nothing else meanwhile:
it takes about 8 minutes, and 12 with --each.`
}

// Run measures.
func (c *benchTuningCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.TuningConfig{
		Profile: catalog.Profile(c.Profile), For: c.For, Each: c.Each, Only: c.Only, Conns: c.Conns, Rate: c.Rate, Size: c.Size, Duration: c.Duration, Reps: c.Reps,
	}
	if c.Quick {
		cfg = cfg.Quick()
	}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunTuning(ctx, cfg, a.stderr)
	if r == nil {
		return err
	}
	return errors.Join(a.printBench(c.JSON, r), err)
}
