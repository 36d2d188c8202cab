package main

import (
	"context"
	"encoding/json"
	"fmt"

	"weir/bench/demo"
)

type demoCmd struct {
	Seconds int  `help:"How long it runs." default:"60"`
	Conns   int  `help:"Subscribers." default:"2000"`
	JSON    bool `help:"Print each second, and the summary, as JSON." name:"json"`
}

// Help is printed below the flags.
func (*demoCmd) Help() string {
	return `Example:
  sudo weir demo --seconds 60

Two network namespaces: an edge with native XDP in one; in the other its subscribers and, for
10 s out of every 20, a flooder from several addresses. All of it is removed at the end.`
}

// Run runs the demo.
func (c *demoCmd) Run(ctx context.Context, a *app) error {
	sum, err := demo.Run(ctx, demo.Config{Seconds: c.Seconds, Conns: c.Conns, JSON: c.JSON}, a.stdout)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(sum)
	}
	_, err = fmt.Fprintf(a.stdout, "\np99 without the flood  %.1f ms\np99 with the flood     %.1f ms\nflooded                %d packets\ndropped                %s\nlost by subscribers    %d events\n",
		sum.P99Without, sum.P99With, sum.Flooded, demo.Reasons(sum.Dropped), sum.Faults.Lost)
	return err
}
