package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/bpf/latency"
)

type traceCmd struct {
	What      string        `arg:"" optional:"" default:"" enum:",accept,read,write,rtt,runq,softirq,stall,gc,xdp" help:"What to measure: accept, read, write, rtt, runq, softirq, stall, gc or xdp."`
	PID       []int         `help:"Processes to look at. Without it: those named by --comm." placeholder:"N" name:"pid"`
	Comm      string        `help:"Look at the processes of this name (${default})." default:"weir" placeholder:"NAME"`
	All       bool          `help:"Look at all processes of the host."`
	Port      []uint16      `help:"Local ports of TCP to look at (accept, read, write, rtt). Without it: all." placeholder:"N"`
	Threshold time.Duration `help:"Of loops that are busy as long show the code, and by what (stall); 0s: of none (${default})." default:"10ms" placeholder:"TIME"`
	Duration  time.Duration `help:"How long to look; 0s: until it is interrupted (${default})." default:"10s" placeholder:"TIME"`
	Interval  time.Duration `help:"Time between two reports (${default})." default:"1s" placeholder:"TIME"`
	JSON      bool          `help:"Print one JSON object for each report." name:"json"`
	Bpftrace  string        `help:"Run a session of bpftrace instead; list: say which there are." placeholder:"NAME"`
	Print     bool          `help:"Of --bpftrace: print the session's script instead."`
}

// Help is printed below the flags.
func (*traceCmd) Help() string {
	return `Examples:
  weir trace accept                      how long connections wait for accept(2)
  weir trace read --port 8080            received until read, of one port
  weir trace write --port 8080           written until in the driver, until acknowledged
  weir trace rtt --duration 1s --json    round trips, retransmits and windows, by port
  weir trace runq --pid 4242             runnable until running
  weir trace softirq                     received packets: until the kernel begins, and how long it works
  weir trace stall --threshold 5ms       event loops that do not poll, and in which code
  weir trace gc                          Go's collector: stops of the world, and how long it marks
  weir trace xdp                         what a packet costs in XDP
  weir trace --bpftrace list             sessions of bpftrace (apt-get install bpftrace), and what they need
  weir trace --bpftrace offcpu --pid 42  where the threads of a process wait
  weir trace --bpftrace write --print    a session's script, to be changed

It needs root, and no change to what it looks at. All is counted in the kernel,
by powers of two; what that costs is shown with it. It ends by itself, and
nothing stays attached. docs/TRACING.md says what each one sees, and what not;
docs/PROFILING.md walks through three problems with the sessions.`
}

// Run traces until it is over, and prints.
func (c *traceCmd) Run(ctx context.Context, a *app) error {
	switch {
	case c.Bpftrace != "":
		return c.session(ctx, a)
	case c.Print:
		return &usageError{errors.New("--print is of --bpftrace NAME: name the session")}
	case c.What == "":
		return &usageError{errors.New("say what to measure: accept, read, write, rtt, runq, softirq, stall, gc or xdp, or name a session with --bpftrace")}
	}
	cfg, of, err := c.config()
	if err != nil {
		return err
	}
	t, err := latency.Open(c.What, cfg)
	if wrong, ok := errors.AsType[*latency.FieldError](err); ok {
		return &usageError{wrong}
	}
	if err != nil {
		return err
	}
	err = c.watch(ctx, t, c.printer(a.stdout), of)
	return errors.Join(err, t.Close())
}

// config is what to look at, and that in words.
func (c *traceCmd) config() (cfg latency.Config, of string, err error) {
	if c.Interval <= 0 || c.Duration < 0 {
		return cfg, "", &usageError{fmt.Errorf("--interval %v and --duration %v: want an interval above 0, and no negative duration", c.Interval, c.Duration)}
	}
	cfg = latency.Config{Ports: c.Port, Cost: true}
	of = "this host"
	about := aboutOf(c.What)
	if about.Stalls {
		cfg.Threshold = c.Threshold
	}
	if c.All && len(c.PID) > 0 {
		return cfg, "", &usageError{errors.New("--all and --pid: give one of them")}
	}
	switch {
	case len(c.PID) > 0:
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
	for i, port := range c.Port {
		of += []string{", port ", " "}[min(i, 1)] + strconv.Itoa(int(port))
	}
	return cfg, of, nil
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

// printer writes a report: as JSON, over what was there before on a terminal, else below it.
func (c *traceCmd) printer(out io.Writer) func(*traceReport) error {
	if c.JSON {
		lines := json.NewEncoder(out)
		return func(r *traceReport) error { return lines.Encode(r) }
	}
	if isTerminal(out) {
		return func(r *traceReport) error { return repaint(out, r) }
	}
	return func(r *traceReport) error { return r.print(out) }
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// watch prints a report an interval, each of that interval alone.
func (c *traceCmd) watch(ctx context.Context, t *latency.Tracer, print func(*traceReport) error, of string) error {
	var over <-chan time.Time
	if c.Duration > 0 {
		timer := time.NewTimer(c.Duration)
		defer timer.Stop()
		over = timer.C
	}
	ticker := time.NewTicker(c.Interval)
	defer ticker.Stop()
	w := &tracing{of: of, symbols: latency.NewSymbols()}
	if err := w.begin(t); err != nil {
		return err
	}
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-over:
			last = true
		case <-ticker.C:
		}
		if last && w.hasJustReported(c.Interval) {
			return nil
		}
		r, err := w.report(t)
		if err == nil {
			err = print(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
