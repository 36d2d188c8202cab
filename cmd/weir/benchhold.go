package main

import (
	"context"
	"time"

	"weir/bench"
)

type benchHoldCmd struct {
	Conns        int           `help:"Connections to hold; 0: what the limit of open files and half of the memory allow." default:"0"`
	Workers      int           `help:"Processes that hold their other ends; 0: one for each 15,000." default:"0"`
	Settle       time.Duration `help:"How long they are held before memory is looked at." default:"30s"`
	Churn        time.Duration `help:"How long connections then come and go; 0: not at all." default:"0s"`
	ChurnPercent float64       `help:"Percent of them that go and come each second." default:"2"`
	Servers      []string      `help:"Servers to measure: floor, minimal, weir; all if none." placeholder:"NAME"`
	JSON         bool          `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchHoldCmd) Help() string {
	return `Examples:
  weir bench hold
  weir bench hold --churn 10m --servers weir --json > result.json

Each server is started, looked at, given its connections, and looked at again; with --churn once
more after connections came and went, half of them by a reset. Before memory is looked at, the
garbage is collected: weir's by two requests of /debug/pprof/heap?gc=1 on its admin address. RSS
and PSS are the process's, the kernel's memory is the host's and of both ends: do nothing else
meanwhile. Each server takes --churn and --settle anew. The bars do not change the exit code.`
}

// Run measures.
func (c *benchHoldCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.HoldConfig{Conns: c.Conns, Workers: c.Workers, Settle: c.Settle, Churn: c.Churn, Percent: c.ChurnPercent, Servers: c.Servers}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunHold(ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	return a.printBench(c.JSON, r)
}
