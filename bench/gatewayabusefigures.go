package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// leastCores is the least that can be told from nothing: a tick of each of the three times that are summed.
func leastCores(seconds float64) float64 { return 3 * cpuTick.Seconds() / max(seconds, 1) }

// abuseBars are the bars that weir sets itself, and how the turns stand to them. Ratios are of turns of one repetition.
func abuseBars(turns []AbuseTurn, seconds float64) []Bar {
	of := map[string]map[int]*AbuseTurn{}
	for i := range turns {
		t := &turns[i]
		if of[t.Peer] == nil {
			of[t.Peer] = map[int]*AbuseTurn{}
		}
		of[t.Peer][t.Rep] = t
	}
	least := leastCores(seconds)
	var falls, alone, p99 []float64
	below, belowAlone := false, false
	for rep, t := range of[PeerWeirEscalate] {
		p99 = append(p99, t.P99Ratio)
		if other := of[PeerWeir429][rep]; other != nil {
			// Less than nothing is what the host's noise is, and so much the abuser may have cost.
			took, tookAlone := math.Abs(t.AbuserCores), math.Abs(t.OnlyCores)
			below, belowAlone = below || took < least, belowAlone || tookAlone < least
			falls = append(falls, other.AbuserCores/max(took, least))
			alone = append(alone, other.OnlyCores/max(tookAlone, least))
		}
	}
	bar := func(b Bar, values []float64) Bar {
		b.Unit = "x"
		if len(values) == 0 {
			b.Skipped = PeerWeirEscalate + " was not measured"
			return b
		}
		slices.Sort(values)
		b.Note = spread(values)
		return b.judge(median(values))
	}
	cpu := func(name string, values []float64, below bool) Bar {
		b := bar(Bar{Name: name, Bar: 20, AtLeast: true}, values)
		if below {
			b.Note += fmt.Sprintf("; where it escalates, taken for %.4f cores: less cannot be told", least)
		}
		return b
	}
	return []Bar{
		cpu("node CPU spent on the abuser beside good clients: weir with 429 alone / weir that escalates", falls, below),
		cpu("node CPU spent on the abuser by itself: weir with 429 alone / weir that escalates", alone, belowAlone),
		bar(Bar{Name: "p99 of the good clients of weir that escalates: with the abuser / without", Bar: 1.2}, p99),
	}
}

// Print writes the table and the bars, to be read.
func (r *AbuseResult) Print(out io.Writer) error {
	for _, m := range r.Missing {
		fmt.Fprintln(out, m)
	}
	fmt.Fprintf(out, "%d good clients of %.0f requests/s each, one abuser of %.0f; quota %d/s each; %.0f s a turn, medians\n\n", r.Good, r.PerClient, r.Times*float64(r.Quota), r.Quota, r.Seconds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tnode cores\tby the abuser\tsoftirq\tgateway\tupstream\tgood p50 us\tof alone\tgood p99 us\tof alone\tgood failed\tabuser ok\trefused\tlost or unsent\tabuser alone")
	for _, peer := range abusePeers() {
		var of []AbuseTurn
		for _, t := range r.Turns {
			if t.Peer == peer {
				of = append(of, t)
			}
		}
		if len(of) == 0 {
			continue
		}
		m := func(f func(t *AbuseTurn) float64) float64 {
			var values []float64
			for i := range of {
				values = append(values, f(&of[i]))
			}
			return median(values)
		}
		fmt.Fprintf(w, "%s\t%.3f\t%+.4f\t%+.4f\t%+.4f\t%+.4f\t%.0f\t%.2fx\t%.0f\t%.2fx\t%.0f\t%.0f\t%.0f\t%.0f\t%+.4f\n", peer,
			m(func(t *AbuseTurn) float64 { return t.Abused.NodeCores }), m(func(t *AbuseTurn) float64 { return t.AbuserCores }),
			m(func(t *AbuseTurn) float64 { return t.Abused.Softirq - t.Alone.Softirq }),
			m(func(t *AbuseTurn) float64 { return t.Abused.Gateway - t.Alone.Gateway }),
			m(func(t *AbuseTurn) float64 { return t.Abused.Upstream - t.Alone.Upstream }),
			m(func(t *AbuseTurn) float64 { return t.Abused.GoodP50 }), m(func(t *AbuseTurn) float64 { return t.Abused.GoodP50 / max(t.Alone.GoodP50, 1) }),
			m(func(t *AbuseTurn) float64 { return t.Abused.GoodP99 }), m(func(t *AbuseTurn) float64 { return t.P99Ratio }),
			m(func(t *AbuseTurn) float64 { return float64(t.goodFailed()) }),
			m(func(t *AbuseTurn) float64 { return float64(t.Abused.Abuser.OK) }), m(func(t *AbuseTurn) float64 { return float64(t.Abused.Abuser.Refused) }),
			m(func(t *AbuseTurn) float64 { return float64(t.Abused.Abuser.Lost + t.Abused.Abuser.Unsent) }), m(func(t *AbuseTurn) float64 { return t.OnlyCores }))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	printBars(out, r.Bars)
	return nil
}

// goodFailed are the good clients' requests that were not answered as they should.
func (t *AbuseTurn) goodFailed() (n uint64) {
	for _, p := range []*AbusePhase{&t.Alone, &t.Abused} {
		if p.Good != nil {
			n += p.Good.Due - min(p.Good.OK, p.Good.Due)
		}
	}
	return n
}

// Failed reports whether a good client of weir was refused, or got no answer.
func (r *AbuseResult) Failed() bool {
	return slices.ContainsFunc(r.Turns, func(t AbuseTurn) bool {
		return (t.Peer == PeerWeir429 || t.Peer == PeerWeirEscalate) && t.goodFailed() > 0
	})
}
