package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/bpf/latency"
	"weir/cmd/weir/traceview"
)

type traceCmd struct {
	What      []string       `arg:"" optional:"" help:"What to measure: accept, read, write, rtt, runq, softirq, stall, gc or xdp; or several of them."`
	PID       []int          `help:"Processes to look at. Without it: those named by --comm." placeholder:"N" name:"pid"`
	Comm      string         `help:"Look at the processes of this name (${default})." default:"weir" placeholder:"NAME"`
	All       bool           `help:"Look at all processes of the host."`
	Port      []uint16       `help:"Local ports of TCP to look at (accept, read, write, rtt). Without it: all." placeholder:"N"`
	Threshold time.Duration  `help:"Of loops that are busy as long show the code, and by what (stall); 0s: of none (${default})." default:"10ms" placeholder:"TIME"`
	Duration  *time.Duration `help:"How long to look; 0s: until it is interrupted, as on a terminal and with --listen (otherwise 10s)." placeholder:"TIME"`
	Interval  time.Duration  `help:"Time between two reports (${default})." default:"1s" placeholder:"TIME"`
	JSON      bool           `help:"Print one JSON object for each report." name:"json"`
	Listen    string         `help:"Serve what is counted to Prometheus instead, at /metrics of this address." placeholder:"HOST:PORT"`
	Budget    float64        `help:"Share of a CPU that a tracer may take: above it one in many events is followed, for all (${default})." default:"0.03" placeholder:"SHARE"`
	Bpftrace  string         `help:"Run a session of bpftrace instead; list: say which there are." placeholder:"NAME"`
	Print     bool           `help:"Of --bpftrace: print the session's script instead."`
}

// Help is printed below the flags.
func (*traceCmd) Help() string {
	return `Examples:
  weir trace accept                      how long connections take, and wait for accept(2)
  weir trace read --port 8080            received until read, of one port
  weir trace write --port 8080           written until in the driver, until acknowledged
  weir trace rtt --duration 1s --json    round trips, retransmits and windows, by port
  weir trace runq --pid 4242             runnable until running
  weir trace softirq                     received packets: until the kernel begins, and how long it works
  weir trace stall --threshold 5ms       event loops that do not poll, and in which code
  weir trace gc                          Go's collector: stops of the world, and how long it marks
  weir trace xdp                         what a packet costs in XDP
  weir trace accept runq stall           several: on a terminal tab changes, q ends it
  weir trace accept stall --listen 127.0.0.1:9435     for Prometheus, as native histograms
  weir trace --bpftrace list             sessions of bpftrace (apt-get install bpftrace), and what they need
  weir trace --bpftrace offcpu --pid 42  where the threads of a process wait
  weir trace --bpftrace write --print    a session's script, to be changed

It needs root, and no change to what it looks at. All is counted in the kernel,
by powers of two; what that costs is shown with it, and kept below --budget by following
one in many events, each of which counts for as many. Nothing stays attached when
it ends. On a terminal it shows what was counted since it began, or since r was
pressed; p stops the screen. Elsewhere it reports each interval. docs/TRACING.md says what each one sees, and what not;
docs/PROFILING.md walks through three problems with the sessions.`
}

// defaultDuration is how long reports are printed if nobody says.
const defaultDuration = 10 * time.Second

// Run traces until it is over, and prints.
func (c *traceCmd) Run(ctx context.Context, a *app) error {
	if c.Bpftrace != "" {
		return c.session(ctx, a)
	}
	if err := c.check(); err != nil {
		return &usageError{err}
	}
	if c.Duration != nil && *c.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *c.Duration)
		defer cancel()
	}
	if c.Listen != "" {
		return c.serve(ctx, a)
	}
	all, err := c.open()
	if wrong, ok := errors.AsType[*latency.FieldError](err); ok {
		err = &usageError{wrong}
	}
	switch {
	case err != nil:
	case !c.JSON && traceview.IsTerminal(a.stdout):
		err = c.view(ctx, a, all)
	default:
		err = c.watch(ctx, c.printer(a.stdout), all)
	}
	for _, t := range all {
		err = errors.Join(err, t.Close())
	}
	return err
}

