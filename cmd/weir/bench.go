package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"weir/bench"
	"weir/bench/httpload"
	"weir/bench/load"
	"weir/bench/traceload"
)

type benchCmd struct {
	Fanout   benchFanoutCmd   `cmd:"" help:"Deliver events to many subscribers of one topic, beside the least that could."`
	Hold     benchHoldCmd     `cmd:"" help:"Memory of idle subscribed connections, and of those that come and go."`
	Connect  benchConnectCmd  `cmd:"" help:"Take in connections and shake hands, as fast as it goes."`
	Slow     benchSlowCmd     `cmd:"" help:"Measure what subscribers that never read cost, and do to those that do."`
	Fairness benchFairnessCmd `cmd:"" help:"Measure what a topic of many subscribers does to one of few."`
	Flood    benchFloodCmd    `cmd:"" help:"Measure what a flood does to clients, with and without defenses (root)."`
	Gateway  benchGatewayCmd  `cmd:"" help:"Forward requests, beside nginx, HAProxy and Caddy, and hold off an abuser."`
	Trace    benchTraceCmd    `cmd:"" help:"Measure what the tracers of weir trace cost (root)."`
	Tuning   benchTuningCmd   `cmd:"" help:"Measure what the host's settings change, with and without them (root)."`
	XDP      benchXDPCmd      `cmd:"" name:"xdp" help:"Cost of a packet in the XDP program, beside other limiters (root)."`
}

type benchSlowCmd struct {
	Conns    int           `help:"Subscribers that read." default:"10000"`
	Stalled  int           `help:"Subscribers that never do." default:"300"`
	Rate     float64       `help:"Events a second." default:"10"`
	Size     int           `help:"Bytes of a payload." default:"128"`
	Duration time.Duration `help:"How long each turn is measured." default:"10s"`
	Reps     int           `help:"Turns with and without those that stall." default:"3"`
	JSON     bool          `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchSlowCmd) Help() string {
	return `Examples:
  weir bench slow
  weir bench slow --conns 2000 --stalled 600 --json > result.json

It starts a weir of its own on loopback, and measures in turns without and with
subscribers that stall: they are filled by a second topic until each is behind.
The ratio is that of the latencies at the 99th percentile of those who read, the
median over the turns. held is what the edge's ledger has for those that stall,
in the process and in the kernel. The exit code is 1 if an event was lost.`
}

// Run measures.
func (c *benchSlowCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.SlowConfig{Conns: c.Conns, Stalled: c.Stalled, Rate: c.Rate, Size: c.Size, Duration: c.Duration, Reps: c.Reps}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunSlow(ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(a.stdout).Encode(r)
	} else {
		_, err = fmt.Fprintf(a.stdout, "\np99 with those that stall / without   %.2fx\nheld for %d of them                   %.1f MB (%.1f process, %.1f kernel)\n",
			r.P99Ratio, r.Stalled, (r.HeldProcess+r.HeldKernel)/1e6, r.HeldProcess/1e6, r.HeldKernel/1e6)
	}
	for _, s := range append(r.Without, r.With...) {
		if !s.Holds {
			return errors.Join(err, errFaults)
		}
	}
	return err
}

type benchXDPCmd struct {
	Reps int  `help:"How often each case is measured." default:"5"`
	JSON bool `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchXDPCmd) Help() string {
	return `Examples:
  weir bench xdp
  weir bench xdp --reps 11 --json > result.json

The kernel runs the programs on packets that no network sees. The time is what a packet takes
above a program that drops it at once, and above the making of random sources; the median of
repetitions in which the cases take turns. The limiters beside weir are an LRU hash with the same
arithmetic, and a counter a second on each CPU. The lines at the end hold the figures against
weir's own bars; the exit code does not. It takes 2 to 4 minutes and 300 MiB, and watches the host's
connections meanwhile without counting one. Run it on a host that does nothing else.`
}

// Run measures.
func (c *benchXDPCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.XDPConfig{Reps: c.Reps}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunXDP(ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(r)
	}
	fmt.Fprintln(a.stdout)
	r.Print(a.stdout)
	return nil
}

type benchWorkerCmd struct {
	Role string `arg:"" optional:"" default:"load" enum:"load,http,trace,floor,minimal"`
	At   string `arg:"" optional:""`
}

// Run is a process that a scenario starts: a load generator, or a server to measure weir beside.
func (c *benchWorkerCmd) Run(a *app) error {
	switch c.Role {
	case "load":
		return load.Run(a.stdin, a.stdout)
	case "http":
		return httpload.Run(a.stdin, a.stdout)
	case "trace":
		return traceload.Run(a.stdin, a.stdout)
	}
	return bench.RunServer(c.Role, c.At, a.stdin, a.stdout)
}
