package bench

import (
	"fmt"
	"io"
	"slices"
)

// sumUp fills in what the rows' figures are of all repetitions. What a row is above was measured in
// the same repetition.
func sumUp(rows []XDPRow) {
	byName := map[string]XDPRow{}
	for _, r := range rows {
		byName[r.Name] = r
	}
	for i := range rows {
		r := &rows[i]
		if r.Skipped != "" || len(r.Gross) == 0 {
			continue
		}
		net := slices.Clone(r.Gross)
		if r.Above != "" {
			for rep, base := range byName[r.Above].Gross {
				net[rep] -= base
			}
		}
		r.Net, r.Least, r.Most = median(net), slices.Min(net), slices.Max(net)
		var speedups []float64
		for rep, both := range r.GrossBoth {
			alone := (1/r.Gross[rep] + 1/r.GrossOther[rep]) / 2
			speedups = append(speedups, (1/both[0]+1/both[1])/alone)
		}
		r.Speedup = median(speedups)
	}
}

// leastNanos is less than any limiter costs: a ratio is a number even if noise says otherwise.
const leastNanos = 0.1

// xdpBars are the bars that weir sets itself, and how rows stand to them.
func xdpBars(rows []XDPRow) []Bar {
	byName := map[string]XDPRow{}
	for _, r := range rows {
		byName[r.Name] = r
	}
	var bars []Bar
	add := func(b Bar, figure func() float64, of ...string) {
		for _, name := range of {
			if r := byName[name]; r.Skipped != "" && b.Skipped == "" {
				b.Skipped = r.Skipped
			}
		}
		if b.Skipped == "" {
			b = b.judge(figure())
		}
		bars = append(bars, b)
	}
	for _, b := range []struct {
		row string
		ns  float64
	}{{rowHot, 45}, {rowHotCoarse, 25}} {
		add(Bar{Name: b.row, Bar: b.ns, Unit: "ns"}, func() float64 { return byName[b.row].Net }, b.row)
	}
	for _, b := range []struct {
		row, rival string
		ratio      float64
	}{
		{rowMillion, rowMillionLRU, 0.5},
		{rowMillion2, rowMillionLRU2, 0.5},
		{rowSpoof, rowSpoofLRU, 0.4},
		{rowSpoof, rowSpoofLRUBig, 0.4},
		{rowSpoofLists, rowSpoofLRUBig, 0.4},
	} {
		add(Bar{Name: b.row + " / " + b.rival, Bar: b.ratio, Unit: "x"}, func() float64 { return byName[b.row].Net / max(byName[b.rival].Net, leastNanos) }, b.row, b.rival)
	}
	for _, row := range []string{rowHot, rowMillion, rowSpoof} {
		bar := Bar{Name: row + ", two CPUs / one", Bar: 1.9, Unit: "x", AtLeast: true}
		if r := byName[row]; r.Skipped == "" && len(r.GrossBoth) == 0 {
			bar.Skipped = "there is but one CPU"
		}
		add(bar, func() float64 { return byName[row].Speedup }, row)
	}
	return bars
}

// Print writes the table and the bars, to be read.
func (r *XDPResult) Print(w io.Writer) {
	fmt.Fprintf(w, "Nanoseconds a packet above the empty program that the block begins with, median of %d; and how\nmany times the packets of one CPU two have.\n\n", r.Reps)
	fmt.Fprintf(w, "%8s %8s %8s %8s\n", "median", "least", "most", "two CPUs")
	for i, row := range r.Rows {
		if row.Above == "" && i > 0 {
			fmt.Fprintln(w)
		}
		if row.Skipped != "" {
			continue
		}
		speedup := ""
		if row.Speedup > 0 {
			speedup = fmt.Sprintf("%.2fx", row.Speedup)
		}
		fmt.Fprintf(w, "%8.1f %8.1f %8.1f %8s  %s\n", row.Net, row.Least, row.Most, speedup, row.Name)
	}
	for _, row := range r.Rows {
		if row.Skipped != "" {
			fmt.Fprintf(w, "\nskipped: %s: %s\n", row.Name, row.Skipped)
		}
	}
	if r.SameCore {
		fmt.Fprint(w, "\nThe two CPUs are threads of one core: two of them are not worth two.\n")
	}
	printBars(w, r.Bars)
}
