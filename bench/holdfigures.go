package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// holdBar is bytes of process memory a conn.
const holdBar = 1000

// holdBars hold weir's memory against the bar.
func holdBars(turns []HoldTurn, conns int) []Bar {
	held := Bar{Name: "process memory (RSS) of an idle subscribed connection: weir", Bar: holdBar, Unit: "B", Skipped: "weir was not measured"}
	churned := held
	churned.Name += ", after the churn"
	for _, t := range turns {
		if t.Server != ServerWeir {
			continue
		}
		held.Skipped, churned.Skipped = "", "there was no churn: ask for it with --churn 10m"
		held = held.judge(t.Held.perConn(t.Empty, conns).RSS)
		if t.Churned != nil {
			churned.Skipped = ""
			churned.Note = fmt.Sprintf("%d came and went", t.Reopened)
			churned = churned.judge(t.Churned.perConn(t.Empty, conns).RSS)
		}
	}
	return []Bar{held, churned}
}

// Print writes the table and the bars, to be read.
func (r *HoldResult) Print(out io.Writer) error {
	if r.Floor != "" {
		fmt.Fprintf(out, "The floor is %s.\n", r.Floor)
	}
	fmt.Fprintf(out, "Bytes that each of %d idle subscribed connections adds; kernel is of both ends.\n\n", r.Conns)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tRSS\tanonymous\tPSS\tGo heap\tkernel slab\tkernel buffers\tRSS without any")
	for _, t := range r.Turns {
		for _, at := range []struct {
			name string
			held *Memory
		}{{"held", &t.Held}, {"after churn", t.Churned}} {
			if at.held == nil {
				continue
			}
			m := at.held.perConn(t.Empty, r.Conns)
			fmt.Fprintf(w, "%s, %s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f MB\n", t.Server, at.name, m.RSS, m.Anon, m.PSS, m.Heap, m.Slab, m.Sockets, t.Empty.RSS/1e6)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	printBars(out, r.Bars)
	return nil
}
