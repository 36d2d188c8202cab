package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Print writes tables and bars, to be read.
func (r *TuningResult) Print(out io.Writer) error {
	fmt.Fprintf(out, "%s, made for %d connections: %d subscribers, %.0f events/s for %.0f s a turn, %d pairs of turns", r.Profile, r.For, r.Conns, r.Rate, r.Seconds, r.Reps)
	if r.Each {
		fmt.Fprint(out, " of each group")
	}
	fmt.Fprint(out, ".\nThe ratio is on / off, the median over the pairs, with the least and the most; + says that more is better.\n"+
		"A gain or a loss is one in every pair, and by twice the noise: what turns of the same settings differ by.\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "group\tfigure\toff\ton\tratio\tfrom\tto\tnoise\t")
	for _, row := range r.Rows {
		name := row.Figure
		if row.More {
			name += " +"
		}
		cells := []string{
			row.Group, name, tuningNumber(row.Off), tuningNumber(row.On),
			fmt.Sprintf("%.3f", row.Ratio), fmt.Sprintf("%.3f", row.Min), fmt.Sprintf("%.3f", row.Max), row.noise(), string(row.Verdict),
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Gathered > 0 {
		fmt.Fprintf(out, "\nIn %d of %d turns the edge was late, and messages left together: their CPU is less than that of one by one. Lower --rate.\n", r.Gathered, len(r.Turns))
	}
	if wall := r.Wall; wall != nil {
		fmt.Fprintf(out, "\n%d connections at once, to one loop that stands\n", wall.Conns)
		w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\tsomaxconn\tstood\tconnected meanwhile\toverflows\tfailed\tothers after")
		for _, t := range []struct {
			name string
			turn WallTurn
		}{{"off", wall.Off}, {"on", wall.On}} {
			fmt.Fprintf(w, "%s\t%s\t%.2f s\t%d\t%d\t%d\t%.2f s\n", t.name, t.turn.Somaxconn, t.turn.StallSeconds, t.turn.Waiting, t.turn.Overflows, t.turn.Failed, t.turn.LastSeconds)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "setting\tgroup\tverdict\t")
	for _, key := range slices.Sorted(maps.Keys(r.Settings)) {
		m := r.Settings[key]
		about := m.knobs()
		if m.Why != "" {
			about = strings.Trim(m.Why+"; "+about, "; ")
		}
		fmt.Fprintln(w, strings.Join([]string{key, m.Group, string(m.Verdict), about}, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(r.Bars) > 0 {
		printBars(out, r.Bars)
	}
	return nil
}

// noise is how a table has it.
func (r *TuningRow) noise() string {
	if r.Noise == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.3f", r.Noise)
}

// tuningNumber is a figure with as many digits as it can be trusted to.
func tuningNumber(n float64) string {
	if n >= 1000 {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.3f", n)
}
