package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"weir/bench/traceload"
	"weir/bpf/latency"
	"weir/bpf/netlab"
)

const (
	tracePrefix = "weir-trace-"
	// traceHeadroom is the part of what the host makes as fast as it goes, that it is asked for at
	// most at a rate.
	traceHeadroom = 0.8
	// traceInterval and traceThreshold are those of weir trace.
	traceInterval  = time.Second
	traceThreshold = 10 * time.Millisecond
	// traceLead is the time for a tracer to come to its budget, if turns are not shorter: some of its own looks at what it takes.
	traceLead = 1500 * time.Millisecond
)

// traceRun is a tracer's.
type traceRun struct {
	cfg      TraceConfig
	tracer   latency.About
	progress io.Writer
	load     *Worker
	rate     float64 // of turns that are not closed
	turns    []TraceTurn
}

// RunTrace measures what each tracer costs, at a rate of what it looks at, and as fast as that goes, in
// turns with and without it. It needs root.
func RunTrace(ctx context.Context, cfg TraceConfig, progress io.Writer) (*TraceResult, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("measure the tracers: %w: they are of Linux: run weir bench trace there", errors.ErrUnsupported)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("measure the tracers: %w: they are BPF programs: run it as root", latency.ErrNotPermitted)
	}
	cfg = cfg.withDefaults()
	r := &TraceResult{
		Host: ReadHostCard(), Rate: cfg.Rate, Seconds: cfg.Duration.Seconds(), Reps: cfg.Reps, Threads: cfg.Threads, Sockets: 2 * cfg.Conns,
	}
	for _, about := range latency.Tracers() {
		for _, name := range cfg.Only {
			if name != about.Name {
				continue
			}
			t := &traceRun{cfg: cfg, tracer: about, progress: progress}
			if err := t.run(ctx); err != nil {
				return nil, fmt.Errorf("measure tracer %s: %w", name, err)
			}
			r.Turns = append(r.Turns, t.turns...)
		}
	}
	r.Rows = traceRows(r.Turns, cfg.Rate, r.Host.Cores)
	r.Bars = traceBars(r.Rows, cfg.Rate)
	return r, nil
}

// run takes the tracer's turns: first as fast as it goes, which says what rate the host has.
func (t *traceRun) run(ctx context.Context) (err error) {
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	if _, err := t.ask(traceload.Turn{Duration: t.cfg.Duration / 5}); err != nil { // caches, and the kernel's memory
		return err
	}
	for rep := range t.cfg.Reps {
		for _, closed := range []bool{true, false} {
			for _, turn := range rotated(t.kinds(closed), rep) {
				turn.Tracer, turn.Rep, turn.Closed = t.tracer.Name, rep, closed
				if err := t.turn(ctx, &turn); err != nil {
					return err
				}
				t.turns = append(t.turns, turn)
				t.say(turn)
			}
			if closed && rep == 0 {
				t.rate = float64(t.cfg.Rate)
				for _, turn := range t.turns {
					t.rate = min(t.rate, traceHeadroom*turn.perSecond())
				}
			}
		}
	}
	return nil
}

// kinds are the turns that are compared: without the tracer and with it, and at the rate with programs that do nothing, if it
// has any at hooks.
func (t *traceRun) kinds(closed bool) []TraceTurn {
	all := []TraceTurn{{}, {Traced: true}}
	if !closed && t.tracer.Name != latency.XDP && t.tracer.Name != latency.RTT {
		all = append(all, TraceTurn{Traced: true, Empty: true})
	}
	return all
}

func (t *traceRun) say(turn TraceTurn) {
	with, how := "without", "at a rate"
	if turn.Traced {
		with = "with"
	}
	if turn.Empty {
		with = "empty"
	}
	if turn.Closed {
		how = "as it goes"
	}
	fmt.Fprintf(t.progress, "%-8s %-10s %-8s %8s events/s  %7.0f ns CPU of the load each  %5.2f of %d CPUs busy\n",
		t.tracer.Name, how, with, count(turn.perSecond()), turn.LoadCPU*1e9/float64(max(turn.Events, 1)), turn.HostCPU/turn.Seconds, runtime.NumCPU())
}