// check says what is wrong with the flags.
func (c *traceCmd) check() error {
	names := map[string]bool{}
	for _, about := range latency.Tracers() {
		names[about.Name] = true
	}
	switch {
	case c.Print:
		return errors.New("--print is of --bpftrace NAME: name the session")
	case len(c.What) == 0:
		return errors.New("say what to measure: accept, read, write, rtt, runq, softirq, stall, gc or xdp, or name a session with --bpftrace")
	case c.Interval <= 0 || c.Duration != nil && *c.Duration < 0:
		return errors.New("--interval and --duration: want an interval above 0, and no negative duration")
	case !(c.Budget >= latency.MinBudget && c.Budget <= 1):
		return fmt.Errorf("--budget %v: want a share of one CPU, %v to 1", c.Budget, latency.MinBudget)
	case c.All && len(c.PID) > 0:
		return errors.New("--all and --pid: give one of them")
	case c.Listen != "" && c.JSON:
		return errors.New("--listen and --json: give one of them")
	}
	for i, name := range c.What {
		if !names[name] {
			return fmt.Errorf("%s is not known: want accept, read, write, rtt, runq, softirq, stall, gc or xdp", name)
		}
		if slices.Contains(c.What[:i], name) {
			return fmt.Errorf("%s is there twice: name it once", name)
		}
	}
	return nil
}

// any reports whether one of the tracers is so.
func (c *traceCmd) any(is func(latency.About) bool) bool {
	return slices.ContainsFunc(c.What, func(name string) bool { return is(aboutOf(name)) })
}

// config is what a tracer is to look at, and that in words. Of several tracers each takes what it can of the flags.
func (c *traceCmd) config(about latency.About) (cfg latency.Config, of string, err error) {
	cfg = latency.Config{Cost: true, Budget: c.Budget}
	of = "this host"
	if about.Stalls {
		cfg.Threshold = c.Threshold
	}
	takesPIDs := about.PIDs || !c.any(func(a latency.About) bool { return a.PIDs })
	switch {
	case takesPIDs && len(c.PID) > 0:
		cfg.PIDs = c.PID
		of = "pid " + numbersOf(c.PID)
	case about.PIDs && !c.All:
		if cfg.PIDs, err = processesOf("/proc", c.Comm); err != nil {
			return cfg, "", err
		}
		if len(cfg.PIDs) == 0 {
			return cfg, "", fmt.Errorf("no process is named %s: start one, name another by --comm or --pid, or look at --all", c.Comm)
		}
		of = c.Comm + ", pid " + numbersOf(cfg.PIDs)
	}
	if about.Ports || !c.any(func(a latency.About) bool { return a.Ports }) {
		cfg.Ports = c.Port
		for i, port := range c.Port {
			of += []string{", port ", " "}[min(i, 1)] + strconv.Itoa(int(port))
		}
	}
	return cfg, of, nil
}

// openTracer is a tracer that is open, with what its reports are made of.
type openTracer struct {
	*latency.Tracer
	tracing
}

// open opens the tracers, and leaves those open that could be.
func (c *traceCmd) open() (all []*openTracer, err error) {
	symbols := latency.NewSymbols()
	for _, name := range c.What {
		cfg, of, err := c.config(aboutOf(name))
		if err != nil {
			return all, err
		}
		t, err := latency.Open(name, cfg)
		if err != nil {
			return all, err
		}
		all = append(all, &openTracer{t, tracing{of: of, symbols: symbols}})
	}
	for _, t := range all {
		if err := t.begin(t.Tracer); err != nil {
			return all, err
		}
	}
	return all, nil
}

func aboutOf(name string) latency.About {
	all := latency.Tracers()
	return all[slices.IndexFunc(all, func(a latency.About) bool { return a.Name == name })] // kong knows no others
}

func numbersOf(all []int) string {
	var texts []string
	for _, n := range all {
		texts = append(texts, strconv.Itoa(n))
	}
	return strings.Join(texts, " ")
}

// processesOf are those of a name, but for this one and others that trace.
func processesOf(proc, name string) (pids []int, err error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w: name them by --pid", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(proc, e.Name(), "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != name {
			continue // it may have gone meanwhile
		}
		line, _ := os.ReadFile(filepath.Join(proc, e.Name(), "cmdline")) // gone: it does not trace
		if args := strings.Split(string(line), "\x00"); len(args) > 1 && args[1] == "trace" {
			continue
		}
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	if len(pids) > latency.MaxPIDs {
		return nil, fmt.Errorf("%d processes are named %s: at most %d can be looked at: name them by --pid", len(pids), name, latency.MaxPIDs)
	}
	return pids, nil
}
