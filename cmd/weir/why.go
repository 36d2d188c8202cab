package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"weir/edge"
	"weir/ratelimit/kernel"
)

type whyCmd struct {
	adminFlags
	Client string `arg:"" help:"Address of the client, alone or with its port, or sub= and the subject of its token."`
	JSON   bool   `help:"Print the answer as JSON." name:"json"`
}

// Help is printed below the flags.
func (*whyCmd) Help() string {
	return `Examples:
  weir why 192.0.2.7
  weir why 192.0.2.7:51234 --json
  weir why sub=alice

Of each of the client's connections, and of the last that ended: what it is
doing, how often its subscriptions fell behind and why (the client does not
read: receive_window; the network is slow: congestion_window; more was sent at
once than the kernel holds: unsent_bytes), how many events it was not sent for
that, how late its event loop was of late, and why it ended. With quotas in XDP
also what they have dropped of the client.`
}

// Run explains.
func (c *whyCmd) Run(ctx context.Context, a *app) error {
	var answer struct {
		Conns []edge.ConnReport   `json:"conns"`
		Quota *kernel.Explanation `json:"quota"`
	}
	if shown, err := c.show(ctx, a, "/api/why?client="+url.QueryEscape(c.Client), c.JSON, &answer); shown || err != nil {
		return err
	}
	if len(answer.Conns) == 0 {
		_, err := fmt.Fprintf(a.stdout, "no connection of %s is held, nor among the last that ended\n", c.Client)
		return err
	}
	for i, conn := range answer.Conns {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		if err := printConn(a.stdout, conn); err != nil {
			return err
		}
	}
	if answer.Quota == nil {
		return nil
	}
	fmt.Fprintln(a.stdout)
	return printExplanation(a.stdout, *answer.Quota)
}

func printConn(out io.Writer, c edge.ConnReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\t%s, opened %v before", c.Client, c.State, c.OpenFor.Round(time.Second/10))
	if c.State == "closed" {
		fmt.Fprintf(w, " it ended, %v ago", c.ClosedAgo.Round(time.Second/10))
	} else {
		fmt.Fprint(w, " now")
	}
	fmt.Fprintln(w)
	if c.Identity != "" {
		fmt.Fprintf(w, "subject\t%q\n", c.Identity)
	}
	if c.Class != "" {
		fmt.Fprintf(w, "class\t%q\n", c.Class)
	}
	if c.Reason != "" {
		fmt.Fprintf(w, "ended by\t%s\n", c.Reason)
	}
	if len(c.Topics) > 0 {
		fmt.Fprintf(w, "topics\t%s\n", strings.Join(c.Topics, ", "))
	}
	var falls []string
	for _, cause := range slices.Sorted(maps.Keys(c.Falls)) {
		if n := c.Falls[cause]; n > 0 {
			falls = append(falls, fmt.Sprintf("%d for %s", n, cause))
		}
	}
	if len(falls) > 0 {
		fmt.Fprintf(w, "fell behind\t%s\n", strings.Join(falls, ", "))
	} else {
		fmt.Fprintf(w, "fell behind\tnever\n")
	}
	fmt.Fprintf(w, "skipped\t%d events\n", c.Skipped)
	if c.State != "closed" {
		fmt.Fprintf(w, "loop\t%v late at most in the last second\n", c.LoopLag.Round(time.Microsecond))
	}
	if t := c.TCP; t != nil {
		fmt.Fprintf(w, "outstanding\t%d bytes here, %d unsent and %d segments of %d bytes on their way in the kernel\n", c.Outstanding, t.UnsentBytes, t.UnackedSegments, t.SegmentBytes)
		fmt.Fprintf(w, "windows\t%d bytes of the client, %d segments of the network, round trip %v\n", t.ReceiveWindow, t.CongestionWindow, t.RTT)
	}
	return w.Flush()
}
