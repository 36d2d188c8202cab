package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"weir/bpf/latency"
)

// traceBar is the part of a CPU that a tracer's own programs may take, in percent.
const traceBar = 3

// tracePair is a repetition's two turns of a kind.
type tracePair struct{ without, with TraceTurn }

// tracePairs are a tracer's.
func tracePairs(turns []TraceTurn, tracer string, closed bool) (pairs []tracePair) {
	for _, with := range turns {
		for _, without := range turns {
			if with.Tracer == tracer && without.Tracer == tracer && with.Closed == closed && without.Closed == closed &&
				with.Rep == without.Rep && with.Traced && !without.Traced && !with.Empty {
				pairs = append(pairs, tracePair{without, with})
			}
		}
	}
	return pairs
}

// events are what the tracer's costs are of: of rtt the sockets that it walked.
func (p tracePair) events() float64 {
	if p.with.Tracer == latency.RTT {
		return float64(p.with.Seen)
	}
	return float64(p.with.Events)
}

// counted are what the programs' time is of: the events, but of softirq all that it saw, as its programs are at those
// of all the host.
func (p tracePair) counted() float64 {
	if p.with.Tracer == latency.Softirq {
		return float64(p.with.Seen)
	}
	return p.events()
}

// addedNanos is the CPU time that an event takes more with the tracer. Of rtt it is that of the walks: its load
// has another event, and nothing is attached to it.
func (p tracePair) addedNanos() float64 {
	reader := (p.with.ReaderCPU - p.without.ReaderCPU) * 1e9 / p.events()
	if p.with.Tracer == latency.RTT {
		return reader
	}
	return reader + (p.with.LoadCPU/float64(p.with.Events)-p.without.LoadCPU/float64(p.without.Events))*1e9
}

// traceRows sum up the turns, a row for each tracer that is there. Costs are of events a second, on so many CPUs.
func traceRows(turns []TraceTurn, rate, cores int) (rows []TraceRow) {
	for _, name := range tracerNames() {
		atRate, closed := tracePairs(turns, name, false), tracePairs(turns, name, true)
		if len(atRate) == 0 || len(closed) == 0 {
			continue
		}
		column := func(pairs []tracePair, f func(p tracePair) float64) float64 {
			var values []float64
			for _, p := range pairs {
				values = append(values, f(p))
			}
			return median(values)
		}
		row := TraceRow{
			Tracer: name, Event: loadOf(name).event,
			PerSecond:   column(atRate, func(p tracePair) float64 { return p.events() / p.with.Seconds }),
			Seen:        column(atRate, func(p tracePair) float64 { return float64(p.with.Seen) / p.events() }),
			SampleEvery: column(atRate, func(p tracePair) float64 { return p.with.SampleEvery }),
			Runs:        column(atRate, func(p tracePair) float64 { return float64(p.with.Runs) / p.counted() }),
			EmptyPerRun: emptyPerRun(turns, name),
			AllNanos:    column(atRate, tracePair.addedNanos),
			HostBusier:  column(atRate, func(p tracePair) float64 { return (p.with.busy() - p.without.busy()) / float64(cores) }),
			Throughput:  column(closed, func(p tracePair) float64 { return p.with.perSecond() / p.without.perSecond() }),
		}
		row.NanosPerRun = column(atRate, func(p tracePair) float64 { return p.with.nanosPerRun() })
		row.OwnNanos = column(atRate, func(p tracePair) float64 {
			return max(p.with.nanosPerRun()-row.EmptyPerRun, 0) * float64(p.with.Runs) / p.counted()
		})
		if name == latency.XDP || name == latency.RTT { // what others take longer, as it has no programs; a whole walk
			row.OwnNanos = row.AllNanos
		}
		row.OwnOfCPU = row.OwnNanos * float64(rate) / 1e9
		row.OwnOfHost = row.OwnOfCPU / float64(cores)
		row.AllOfHost = row.AllNanos * float64(rate) / 1e9 / float64(cores)
		row.Scaled = row.PerSecond < 0.95*float64(rate)
		rows = append(rows, row)
	}
	return rows
}

