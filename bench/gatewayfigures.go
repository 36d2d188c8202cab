package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// turnKey tells turns apart that are compared in a repetition.
type turnKey struct {
	peer, kind string
	conns      int
}

// gatewayTurns are the turns of each key, by repetition.
type gatewayTurns map[turnKey]map[int]*GatewayTurn

func byRep(turns []GatewayTurn) gatewayTurns {
	all := gatewayTurns{}
	for i := range turns {
		t := &turns[i]
		k := turnKey{t.Peer, t.Kind, t.Conns}
		if all[k] == nil {
			all[k] = map[int]*GatewayTurn{}
		}
		all[k][t.Rep] = t
	}
	return all
}

// compare has f of both turns of each repetition that has both.
func compare(a, b map[int]*GatewayTurn, f func(a, b *GatewayTurn) float64) (values []float64) {
	for rep, t := range a {
		if other := b[rep]; other != nil {
			if v := f(t, other); !math.IsNaN(v) && !math.IsInf(v, 0) {
				values = append(values, v)
			}
		}
	}
	slices.Sort(values)
	return values
}

// openRate is a quarter of what the slowest of the peers that bars are of took with so many conns; of all, where none of those was measured.
func openRate(turns []GatewayTurn, conns int) float64 {
	slowest := func(peers []string) (least float64) {
		for _, p := range peers {
			var of []float64
			for _, t := range turns {
				if t.Peer == p && t.Kind == KindClosed && t.Conns == conns {
					of = append(of, t.PerSecond)
				}
			}
			if m := median(of); m > 0 && (least == 0 || m < least) {
				least = m
			}
		}
		return least
	}
	least := slowest(barPeers())
	if least == 0 {
		least = slowest(Peers())
	}
	return max(math.Floor(least/4), 1)
}

// gatewayRows are the medians, in the order of tables.
func gatewayRows(turns []GatewayTurn) (rows []GatewayRow) {
	all := byRep(turns)
	var conns []int
	for _, t := range turns {
		if !slices.Contains(conns, t.Conns) {
			conns = append(conns, t.Conns)
		}
	}
	slices.Sort(conns)
	for _, kind := range []string{KindClosed, KindOpen, KindBeside, KindRefused, KindAB} {
		for _, n := range conns {
			for _, peer := range Peers() {
				if of := all[turnKey{peer, kind, n}]; of != nil {
					rows = append(rows, gatewayRow(of, all[turnKey{PeerDirect, kind, n}], all[turnKey{PeerNginx, kind, n}]))
				}
			}
		}
	}
	return rows
}

func gatewayRow(of, direct, nginx map[int]*GatewayTurn) (r GatewayRow) {
	first := true
	for _, t := range of {
		if first {
			r.Peer, r.Kind, r.Conns, first = t.Peer, t.Kind, t.Conns, false
		}
		r.Requests, r.Errors, r.Refused = r.Requests+t.Requests, r.Errors+t.Errors, r.Refused+t.Refused
	}
	same := func(f func(t *GatewayTurn) float64) float64 {
		return median(compare(of, of, func(t, _ *GatewayTurn) float64 { return f(t) }))
	}
	r.Rate = same(func(t *GatewayTurn) float64 { return t.Rate })
	r.PerSecond = same(func(t *GatewayTurn) float64 { return t.PerSecond })
	r.P50 = same(func(t *GatewayTurn) float64 { return t.P50 })
	r.P99 = same(func(t *GatewayTurn) float64 { return t.P99 })
	r.P999 = same(func(t *GatewayTurn) float64 { return t.P999 })
	r.Max = same(func(t *GatewayTurn) float64 { return t.Max })
	r.MicrosCPU = same(func(t *GatewayTurn) float64 { return t.MicrosCPU })
	r.UpstreamMicros = same(func(t *GatewayTurn) float64 { return t.UpstreamMicros })
	r.Cores = same(func(t *GatewayTurn) float64 { return t.Cores })
	r.OverNginx = median(compare(of, nginx, func(t, n *GatewayTurn) float64 { return t.PerSecond / n.PerSecond }))
	r.AddedP50 = median(compare(of, direct, func(t, d *GatewayTurn) float64 { return t.P50 - d.P50 }))
	r.AddedP99 = median(compare(of, direct, func(t, d *GatewayTurn) float64 { return t.P99 - d.P99 }))
	r.AddedP999 = median(compare(of, direct, func(t, d *GatewayTurn) float64 { return t.P999 - d.P999 }))
	return r
}

