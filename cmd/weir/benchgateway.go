package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"weir/bench"
)

type benchGatewayCmd struct {
	Conns     []int         `help:"Numbers of connections to load with." default:"1,64,1000,5000,10000"`
	Open      []int         `help:"Those of them that are measured at one rate too; 1, 64 and 5000 if none." placeholder:"N"`
	Rate      float64       `help:"That rate, requests/s; 0: a quarter of what the slowest of weir, nginx and haproxy takes." default:"0"`
	Peers     []string      `help:"What to measure: direct, weir, weir-open, weir-net, nginx, nginx-alike, haproxy, caddy; all if none." placeholder:"NAME"`
	Duration  time.Duration `help:"How long each turn is measured, whole seconds." default:"5s"`
	Reps      int           `help:"Turns of each kind." default:"3"`
	Workers   int           `help:"Processes or threads of each gateway." default:"2"`
	Idle      int           `help:"Connections to the upstream that each of them keeps." default:"512"`
	Threads   int           `help:"Threads of wrk." default:"1"`
	Quick     bool          `help:"The least that shows every kind of turn, in about a minute."`
	Abuse     bool          `help:"Instead: an abuser beside good clients, in network namespaces (root)."`
	Quota     int           `help:"Of --abuse: each client's quota, requests/s." default:"500"`
	Good      int           `help:"Of --abuse: clients that keep to it." default:"100"`
	PerClient float64       `help:"Of --abuse: what each of those sends, requests/s." default:"20"`
	Times     float64       `help:"Of --abuse: how often its quota the abuser sends." default:"20"`
	Escalate  []string      `help:"Of --abuse: settings that have weir drop abusers in XDP; gateway.escalate=on if none." placeholder:"KEY=VALUE"`
	JSON      bool          `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchGatewayCmd) Help() string {
	return `Examples:
  weir bench gateway --quick
  weir bench gateway --json > result.json
  weir bench gateway --conns 64,5000 --peers direct,weir,nginx --reps 7
  sudo weir bench gateway --abuse

Each gateway is started anew for each of its turns, on loopback, before an nginx that answers 200
at once. weir is on event loops with a quota that no client meets, weir-open without one, weir-net
on net/http; nginx has limit_req, and nginx-alike besides tells the upstream whom it forwards for, as
weir does; haproxy has a stick table; caddy forwards alone, as its Debian package has no limiter. None
logs. The load is wrk, and ab at 64 connections; what is missing of Debian's
nginx, haproxy, caddy, wrk and apache2-utils is named, and left out but for nginx and wrk.

As fast as it goes, latencies say how many requests wait, not how long one takes: compare those at
one rate, which is the same for all. There requests are due on a schedule, and latency is from when
one was due; "added" is to direct access in the same repetition. There, too, requests go over a route
with a quota and one without, of one weir at one time: what the host does meanwhile, it does to both. CPU is the process's, its
children's too, user and system. A turn of 10,000 connections needs a descriptor limit of 20,000.

With --abuse, clients that keep to a quota and one abuser are in one network namespace, the gateway
in another. The gateways answer 429; weir-escalate drops the abuser's packets in XDP, if this weir
can. Node CPU is what soft interrupts, the gateway and its upstream took with the abuser beyond
what they took without: with the good clients both times, and with nobody else both times, as what
good clients cost differs from one phase to the next by more than a dropped abuser costs.

The load shares the CPUs: compare ratios within a run. The bars do not change the exit code, which
is 1 if a request to weir failed.`
}

var errFailed = errors.New("requests to weir failed: see above")

// Run measures.
func (c *benchGatewayCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.GatewayConfig{
		Peers: c.Peers, Conns: c.Conns, Open: c.Open, Rate: c.Rate, Duration: c.Duration, Reps: c.Reps, Workers: c.Workers, Idle: c.Idle, Threads: c.Threads,
		Quota: c.Quota, Good: c.Good, PerClient: c.PerClient, Abuse: c.Times,
	}
	if c.Quick {
		cfg = cfg.Quick()
	}
	for _, s := range c.Escalate {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return &usageError{fmt.Errorf("--escalate is %q: want KEY=VALUE, such as gateway.escalate=on", s)}
		}
		if cfg.Escalate == nil {
			cfg.Escalate = map[string]string{}
		}
		cfg.Escalate[key] = strconv.Quote(value)
	}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	if c.Abuse {
		r, err := bench.RunGatewayAbuse(ctx, cfg, a.stderr)
		return c.finish(a, r, err)
	}
	r, err := bench.RunGateway(ctx, cfg, a.stderr)
	return c.finish(a, r, err)
}

// gatewayResult is either run's.
type gatewayResult interface {
	Print(w io.Writer) error
	Failed() bool
}

// finish prints a result.
func (c *benchGatewayCmd) finish(a *app, r gatewayResult, err error) error {
	if err != nil {
		return err
	}
	if err := a.printBench(c.JSON, r); err != nil {
		return err
	}
	if r.Failed() {
		return errFailed
	}
	return nil
}
