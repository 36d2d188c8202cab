package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
)

type quotaCmd struct {
	Show quotaShowCmd `cmd:"" help:"Show classes, mode, counters and the busiest sources."`
}

type quotaShowCmd struct {
	adminFlags
	JSON bool `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*quotaShowCmd) Help() string {
	return `Examples:
  weir quota show
  weir quota show --json | jq .top`
}

// Run prints the quotas of a running weir.
func (c *quotaShowCmd) Run(ctx context.Context, a *app) error {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/api/quota", nil, &raw); err != nil {
		return err
	}
	if c.JSON {
		_, err := fmt.Fprintf(a.stdout, "%s\n", raw)
		return err
	}
	var q quotaShown
	if err := json.Unmarshal(raw, &q); err != nil {
		return fmt.Errorf("read the quotas: %w", err)
	}
	if !q.Enabled {
		_, err := fmt.Fprintf(a.stdout, "XDP is off: %s\n", q.Reason)
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "interface\t%s (%s)\nmode\t%s\ntable\t%d of %d slots\nallow\t%s\n\n", q.Interface, q.Attach, q.Mode, q.Used, q.Slots, strings.Join(q.Allow, " "))
	fmt.Fprintf(w, "CLASS\tPACKETS\tBURST\tTOTAL\n")
	for _, k := range q.Classes {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", k.Name, k.Packets, k.Burst, k.Total)
	}
	fmt.Fprintf(w, "\nACTION\tREASON\tPACKETS\tBYTES\n")
	for _, n := range q.Counters {
		if n.Packets > 0 {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", n.Action, n.Reason, n.Packets, n.Bytes)
		}
	}
	fmt.Fprintf(w, "\nCLIENT\tPACKETS\tDROPPED\n")
	for _, t := range q.Top {
		fmt.Fprintf(w, "%s\t%d\t%d\n", t.Client, t.Packets, t.Dropped)
	}
	return w.Flush()
}
