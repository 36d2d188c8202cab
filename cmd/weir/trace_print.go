package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"weir/bpf/latency"
)

// Limits of what is printed.
const (
	traceBarColumns = 40
	traceMostStalls = 10
	traceMostClass  = 20
)

func (r *traceReport) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: %s\n%s, %.1f s to %s\n", r.Tracer, r.question, r.Of, r.Seconds, r.At.Format(time.TimeOnly))
	for i := range r.Histograms {
		r.Histograms[i].print(out)
	}
	if err := r.printRest(out); err != nil {
		return err
	}
	if r.Cost != nil {
		fmt.Fprintln(out, r.costLine())
	}
	_, err := fmt.Fprintln(out)
	return err
}

// costLine is what tracing takes; empty if that is not known.
func (r *traceReport) costLine() string {
	if r.Cost == nil {
		return ""
	}
	what := "runs of its programs"
	if r.Tracer == latency.XDP {
		what = "runs timed"
	}
	line := fmt.Sprintf("cost of tracing: %d %s, %.0f ns each, %.2f %% of a CPU", r.Cost.Runs, what, r.Cost.PerRun, 100*r.Cost.Share)
	if r.Cost.Assumed {
		line = fmt.Sprintf("cost of tracing: %.2f %% of a CPU, if each of %d events takes %.0f ns; the kernel times programs for CAP_SYS_ADMIN alone", 100*r.Cost.Share, r.Cost.Runs, r.Cost.PerRun)
	}
	if r.Cost.SampleEvery > 1 {
		line += fmt.Sprintf("; one event in %d is followed, and counts for all", r.Cost.SampleEvery)
	}
	return line
}

// printRest prints what is no histogram.
func (r *traceReport) printRest(out io.Writer) error {
	for _, name := range sortedKeys(r.Counters) {
		fmt.Fprintf(out, "%s: %d\n", name, r.Counters[name])
	}
	if err := printClasses(out, r.Classes); err != nil {
		return err
	}
	if r.Age > 0 {
		fmt.Fprintf(out, "as they were %s before: a walk over all of them now would take more than --budget\n", short(r.Age))
	}
	if r.Tracer == latency.XDP && len(r.Programs) == 0 {
		fmt.Fprintln(out, "no XDP program is loaded")
	}
	if r.Tracer == latency.RTT && len(r.Classes) == 0 {
		fmt.Fprintln(out, "no connections")
	}
	if err := printLoops(out, r.Loops); err != nil {
		return err
	}
	if err := printPrograms(out, r.Programs); err != nil {
		return err
	}
	printStalls(out, r.Stalls)
	return nil
}