// nanosPerRun is what the kernel has counted of a run.
func (t TraceTurn) nanosPerRun() float64 { return float64(t.OwnNanos) / float64(max(t.Runs, 1)) }

// emptyPerRun is the median of what it counts of a run that does nothing, 0 if there was none.
func emptyPerRun(turns []TraceTurn, tracer string) float64 {
	var all []float64
	for _, t := range turns {
		if t.Tracer == tracer && t.Empty && t.Runs > 0 {
			all = append(all, t.nanosPerRun())
		}
	}
	if len(all) == 0 {
		return 0
	}
	return median(all)
}

// busy is how many CPUs were.
func (t TraceTurn) busy() float64 { return t.HostCPU / t.Seconds }

// traceBars hold what the tracers take against the bar: their own programs, of rtt the walks.
func traceBars(rows []TraceRow, rate int) (bars []Bar) {
	for _, row := range rows {
		b := Bar{Name: fmt.Sprintf("%s: own programs at %s/s (%s), of one CPU", row.Tracer, count(float64(rate)), row.Event), Bar: traceBar, Unit: "%"}
		if loadOf(row.Tracer).rare {
			b.Skipped = fmt.Sprintf("nothing makes so many: at %s/s, as fast as one process could, they are %.2f %%: %.0f ns each, and all that one takes more %.0f ns",
				count(row.PerSecond), 100*row.OwnOfCPU*row.PerSecond/float64(rate), row.OwnNanos, row.AllNanos)
			bars = append(bars, b)
			continue
		}
		b = b.judge(100 * row.OwnOfCPU)
		b.Note = fmt.Sprintf("%.2f %% of the host's: %.0f ns each", 100*row.OwnOfHost, row.OwnNanos)
		switch row.Tracer {
		case latency.XDP:
			b.Note += " by the load's CPU time, as it has no programs of its own"
		case latency.RTT:
			b.Note += fmt.Sprintf(" by the walker's CPU time; one report in %.1f is of a new walk", row.SampleEvery)
		default:
			b.Note += fmt.Sprintf(", %.1f runs of %.0f ns, of which counting takes %.0f; one in %.0f is followed", row.Runs, row.NanosPerRun, row.EmptyPerRun, row.SampleEvery)
		}
		if row.Scaled {
			b.Note += fmt.Sprintf("; scaled from %s/s, where they are %.2f %% of a CPU, within a budget that is as much less", count(row.PerSecond), 100*row.OwnOfCPU*row.PerSecond/float64(rate))
		}
		bars = append(bars, b)
	}
	return bars
}

// Print writes the table and the bars, to be read.
func (r *TraceResult) Print(out io.Writer) error {
	fmt.Fprintf(out, "Costs at %d events/s, of one CPU and of all %d of the host; medians of %d.\n\n", r.Rate, r.Host.Cores, r.Reps)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tevent\tevents/s\tseen\tone in\truns\tns a run\tempty\town ns\tof a CPU\tof the host\tall ns\tof the host\thost busier\tas fast as it goes")
	for _, row := range r.Rows {
		scaled := ""
		if row.Scaled {
			scaled = " *"
		}
		cells := []string{
			row.Tracer, row.Event, count(row.PerSecond) + scaled, percent(row.Seen), fmt.Sprintf("%.3g", row.SampleEvery),
			fmt.Sprintf("%.1f", row.Runs), fmt.Sprintf("%.0f", row.NanosPerRun), fmt.Sprintf("%.0f", row.EmptyPerRun), fmt.Sprintf("%.0f", row.OwnNanos), percent(row.OwnOfCPU), percent(row.OwnOfHost),
			fmt.Sprintf("%.0f", row.AllNanos), percent(row.AllOfHost), percent(row.HostBusier), fmt.Sprintf("%.2fx", row.Throughput),
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprint(out, "\n* The host does not make so many; costs are scaled.\n")
	printBars(out, r.Bars)
	return nil
}