// gatewayBars are the bars that weir sets itself, and how the turns stand to them. Ratios are of turns of one repetition.
func gatewayBars(turns []GatewayTurn) []Bar {
	all := byRep(turns)
	perSecond := func(a, b *GatewayTurn) float64 { return a.PerSecond / b.PerSecond }
	bars := []Bar{
		all.ratio(Bar{Name: "requests/s at 64 connections: weir / nginx", Bar: 1.1, AtLeast: true}, KindClosed, 64, PeerWeir, PeerNginx, perSecond),
		all.ratio(Bar{Name: "requests/s at 5,000 connections: weir / nginx", Bar: 1.2, AtLeast: true}, KindClosed, 5000, PeerWeir, PeerNginx, perSecond),
		all.ratio(Bar{Name: "requests/s at 64 connections: weir / nginx that tells as much", Bar: 1.1, AtLeast: true}, KindClosed, 64, PeerWeir, PeerNginxAlike, perSecond),
		all.ratio(Bar{Name: "requests/s at 5,000 connections: weir / nginx that tells as much", Bar: 1.2, AtLeast: true}, KindClosed, 5000, PeerWeir, PeerNginxAlike, perSecond),
		addedBar("added p99 at 64 connections and one rate: weir, of nginx's", turns, 64),
		addedBar("added p99 at 5,000 connections and one rate: weir, of nginx's", turns, 5000),
		all.ratio(Bar{Name: "p99 at 64 connections and one rate: weir / weir without a quota", Bar: 1.03}, KindOpen, 64, PeerWeir, PeerWeirOpen,
			func(a, b *GatewayTurn) float64 { return a.P99 / b.P99 }),
		all.ratio(Bar{Name: "p99 at 64 connections, of one weir at one time: route with a quota / without", Bar: 1.03}, KindBeside, 64, PeerWeir, PeerWeirOpen,
			func(a, b *GatewayTurn) float64 { return a.P99 / b.P99 }),
		all.ratio(Bar{Name: "CPU of a 429: weir / nginx", Bar: 1}, KindRefused, warmConns, PeerWeir, PeerNginx,
			func(a, b *GatewayTurn) float64 { return a.MicrosCPU / b.MicrosCPU }),
	}
	failed := Bar{Name: "requests that failed: weir", Unit: "requests", Skipped: "weir was not measured"}
	var errs uint64
	for _, t := range turns {
		if t.Peer == PeerWeir {
			errs, failed.Skipped = errs+t.Errors, ""
		}
	}
	return append(bars, failed.judge(float64(errs)))
}

// ratio is a bar of the ratios of a peer's turns to another's.
func (all gatewayTurns) ratio(b Bar, kind string, conns int, peer, to string, f func(a, b *GatewayTurn) float64) Bar {
	b.Unit = "x"
	ratios := compare(all[turnKey{peer, kind, conns}], all[turnKey{to, kind, conns}], f)
	if len(ratios) == 0 {
		b.Skipped = fmt.Sprintf("%s and %s were not both measured", peer, to)
		return b
	}
	b.Note = spread(ratios)
	return b.judge(median(ratios))
}

// spread says between which values the repetitions were.
func spread(sorted []float64) string {
	return fmt.Sprintf("%.2f to %.2f in %d repetitions", sorted[0], sorted[len(sorted)-1], len(sorted))
}

