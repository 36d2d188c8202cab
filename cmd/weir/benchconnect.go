package main

import (
	"context"

	"weir/bench"
)

type benchConnectCmd struct {
	Conns   int      `help:"Connections to open at once." default:"10000"`
	Workers int      `help:"Processes that open them." default:"1"`
	Reps    int      `help:"Turns of each server." default:"5"`
	Servers []string `help:"Servers to measure: floor, minimal, weir; all if none." placeholder:"NAME"`
	JSON    bool     `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchConnectCmd) Help() string {
	return `Examples:
  weir bench connect
  weir bench connect --reps 9 --workers 2 --json > result.json

Connections are opened as fast as the load generator can, handshake and subscription included, by
a server just started, and again once those are closed; the medians over its turns. The servers are
those of "weir bench fanout". server us and load us are the CPU time of a connection at its two
ends, which share the host: where not even the floor reaches the bar, the load generator is the
limit. The bars do not change the exit code.`
}

// Run measures.
func (c *benchConnectCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.ConnectConfig{Conns: c.Conns, Workers: c.Workers, Reps: c.Reps, Servers: c.Servers}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunConnect(ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	return a.printBench(c.JSON, r)
}
