package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/bench"
)

type benchFairnessCmd struct {
	Conns    int           `help:"Subscribers of the big topic." default:"10000"`
	Small    int           `help:"Subscribers of the small one." default:"100"`
	Rate     float64       `help:"Events a second of the small topic." default:"10"`
	BigRate  float64       `help:"Events a second of the big one." default:"100"`
	Size     int           `help:"Bytes of a payload." default:"128"`
	Duration time.Duration `help:"How long each turn is measured." default:"10s"`
	Reps     int           `help:"Turns of each kind." default:"3"`
	JSON     bool          `help:"Print the result as JSON." name:"json"`
}

// Help is printed below the flags.
func (*benchFairnessCmd) Help() string {
	return `Examples:
  weir bench fairness
  weir bench fairness --conns 2000 --big-rate 1000 --reps 5 --json > result.json

It starts a weir of its own on loopback. In turns, the big topic has no events, or so
many that its sweep never ends; what is measured are the subscribers of the small topic.
In a third turn the small topic is that of another weir, beside the first which is as
busy: what the host alone does to it. The ratios are of the medians over the turns. What
makes the load runs on the same processors, and is part of what it costs. The exit code
is 1 if an event was lost.`
}

// Run measures.
func (c *benchFairnessCmd) Run(ctx context.Context, a *app) error {
	cfg := bench.FairnessConfig{Conns: c.Conns, Small: c.Small, Rate: c.Rate, BigRate: c.BigRate, Size: c.Size, Duration: c.Duration, Reps: c.Reps}
	if err := cfg.Validate(); err != nil {
		return &usageError{err}
	}
	r, err := bench.RunFairness(ctx, cfg, a.stderr)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(a.stdout).Encode(r)
	} else {
		_, err = fmt.Fprintf(a.stdout, "\nsmall topic beside a busy one / alone   p50 %.2fx  p99 %.2fx\n"+
			"of a server of its own / alone          p50 %.2fx  p99 %.2fx\n", r.P50Ratio, r.P99Ratio, r.ApartP50Ratio, r.ApartP99Ratio)
	}
	for _, s := range slices.Concat(r.Alone, r.Busy, r.Apart, r.Big) {
		if !s.Holds {
			return errors.Join(err, errFaults)
		}
	}
	return err
}