func sortedKeys(m map[string]uint64) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (h *traceHistogram) print(out io.Writer) {
	if h.Count == 0 {
		fmt.Fprintf(out, "%s: none\n", h.Name)
		return
	}
	fmt.Fprintf(out, "%s: %s\n", h.Name, h.summary())
	highest := uint64(0)
	for _, b := range h.Buckets {
		highest = max(highest, b.Count)
	}
	for _, b := range h.filled() {
		bar := int(b.Count * traceBarColumns / highest) //nolint:gosec // at most traceBarColumns
		if b.Count > 0 && bar == 0 {
			bar = 1
		}
		line := fmt.Sprintf("  %s %9d %s", b.label(), b.Count, strings.Repeat("#", bar))
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
}

// summary is how many there are, and their percentiles.
func (h *traceHistogram) summary() string {
	if h.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("%d, p50 <= %s, p90 <= %s, p99 <= %s, max <= %s", h.Count, short(h.P50), short(h.P90), short(h.P99), short(h.Most))
}

// filled are the buckets from the first to the last, the empty ones between them too.
func (h *traceHistogram) filled() (all []traceBucket) {
	for _, b := range h.Buckets {
		for len(all) > 0 && all[len(all)-1].AtMost*2 < b.AtMost {
			all = append(all, traceBucket{AtMost: all[len(all)-1].AtMost * 2})
		}
		all = append(all, b)
	}
	return all
}

// label is what is counted in it.
func (b traceBucket) label() string {
	return fmt.Sprintf("%8s .. %-8s", short(b.AtMost/2), short(b.AtMost))
}

// short is a duration in seconds with three digits that count.
func short(seconds float64) string {
	units := []struct {
		name string
		of   float64
	}{{"s", 1}, {"ms", 1e-3}, {"µs", 1e-6}, {"ns", 1e-9}}
	for _, u := range units {
		if v := seconds / u.of; v >= 0.9995 || u.of == 1e-9 {
			return fmt.Sprintf("%.3g %s", v, u.name)
		}
	}
	return ""
}

func printClasses(out io.Writer, classes []traceClass) error {
	if len(classes) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PORT\tCONNS\tRTT P50\tP99\tMAX\tRETRANSMITS\tNOW\tZERO WINDOW\tLEAST CWND\tUNSENT\tUNACKED\tUNREAD\tBACKLOG")
	for _, c := range classes[:min(len(classes), traceMostClass)] {
		backlog := ""
		if c.Direction == "in" {
			backlog = fmt.Sprintf("%d of %d", c.Backlog, c.MostBacklog)
		}
		rtt := "-\t-\t-"
		if c.RTT.Count > 0 {
			rtt = fmt.Sprintf("<= %s\t<= %s\t<= %s", short(c.RTT.P50), short(c.RTT.P99), short(c.RTT.Most))
		}
		fmt.Fprintf(w, "%s %d\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", c.Direction, c.Port, c.Conns, rtt,
			c.Retransmits, c.Retransmitting, c.Closed, c.LeastWindow, c.Unsent, c.Unacked, c.Unread, backlog)
	}
	if more := len(classes) - traceMostClass; more > 0 {
		fmt.Fprintf(w, "and %d ports with fewer\n", more)
	}
	return w.Flush()
}

func printLoops(out io.Writer, loops []traceLoop) error {
	if len(loops) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PID\tEPOLL\tTIMES BUSY\tP50\tP99\tMAX\tOF THE TIME")
	for _, l := range loops[:min(len(loops), traceMostClass)] {
		fmt.Fprintf(w, "%d\t%d\t%d\t<= %s\t<= %s\t<= %s\t%.1f %%\n", l.PID, l.Poller, l.Busy.Count, short(l.Busy.P50), short(l.Busy.P99), short(l.Busy.Most), 100*l.Share)
	}
	if more := len(loops) - traceMostClass; more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	return w.Flush()
}

func printPrograms(out io.Writer, programs []traceProgram) error {
	if len(programs) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROGRAM\tID\tRUNS\tNS A RUN\tOF A CPU")
	for _, p := range programs {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%.2f %%\n", p.Name, p.ID, p.Runs, p.PerRun, 100*p.Share)
	}
	return w.Flush()
}

func printStalls(out io.Writer, stalls []traceStall) {
	for _, s := range longest(stalls, traceMostStalls) {
		fmt.Fprintf(out, "stall of %s by %s: %q, pid %d, thread %d, epoll %d\n", short(s.Busy), causeIn(s.Cause), s.Command, s.PID, s.TID, s.Poller)
		if times := s.times(); times != "" {
			fmt.Fprintf(out, "    %s\n", times)
		}
		fmt.Fprintf(out, "    its code, %s:\n", placeIn(s.Place))
		for _, f := range s.Kernel {
			fmt.Fprintf(out, "    kernel  %s\n", f)
		}
		for _, f := range s.User {
			fmt.Fprintf(out, "    %s\n", f)
		}
	}
	if more := len(stalls) - traceMostStalls; more > 0 {
		fmt.Fprintf(out, "and %d shorter stalls\n", more)
	}
}

// times are those that were measured of it.
func (s *traceStall) times() string {
	var all []string
	for _, part := range []struct {
		of   float64
		what string
	}{{s.Waited, "waited for a CPU"}, {s.Slept, "slept"}, {s.SoftIRQ, "in softirqs"}, {s.Stopped, "with the world stopped"}} {
		if part.of > 0 {
			all = append(all, short(part.of)+" "+part.what)
		}
	}
	return strings.Join(all, ", ")
}

// causeIn is what took the time, in words.
func causeIn(cause string) string {
	switch cause {
	case "run_queue":
		return "waiting for a CPU"
	case "blocked":
		return "sleeping"
	case "softirq":
		return "softirqs in its place"
	case "stop_the_world":
		return "a stop of Go's world"
	default:
		return "its own work"
	}
}

// placeIn is where a thread was seen, in words.
func placeIn(place string) string {
	switch place {
	case "off_cpu":
		return "where it left the CPU"
	case "on_cpu":
		return "where it was running"
	default:
		return "in the next poll, as nothing else was seen"
	}
}
