package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// FanoutRow is a server at one of the two rates: medians over its turns.
type FanoutRow struct {
	Server string `json:"server"`
	// At is sweep, gather, or most: the highest rate that held of each turn.
	At        string  `json:"at"`
	Rate      float64 `json:"rate"`
	PerSecond float64 `json:"deliveries_per_second"`
	MicrosCPU float64 `json:"server_cpu_us_per_delivery"`
	// EdgeMicros is without what the bus takes; of servers without one the same.
	EdgeMicros float64 `json:"server_cpu_us_per_delivery_without_bus"`
	LoadMicros float64 `json:"load_cpu_us_per_delivery"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	// Whole is whether no event was lost, doubled or out of order in any turn, Holds whether it also
	// came in time.
	Whole bool `json:"whole"`
	Holds bool `json:"holds"`
}

// Rates of a row.
const (
	atSweep  = "sweep"
	atGather = "gather"
	atMost   = "most"
)

// step is the turn's at a rate, nil if there is none, and what one event cost the bus there.
func (t *FanoutTurn) step(at string) (s, bus *Step) {
	switch at {
	case atSweep:
		return t.Sweep, t.BusSweep
	case atGather:
		return t.Gather, t.BusGather
	default:
		all := slices.Clone(t.Search)
		for _, s := range []*Step{t.Sweep, t.Gather} {
			if s != nil {
				all = append(all, *s)
			}
		}
		var best *Step
		for i := range all {
			if all[i].Holds && (best == nil || all[i].PerSecond > best.PerSecond) {
				best = &all[i]
			}
		}
		return best, nil
	}
}

// edgeMicros is a delivery's CPU without what the events cost before they come to the many.
func edgeMicros(s, bus *Step) float64 {
	if bus == nil || s.Deliveries == 0 {
		return s.MicrosCPU
	}
	// Of one subscriber, a delivery is an event.
	return s.MicrosCPU - bus.MicrosCPU*float64(s.Published)/float64(s.Deliveries)
}

// fanoutRows are the medians of each server's turns.
func fanoutRows(turns []FanoutTurn) (rows []FanoutRow) {
	for _, name := range append(Servers(), ServerWeirWith) {
		for _, at := range []string{atSweep, atGather, atMost} {
			if at == atMost && !slices.ContainsFunc(turns, func(t FanoutTurn) bool { return len(t.Search) > 0 }) {
				continue
			}
			if r, ok := fanoutRow(turns, name, at); ok {
				rows = append(rows, r)
			}
		}
	}
	return rows
}

func fanoutRow(turns []FanoutTurn, name, at string) (r FanoutRow, ok bool) {
	r = FanoutRow{Server: name, At: at, Whole: true, Holds: true}
	columns := []struct {
		to *float64
		of func(s, bus *Step) float64
	}{
		{&r.Rate, func(s, _ *Step) float64 { return s.Rate }},
		{&r.PerSecond, func(s, _ *Step) float64 { return s.PerSecond }},
		{&r.MicrosCPU, func(s, _ *Step) float64 { return s.MicrosCPU }},
		{&r.EdgeMicros, edgeMicros},
		{&r.LoadMicros, func(s, _ *Step) float64 { return s.LoadMicros }},
		{&r.P50, func(s, _ *Step) float64 { return s.P50 }},
		{&r.P99, func(s, _ *Step) float64 { return s.P99 }},
		{&r.Max, func(s, _ *Step) float64 { return s.Max }},
	}
	values := make([][]float64, len(columns))
	for i := range turns {
		s, bus := turns[i].step(at)
		if turns[i].Server != name || s == nil {
			continue
		}
		ok = true
		r.Whole, r.Holds = r.Whole && s.whole(), r.Holds && s.Holds
		for c, column := range columns {
			values[c] = append(values[c], column.of(s, bus))
		}
	}
	for c, column := range columns {
		*column.to = median(values[c])
	}
	return r, ok
}

// fanoutBars are the bars that weir sets itself, and how the turns stand to them. Ratios are of turns
// of one repetition.
func fanoutBars(turns []FanoutTurn) []Bar {
	micros := func(s, _ *Step) float64 { return s.MicrosCPU }
	p99 := func(s, _ *Step) float64 { return s.P99 }
	bars := []Bar{
		ratioBar(Bar{Name: "CPU a delivery, one message a sweep: weir, bus and all / minimal", Bar: 1.15}, turns, micros),
		ratioBar(Bar{Name: "CPU a delivery, one message a sweep: weir without its bus / minimal", Bar: 1.15}, turns, edgeMicros),
		ratioBar(Bar{Name: "p99, one message a sweep: weir / minimal", Bar: 1}, turns, p99),
	}
	weir, ok := fanoutRow(turns, ServerWeir, atGather)
	gather := Bar{Name: "CPU a delivery when messages gather: weir, bus and all", Bar: 0.6, Unit: "us"}
	if gather = gather.judge(weir.MicrosCPU); !ok {
		gather.Skipped = "weir was not measured"
	}
	most, ok := fanoutRow(turns, ServerWeir, atMost)
	top := Bar{Name: "deliveries/s without loss: weir", Bar: 2.5e6, AtLeast: true}
	switch top = top.judge(most.PerSecond); {
	case !ok && gather.Skipped != "":
		top.Skipped = gather.Skipped
	case !ok:
		top.Note = "none of the rates held"
	}
	return append(bars, gather, top)
}

// ratioBar is weir's figure to the minimal server's, at one message a sweep.
func ratioBar(b Bar, turns []FanoutTurn, of func(s, bus *Step) float64) Bar {
	b.Unit = "x"
	byRep, late := map[int]map[string]float64{}, false
	for i := range turns {
		t := &turns[i]
		late = late || t.Server != ServerFloor && !t.Sweep.Holds
		if byRep[t.Rep] == nil {
			byRep[t.Rep] = map[string]float64{}
		}
		byRep[t.Rep][t.Server] = of(t.Sweep, t.BusSweep)
	}
	var ratios []float64
	for _, rep := range byRep {
		if rep[ServerWeir] > 0 && rep[ServerMinimal] > 0 {
			ratios = append(ratios, rep[ServerWeir]/rep[ServerMinimal])
		}
	}
	if len(ratios) == 0 {
		b.Skipped = "weir and minimal were not both measured"
		return b
	}
	b.Note = fmt.Sprintf("%.2f to %.2f in %d repetitions", slices.Min(ratios), slices.Max(ratios), len(ratios))
	if late {
		b.Note += "; some were late: their messages gathered"
	}
	return b.judge(median(ratios))
}

// Lost reports whether weir lost, doubled or disordered an event at a rate it was to hold.
func (r *FanoutResult) Lost() bool {
	for i := range r.Turns {
		t := &r.Turns[i]
		for _, s := range []*Step{t.Sweep, t.Gather, t.BusSweep, t.BusGather} {
			if isWeir(t.Server) && s != nil && !s.whole() {
				return true
			}
		}
	}
	return false
}

// Print writes the table and the bars, to be read.
func (r *FanoutResult) Print(out io.Writer) error {
	if r.Floor != "" {
		fmt.Fprintf(out, "The floor is %s.\n", r.Floor)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tmsg/s\tdeliveries/s\tus CPU each\twithout bus\tload us\tp50 ms\tp99 ms\tmax ms\t")
	for _, row := range r.Rows {
		verdict := ""
		switch {
		case !row.Whole:
			verdict = "events lost"
		case !row.Holds:
			verdict = "late"
		}
		cells := []string{
			row.Server + ", " + row.At, fmt.Sprintf("%.0f", row.Rate), count(row.PerSecond), fmt.Sprintf("%.2f", row.MicrosCPU), fmt.Sprintf("%.2f", row.EdgeMicros),
			fmt.Sprintf("%.2f", row.LoadMicros), fmt.Sprintf("%.1f", row.P50), fmt.Sprintf("%.1f", row.P99), fmt.Sprintf("%.1f", row.Max), verdict,
		}
		if row.At == atMost { // it is not measured with one subscriber
			cells[4] = ""
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	for _, name := range append(Servers(), ServerWeirWith) {
		var memory, connects []float64
		for i := range r.Turns {
			if t := &r.Turns[i]; t.Server == name {
				memory, connects = append(memory, t.BytesPerConn), append(connects, t.ConnectsPerSec)
			}
		}
		if len(memory) > 0 {
			fmt.Fprintf(w, "%s: %.0f B of memory a connection, %s connects/s\n", name, median(memory), count(median(connects)))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	printWithRatios(out, r.With, r.WithRatios)
	printBars(out, r.Bars)
	return nil
}
