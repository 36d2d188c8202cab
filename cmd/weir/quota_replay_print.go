package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"weir/gateway/replay"
)

// replayPrinter prints a report for people, as tables.
type replayPrinter struct {
	out io.Writer
	r   *replay.Report
}

// Formats of times: a log is of days, a table of its minutes.
const (
	dayAndTime = "2006-01-02 15:04:05"
	dayAndHour = "2006-01-02 15:04"
)

func (p *replayPrinter) print() error {
	return errors.Join(p.summary(), p.clients(p.r.Top, "Clients limited most:"), p.minutes(), p.against(), p.notes())
}

// table prints rows, the cells of which are separated by tabs.
func (p *replayPrinter) table(rows func(w io.Writer)) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	rows(w)
	return w.Flush()
}

// percent is a part of all.
func percent(part, all uint64) string {
	if all == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(all))
}

func (p *replayPrinter) summary() error {
	r := p.r
	return p.table(func(w io.Writer) {
		fmt.Fprintf(w, "candidate\t%s: %s\n", r.Candidate, r.Policy)
		fmt.Fprintf(w, "log\t%d lines, %s to %s UTC\n", r.Lines, r.From.Format(dayAndTime), r.To.Format(dayAndTime))
		fmt.Fprintf(w, "requests\t%d, the candidate holds for %d\n", r.Requests, r.Held)
		fmt.Fprintf(w, "limited\t%d (%s)\n", r.Limited, percent(r.Limited, r.Requests))
		least := ""
		if !r.Exact {
			least = "at least "
		}
		fmt.Fprintf(w, "clients\t%s%d of %s%d\n", least, r.ClientsLimited, least, r.Clients)
		for _, s := range r.Skipped {
			fmt.Fprintf(w, "not asked\t%d, %s\n", s.Requests, s.Why)
		}
		if len(r.Policies) > 1 {
			for _, c := range r.Policies {
				fmt.Fprintf(w, "policy %s\trefused %d of %d\n", c.Name, c.Refused, c.Asked)
			}
		}
	})
}

func (p *replayPrinter) clients(all []replay.Client, title string) error {
	if len(all) == 0 {
		return nil
	}
	fmt.Fprintf(p.out, "\n%s\n", title)
	at := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return t.Format(dayAndTime)
	}
	return p.table(func(w io.Writer) {
		fmt.Fprintf(w, "CLIENT\tREQUESTS\tLIMITED\tSHARE\tFIRST\tLAST\tSTREAK\tPEAK/S\tPEAK/MIN")
		if p.r.Against != nil {
			fmt.Fprintf(w, "\tLIVE\tONLY LIVE\tONLY CANDIDATE")
		}
		fmt.Fprintln(w)
		for _, c := range all {
			missed := ""
			if c.Missed > 0 {
				missed = fmt.Sprintf(" to %d", c.Limited+c.Missed)
			}
			fmt.Fprintf(w, "%s\t%d\t%d%s\t%s\t%s\t%s\t%d\t%d\t%d", c.Client, c.Requests, c.Limited, missed, percent(c.Limited, c.Requests), at(c.First), at(c.Last), c.Streak, c.PeakPerSecond, c.PeakPerMinute)
			if p.r.Against != nil {
				fmt.Fprintf(w, "\t%d\t%d\t%d", c.Live, c.OnlyLive, c.OnlyCandidate)
			}
			fmt.Fprintln(w)
		}
	})
}

func (p *replayPrinter) minutes() error {
	if len(p.r.Minutes) == 0 {
		return nil
	}
	fmt.Fprintln(p.out, "\nMinutes with the most refusals:")
	return p.table(func(w io.Writer) {
		fmt.Fprintln(w, "MINUTE (UTC)\tREQUESTS\tLIMITED\tSHARE")
		for _, m := range p.r.Minutes {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", m.Begin.Format(dayAndHour), m.Requests, m.Limited, percent(m.Limited, m.Requests))
		}
	})
}

func (p *replayPrinter) against() error {
	g := p.r.Against
	if g == nil {
		return nil
	}
	fmt.Fprintf(p.out, "\nBeside %s:\n", p.r.Beside)
	err := p.table(func(w io.Writer) {
		fmt.Fprintln(w, "\tLIMITED THERE\tADMITTED THERE")
		fmt.Fprintf(w, "limited by the candidate\t%d\t%d\n", g.Both, g.OnlyCandidate)
		fmt.Fprintf(w, "admitted by the candidate\t%d\t%d\n", g.OnlyLive, g.Neither)
		if g.Unknown > 0 {
			fmt.Fprintf(w, "not known\t%d\t\n", g.Unknown)
		}
	})
	if len(g.Changed) == 0 {
		fmt.Fprintln(p.out, "No client would see a difference.")
	}
	return errors.Join(err, p.clients(g.Changed, "Clients for whom it makes the most difference:"))
}

func (p *replayPrinter) notes() error {
	if p.r.Bad > 0 {
		fmt.Fprintf(p.out, "\nLines that are no requests: %d, such as\n", p.r.Bad)
		for _, b := range p.r.BadLines {
			fmt.Fprintf(p.out, "  %s:%d: %s\n", b.Log, b.Line, b.Why)
		}
	}
	if len(p.r.Warnings) > 0 {
		fmt.Fprintln(p.out, "\nWith care:")
	}
	for _, warning := range p.r.Warnings {
		fmt.Fprintf(p.out, "  %s\n", warning)
	}
	return nil
}
