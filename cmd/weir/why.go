package main

import (
	"context"
	"encoding/json"
	"errors"
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
	Kernel bool   `help:"Ask the kernel too, which needs root (${default}); --no-kernel: do not." negatable:"" default:"true"`
	JSON   bool   `help:"Print the answer as JSON." name:"json"`
}

// Help is printed below the flags.
func (*whyCmd) Help() string {
	return `Examples:
  weir why 192.0.2.7
  weir why 192.0.2.7:51234 --json
  weir why sub=alice
  sudo weir why 192.0.2.7             with what the kernel has of its sockets

Of each of the client's connections, and of the last that ended: what it is
doing, how often its subscriptions fell behind and why (the client does not
read: receive_window; the network is slow: congestion_window; more was sent at
once than the kernel holds: unsent_bytes), how many events it was not sent for
that, how late its event loop was of late, and why it ended. With quotas in XDP
also what they have dropped of the client.

As root, on weir's host and in its network namespace, also what the kernel has
of the client's sockets: what was sent again, what is not acknowledged or not
read, and sockets that weir does not hold: those that it has not accepted yet, or
has closed while bytes are on their way. The walk over all sockets is made here,
not in the weir that is asked.`
}

// Run explains.
func (c *whyCmd) Run(ctx context.Context, a *app) error {
	var raw map[string]json.RawMessage
	if _, err := c.show(ctx, a, "/api/why?client="+url.QueryEscape(c.Client), false, &raw); err != nil {
		return err
	}
	var answer whyAnswer
	err := errors.Join(json.Unmarshal(raw["conns"], &answer.Conns), json.Unmarshal(orNull(raw["quota"]), &answer.Quota))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Admin, err)
	}
	if c.Kernel {
		k := lookInKernel(c.Admin, c.Client, answer.Conns)
		answer.Kernel = &k
		if raw["kernel"], err = json.Marshal(k); err != nil {
			return err
		}
	}
	if c.JSON { // as weir has it, which may be of another release
		return json.NewEncoder(a.stdout).Encode(raw)
	}
	return answer.print(a.stdout, c.Client)
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// whyAnswer is what is known of a client; Kernel is nil if it was not asked, Quota if there are none.
type whyAnswer struct {
	Conns  []edge.ConnReport
	Quota  *kernel.Explanation
	Kernel *kernelState
}

func (answer *whyAnswer) print(out io.Writer, client string) error {
	if len(answer.Conns) == 0 {
		fmt.Fprintf(out, "no connection of %s is held, nor among the last that ended\n", client)
	}
	for i := range answer.Conns {
		conn := &answer.Conns[i]
		if i > 0 {
			fmt.Fprintln(out)
		}
		var inKernel *kernelSocket
		if answer.Kernel != nil {
			inKernel = answer.Kernel.of(conn)
		}
		if err := printConn(out, conn, inKernel); err != nil {
			return err
		}
	}
	if answer.Kernel != nil {
		if err := answer.Kernel.printRest(out); err != nil {
			return err
		}
	}
	if answer.Quota == nil {
		return nil
	}
	fmt.Fprintln(out)
	return printExplanation(out, *answer.Quota)
}

// printConn prints what is known of a conn; inKernel is nil if the kernel does not say.
func printConn(out io.Writer, c *edge.ConnReport, inKernel *kernelSocket) error {
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
	if inKernel != nil {
		inKernel.print(w)
	}
	return w.Flush()
}
