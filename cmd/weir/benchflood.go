package main

import (
	"context"
	"time"

	"weir/bench"
)

type benchFloodCmd struct {
	Kind     string        `help:"What it is made of: syn, ack, rst, udp, fragments, vlan, ext, mix or connect." default:"syn"`
	Rate     int           `help:"Packets a second, or conns; 0: as fast as it goes." default:"200000"`
	Sources  int           `help:"The flood's addresses, of IPv4 and of IPv6 each." default:"8"`
	Spoofed  bool          `help:"Give each packet a random source instead."`
	Conns    int           `help:"Subscribers." default:"500"`
	Quota    int           `help:"Packets a second, and at once, of each client." default:"1000"`
	Duration time.Duration `help:"How long each setting is measured." default:"10s"`
	Only     []string      `help:"Settings to measure beside the baseline: off, shadow, enforce, no-cookies, under-attack, nftables; all if none." placeholder:"NAME"`
	JSON     bool          `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchFloodCmd) Help() string {
	return `Examples:
  sudo weir bench flood
  sudo weir bench flood --kind mix --spoofed --rate 0 --only off,enforce --json > result.json

Two network namespaces for each setting: a weir in one; in the other its subscribers, a prober
that does 50 new handshakes a second, and the flood. The settings are: baseline (no flood), off
(no XDP program), shadow and enforce (quotas in native XDP; SYNs of unknown sources above 10000/s
are answered with cookies), no-cookies (enforce, and those SYNs are dropped), under-attack (all of
them are answered), nftables (no XDP program, the same quota in a dynamic set at the ingress
hook). All of it is removed at the end.

goodput is the deliveries that came of those expected, handshakes the probes answered within
2 s, dropped what XDP dropped or answered itself. "x" is the ratio to the baseline. "softirq" is the share of all CPUs' time in soft
interrupts, where packets of both hosts are received; the flood is made in system time.

Both hosts share the CPUs: compare rows of a run, not figures with those of other machines, and
rows whose flood/s is the same. The edge takes frames in on the flood's CPU, so that as fast as
it goes is faster the less a packet costs the edge.`
}

// Run measures.
func (c *benchFloodCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.FloodConfig{
		Kind: c.Kind, Rate: c.Rate, Sources: c.Sources, Spoofed: c.Spoofed, Conns: c.Conns, Quota: c.Quota, Duration: c.Duration, Only: c.Only,
	}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunFlood(ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	return a.printBench(c.JSON, r)
}