// begin starts the load, and waits until it is ready.
func (t *traceRun) begin(ctx context.Context) (err error) {
	cfg := traceload.Config{Kind: loadOf(t.tracer.Name).kind, Threads: t.cfg.Threads, Conns: messageConns, Prefix: tracePrefix}
	if cfg.Kind == traceload.Collections {
		cfg.Threads = 1
	}
	if t.tracer.Name == latency.RTT {
		cfg.Conns = max(t.cfg.Conns/t.cfg.Threads, 1)
	}
	if t.load, err = startPiped(StartProcess, "bench-worker", "trace"); err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = t.load.cmd.Process.Kill() }) // one that is gone needs none
	_, err = t.tell(cfg)
	if err != nil {
		return errors.Join(err, t.end())
	}
	return nil
}

// end ends the load, and removes what one that was killed has left.
func (t *traceRun) end() error {
	t.load.End()
	if loadOf(t.tracer.Name).kind == traceload.Frames {
		return netlab.Cleanup(tracePrefix)
	}
	return nil
}

// tell gives the load a line, and waits for its answer.
func (t *traceRun) tell(line any) (r traceload.Report, err error) {
	if err := json.NewEncoder(t.load.in).Encode(line); err != nil {
		return r, fmt.Errorf("tell a load: %w: %s", err, strings.TrimSpace(t.load.stderr.String()))
	}
	answer, err := t.load.line()
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return r, fmt.Errorf("understand a load: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

func (t *traceRun) ask(turn traceload.Turn) (traceload.Report, error) { return t.tell(turn) }

// turn makes events with the tracer or without it, and fills in what came of it.
func (t *traceRun) turn(ctx context.Context, turn *TraceTurn) (err error) {
	asked := traceload.Turn{Duration: t.cfg.Duration}
	if !turn.Closed {
		asked.PerSecond = t.rate
	}
	watched := &watch{}
	if turn.Traced {
		cfg := t.config()
		cfg.Empty = turn.Empty
		turn.Budget = cfg.Budget
		if watched.tracer, err = latency.Open(t.tracer.Name, cfg); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, watched.tracer.Close()) }()
	}
	lead := asked // in which the tracer comes to its budget
	lead.Duration = min(traceLead, t.cfg.Duration)
	if _, err := t.ask(lead); err != nil {
		return err
	}
	if err := watched.begin(); err != nil {
		return err
	}
	type answer struct {
		report traceload.Report
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		r, err := t.ask(asked)
		answered <- answer{r, err}
	}()
	done, err := watchUntil(answered, t.interval(), watched.look)
	if err = errors.Join(err, done.err, ctx.Err()); err != nil {
		return err
	}
	turn.Events, turn.Seconds, turn.LoadCPU = done.report.Events, done.report.Seconds, done.report.CPUSeconds
	if turn.Events == 0 {
		return errors.New("the load made no event")
	}
	if err := watched.end(turn); err != nil {
		return err
	}
	if turn.Traced && !turn.Empty && turn.Seen == 0 {
		return fmt.Errorf("of %d events (%s) the tracer saw none", turn.Events, loadOf(t.tracer.Name).event)
	}
	return nil
}

// watchUntil looks each interval until there is an answer, which it always waits for.
func watchUntil[T any](answered <-chan T, interval time.Duration, look func() error) (answer T, err error) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case answer = <-answered:
			return answer, err
		case <-ticker.C:
			if err == nil {
				err = look()
			}
		}
	}
}

// interval is the time between two reports: that of weir trace, but of rtt such that as many sockets a second are asked
// for as costs are of.
func (t *traceRun) interval() time.Duration {
	if t.tracer.Name == latency.RTT {
		return max(time.Duration(float64(2*t.cfg.Conns)/float64(t.cfg.Rate)*float64(time.Second)), time.Millisecond)
	}
	return min(traceInterval, t.cfg.Duration/2)
}

