package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// topReasons is how many are shown.
const topReasons = 3

// Print writes the result as a table.
func (r *FloodResult) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tgoodput\thandshakes\tp50 ms\tp99 ms\tdelivery p99 ms\tflood/s\tqueue lost/s\tsoftirq\tdropped")
	for i := range r.Rows {
		row := &r.Rows[i]
		var ratio func(v float64) string
		if ratio = func(v float64) string { return fmt.Sprintf(" x%s", short(v)) }; row.Setting == calmRow {
			ratio = func(float64) string { return "" }
		}
		cells := []string{
			row.Setting,
			percent(row.Goodput) + ratio(row.Ratio.Goodput),
			percent(row.Handshakes) + ratio(row.Ratio.Handshakes),
			fmt.Sprintf("%.1f", row.HandshakeP50) + ratio(row.Ratio.HandshakeP50),
			fmt.Sprintf("%.1f", row.HandshakeP99) + ratio(row.Ratio.HandshakeP99),
			fmt.Sprintf("%.1f", row.DeliveryP99) + ratio(row.Ratio.DeliveryP99),
			count(row.FloodPerSecond),
			count(row.LostPerSecond),
			percent(row.Softirq) + ratio(row.Ratio.Softirq),
			reasons(row),
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", share*100) }

// short is a ratio in few characters.
func short(v float64) string {
	if v >= 10 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// count is a number in few characters.
func count(n float64) string {
	switch {
	case n >= 1e7:
		return fmt.Sprintf("%.1fM", n/1e6)
	case n >= 1e6:
		return fmt.Sprintf("%.2fM", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.0fk", n/1e3)
	default:
		return fmt.Sprintf("%.0f", n)
	}
}

// reasons are the row's top ones.
func reasons(row *FloodRow) string {
	dropped, would := top(row.Dropped), top(row.WouldDrop)
	switch {
	case dropped == "" && would == "":
		return "0"
	case would == "":
		return dropped
	case dropped == "":
		return "(would: " + would + ")"
	default:
		return dropped + " (would: " + would + ")"
	}
}

// top is the most frequent reasons and the sum of the others.
func top(counts map[string]uint64) string {
	names := slices.Collect(maps.Keys(counts))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	var all []string
	var others uint64
	for _, name := range names {
		switch n := counts[name]; {
		case n == 0:
		case len(all) < topReasons:
			all = append(all, name+" "+count(float64(n)))
		default:
			others += n
		}
	}
	if others > 0 {
		all = append(all, "others "+count(float64(others)))
	}
	return strings.Join(all, ", ")
}