// addedBar holds what weir adds to direct access against what nginx adds.
func addedBar(name string, turns []GatewayTurn, conns int) Bar {
	all := byRep(turns)
	b := Bar{Name: name, Unit: "us"}
	direct := all[turnKey{PeerDirect, KindOpen, conns}]
	added := func(a, d *GatewayTurn) float64 { return a.P99 - d.P99 }
	weir := compare(all[turnKey{PeerWeir, KindOpen, conns}], direct, added)
	nginx := compare(all[turnKey{PeerNginx, KindOpen, conns}], direct, added)
	if len(weir) == 0 || len(nginx) == 0 {
		b.Skipped = "direct access, weir and nginx were not all measured"
		return b
	}
	b.Bar, b.Note = math.Round(median(nginx)*10)/10, spread(weir)
	return b.judge(median(weir))
}

// Print writes the tables and the bars, to be read.
func (r *GatewayResult) Print(out io.Writer) error {
	for _, m := range r.Missing {
		fmt.Fprintln(out, m)
	}
	for _, table := range []struct{ kind, title, head string }{
		{KindClosed, "As fast as it goes (wrk)", "\treq/s\tof nginx\tp50 us\tp99 us\tp99.9 us\tus CPU each\tcores\terrors"},
		{KindOpen, "At one rate, from when a request was due", "\treq/s\tp50 us\tadded\tp99 us\tadded\tp99.9 us\tadded\tus CPU each\terrors"},
		{KindBeside, "A route with a quota beside one without, of one weir at one time", "\treq/s\tp50 us\tp99 us\tp99.9 us"},
		{KindRefused, "All refused with 429 (wrk)", "\treq/s\tof nginx\tp50 us\tp99 us\tp99.9 us\tus CPU each\tcores\terrors"},
		{KindAB, "As fast as it goes (ab)", "\treq/s\tof nginx\tp50 us\tp99 us\tp99.9 us\tus CPU each\tcores\terrors"},
	} {
		if !slices.ContainsFunc(r.Rows, func(row GatewayRow) bool { return row.Kind == table.kind }) {
			continue
		}
		fmt.Fprintf(out, "\n%s, %.0f s a turn\n", table.title, r.Seconds)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, table.head)
		for i := range r.Rows {
			if row := &r.Rows[i]; row.Kind == table.kind {
				fmt.Fprintln(w, row.line())
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	printBars(out, r.Bars)
	return nil
}

// line is a row of its table.
func (r *GatewayRow) line() string {
	name := fmt.Sprintf("%s, %d", r.Peer, r.Conns)
	if r.Kind == KindOpen {
		return fmt.Sprintf("%s\t%s\t%.0f\t%+.0f\t%.0f\t%+.0f\t%.0f\t%+.0f\t%.1f\t%d", name, count(r.PerSecond), r.P50, r.AddedP50, r.P99, r.AddedP99, r.P999, r.AddedP999, r.MicrosCPU, r.Errors)
	}
	if r.Kind == KindBeside {
		return fmt.Sprintf("%s\t%s\t%.0f\t%.0f\t%.0f", name, count(r.PerSecond), r.P50, r.P99, r.P999)
	}
	over := "-"
	if r.OverNginx > 0 {
		over = short(r.OverNginx) + "x"
	}
	tail := fmt.Sprintf("%.0f", r.P999)
	if r.Kind == KindAB { // it does not say
		tail = "-"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%.0f\t%.0f\t%s\t%.1f\t%.2f\t%d", name, count(r.PerSecond), over, r.P50, r.P99, tail, r.MicrosCPU, r.Cores, r.Errors)
}

// Failed reports whether a request to weir failed.
func (r *GatewayResult) Failed() bool {
	return slices.ContainsFunc(r.Turns, func(t GatewayTurn) bool {
		return t.Errors > 0 && (t.Peer == PeerWeir || t.Peer == PeerWeirOpen || t.Peer == PeerWeirNet)
	})
}