// config is the tracer's, as weir trace would have it. Costs are of a rate: where the load makes fewer events the budget is
// as much less, so that the tracer does what it does at the rate.
func (t *traceRun) config() latency.Config {
	cfg := latency.Config{Cost: true, Budget: latency.DefaultBudget}
	if t.rate > 0 && t.rate < float64(t.cfg.Rate) && t.tracer.Name != latency.RTT {
		cfg.Budget = max(latency.DefaultBudget*t.rate/float64(t.cfg.Rate), latency.MinBudget)
	}
	if t.tracer.PIDs {
		cfg.PIDs = []int{t.load.Pid()}
	}
	if t.tracer.Stalls {
		cfg.Threshold = traceThreshold
	}
	return cfg
}

// watch reads a tracer, if there is one, and the host's CPU time.
type watch struct {
	tracer        *latency.Tracer
	first, last   latency.Snapshot
	cost          latency.Cost
	seen          uint64    // sockets
	walked        time.Time // the last walk
	walks, looks  int
	busy, readers float64
}

func (w *watch) begin() (err error) {
	if w.tracer != nil {
		if err := w.tracer.SnapshotInto(&w.first); err != nil {
			return err
		}
		if w.cost, err = w.tracer.Cost(); err != nil {
			return err
		}
	}
	w.busy, w.readers, err = readTimes()
	return err
}

// readTimes are the seconds that all CPUs have been busy, and that this process has used.
func readTimes() (busy, own float64, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err == nil {
		busy, err = busySeconds(string(stat))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read CPU time: %w", err)
	}
	used, err := traceload.CPUTime()
	return busy, used.Seconds(), err
}

// busySeconds is what all CPUs did but idle and wait for disks (proc(5), stat).
func busySeconds(stat string) (float64, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	const idle, wait, steal, ticksPerSecond = 4, 5, 8, 100
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0, errors.New("no line for all CPUs")
	}
	var ticks uint64
	for i := 1; i <= steal; i++ { // guests' time is within the user's
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		if i != idle && i != wait {
			ticks += n
		}
	}
	return float64(ticks) / ticksPerSecond, nil
}

// look is what weir trace does for a report.
func (w *watch) look() error {
	if w.tracer == nil {
		return nil
	}
	if err := w.tracer.SnapshotInto(&w.last); err != nil {
		return err
	}
	for i := range w.last.Classes {
		w.seen += w.last.Classes[i].Conns
	}
	w.looks++
	if !w.last.Walked.Equal(w.walked) {
		w.walks++
		w.walked = w.last.Walked
	}
	return nil
}

// end fills in what the turn took.
func (w *watch) end(turn *TraceTurn) error {
	busy, own, err := readTimes()
	if err != nil {
		return err
	}
	turn.HostCPU, turn.ReaderCPU = busy-w.busy, own-w.readers
	if w.tracer == nil {
		return nil
	}
	cost, err := w.tracer.Cost()
	if err != nil {
		return err
	}
	turn.Runs, turn.OwnNanos = cost.Runs-w.cost.Runs, uint64((cost.Time - w.cost.Time).Nanoseconds()) //nolint:gosec // it only grows
	turn.Seen, turn.SampleEvery = w.seen, float64(cost.SampleEvery)
	if w.last.Tracer == latency.RTT {
		turn.SampleEvery = float64(w.looks) / float64(max(w.walks, 1))
		return nil
	}
	if err := w.tracer.SnapshotInto(&w.last); err != nil {
		return err
	}
	w.last.Sub(&w.first)
	if len(w.last.Histograms) > 0 {
		turn.Seen = w.last.Histograms[len(w.last.Histograms)-1].Count
	}
	for _, p := range w.last.Programs {
		turn.Seen += p.Runs
	}
	return nil
}
