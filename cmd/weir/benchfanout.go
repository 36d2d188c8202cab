package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"weir/bench"
)

type benchFanoutCmd struct {
	Conns    int           `help:"Subscribers." default:"10000"`
	Rate     float64       `help:"Events a second that each leave in a sweep of their own." default:"10"`
	Gather   float64       `help:"Events a second that gather; 0: those of 2.6 million deliveries/s." default:"0"`
	Search   bool          `help:"Go up from there to the highest rate that nothing is lost at."`
	Size     int           `help:"Bytes of a payload." default:"128"`
	Duration time.Duration `help:"How long each rate is measured." default:"10s"`
	Reps     int           `help:"Turns of each server." default:"3"`
	Workers  int           `help:"Processes that hold the subscribers; 0: one for each 15,000." default:"0"`
	Servers  []string      `help:"Servers to measure: floor, minimal, weir; all if none." placeholder:"NAME"`
	With     []string      `help:"Measure a weir with this variable too, beside the one without; repeat it for others." placeholder:"KEY=VALUE" sep:"none"`
	JSON     bool          `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchFanoutCmd) Help() string {
	return `Examples:
  weir bench fanout
  weir bench fanout --search --reps 5 --json > result.json
  weir bench fanout --servers weir --rate 50
  weir bench fanout --servers weir --with GOMAXPROCS=2 --reps 5

Each server is started anew for each of its turns, on loopback. floor is a C program of one
pinned thread (in Go, where there is no C compiler): one write for each event and subscriber, and
nothing else. minimal is gnet with a handshake, one frame shared by all, and one write for all
events that gathered. weir is all of "weir serve", and beside it with one subscriber at the same
rates: what an event costs before it comes to the many is the bus's, the rest the edge's. With
--with there is a weir-with, and its ratios to weir.

The load checks on every connection that each event comes once and in order. Latency is from the
time at which an event was due. CPU is the process's, user and system; load us is the load
generator's. The lines at the end hold medians against weir's own bars: compare ratios within a
run. The exit code is 1 if weir lost an event, below the rates of a search; the bars do not
change it.`
}

// errFaults ends the command with exit code 1; the result says what was wrong.
var errFaults = errors.New("events were lost, late or doubled: see above")

// Run measures.
func (c *benchFanoutCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.FanoutConfig{
		Conns: c.Conns, Rate: c.Rate, Gather: c.Gather, Search: c.Search, Size: c.Size, Duration: c.Duration, Reps: c.Reps, Workers: c.Workers, Servers: c.Servers, With: c.With,
	}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunFanout(ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	if err := a.printBench(c.JSON, r); err != nil {
		return err
	}
	if r.Lost() {
		return errFaults
	}
	return nil
}

// printBench writes a scenario's result, to be read or as JSON.
func (a *app) printBench(asJSON bool, r interface{ Print(w io.Writer) error }) error {
	if asJSON {
		return json.NewEncoder(a.stdout).Encode(r)
	}
	fmt.Fprintln(a.stdout)
	return r.Print(a.stdout)
}
