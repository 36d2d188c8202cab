package main

import (
	"context"
	"time"

	"weir/bench"
)

type benchTraceCmd struct {
	Only     []string      `help:"Tracers to measure, those of weir trace; all if none." placeholder:"NAME"`
	Rate     int           `help:"Events a second that the costs are of." default:"200000"`
	Duration time.Duration `help:"How long each turn is measured." default:"3s"`
	Reps     int           `help:"Turns of each kind." default:"5"`
	Threads  int           `help:"Threads that make the events; 0: one a CPU, 2 at most." default:"0"`
	Conns    int           `help:"Connections that rtt walks, both ends of each; 0: 8000, or what the descriptor limit allows." default:"0"`
	Quick    bool          `help:"The least that shows every kind of turn, in about a minute."`
	JSON     bool          `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchTraceCmd) Help() string {
	return `Examples:
  sudo weir bench trace --quick
  sudo weir bench trace --only runq,stall --reps 9
  sudo weir bench trace --json > result.json

For each tracer another process makes its event: conns accepted (accept), bytes
that go to and fro on conns over loopback (read, write), threads woken through
pipes (runq), datagrams over loopback (softirq), polls that find an event
(stall), collections of its own garbage (gc), runs of XDP programs on frames
between two network namespaces (xdp), sockets of a walk (rtt). Turns with and without the tracer alternate, as fast as
it goes, and at the rate; where the host does not make so many at the rate that
it can, and the costs are scaled to it, with a budget that is as much less. The
tracer is told as "weir trace" tells it: that process alone, what it costs, its
budget, a report a second; of rtt as many reports as ask for that many sockets.

own is the time in the tracer's programs, by the kernel's statistics, without
what those count of programs that do nothing at the same hooks (empty), and of
rtt that of the walks; one in is how many events one is followed of. all is what an event takes more of CPU with the tracer than without,
by the processes' CPU time, the kernel's way into the programs and the reports
included; host is how much more of all CPUs was busy at the rate. Shares are of
one CPU, and of all CPUs of the host. The bars hold own against 3 % of one
CPU; they do not change the exit code. Run it on a host that does nothing else:
fifteen minutes.`
}

// Run measures.
func (c *benchTraceCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.TraceConfig{Only: c.Only, Rate: c.Rate, Duration: c.Duration, Reps: c.Reps, Threads: c.Threads, Conns: c.Conns}
	if c.Quick {
		cfg = cfg.Quick()
	}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunTrace(ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	return a.printBench(c.JSON, r)
}
