package latency

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
)

// State is what became of a tracer of an [Export].
type State uint8

// States of a tracer.
const (
	// Off: it is not open yet, or not any more.
	Off State = iota
	// Attached: it counts.
	Attached
	// NotPermitted: the process lacks capabilities, or the kernel forbids it.
	NotPermitted
	// NoHook: the kernel lacks what it needs.
	NoHook
	// NoProcess: there is none to look at.
	NoProcess
	// OverBudget: it took more of a CPU than it may, and rests.
	OverBudget
	// Failed: of anything else.
	Failed
	states
)

func (s State) String() string {
	return [...]string{"off", "attached", "not_permitted", "no_hook", "no_process", "over_budget", "failed"}[min(s, states-1)]
}

// States are all.
func States() (all []State) {
	for s := range states {
		all = append(all, s)
	}
	return all
}

// Defaults of [ExportConfig].
const (
	DefaultBudget = 0.03
	DefaultLook   = 10 * time.Second
	DefaultRest   = 10 * time.Minute
)

// ExportConfig says what an [Export] keeps open.
type ExportConfig struct {
	// Tracers are their names, each once.
	Tracers []string
	// PIDs says which processes are there to be looked at, and is asked again at each look. nil: all of
	// the host are. Tracers that are of processes wait while there are none.
	PIDs func() ([]int, error)
	// Ports are those of [Config], for the tracers that take them.
	Ports []uint16
	// Threshold is that of [Config].
	Threshold time.Duration
	// Budget is that of [Config] for each tracer; 0 is DefaultBudget. One that takes more over a Look
	// though it follows as few events as it may is closed for a Rest.
	Budget float64
	// Look is the time between two looks at processes and costs, Rest that after which a tracer is tried again that was
	// over its budget; 0 are DefaultLook and DefaultRest.
	Look, Rest time.Duration
}

// Defaults are c with what it leaves out.
func (c ExportConfig) Defaults() ExportConfig {
	if c.Budget == 0 {
		c.Budget = DefaultBudget
	}
	if c.Look == 0 {
		c.Look = DefaultLook
	}
	if c.Rest == 0 {
		c.Rest = DefaultRest
	}
	return c
}

// Validate reports every field that is out of range, as *FieldErrors joined; nil if all are fine.
func (c ExportConfig) Validate() error {
	c = c.Defaults()
	var errs []error
	for i, name := range c.Tracers {
		if _, err := find(name); err != nil {
			errs = append(errs, &FieldError{"Tracers", name, "names of " + names()})
		}
		if slices.Contains(c.Tracers[:i], name) {
			errs = append(errs, &FieldError{"Tracers", name, "each of them once"})
		}
	}
	if len(c.Ports) > MaxPorts || slices.Contains(c.Ports, 0) {
		errs = append(errs, &FieldError{"Ports", c.Ports, "at most 16 ports, 1 to 65535"})
	}
	if c.Budget < MinBudget || c.Budget > 1 || math.IsNaN(c.Budget) {
		errs = append(errs, &FieldError{"Budget", c.Budget, "a share of one CPU, 0.001 to 1"})
	}
	if c.Threshold < 0 || c.Look < 0 || c.Rest < 0 {
		errs = append(errs, &FieldError{"Threshold, Look or Rest", min(c.Threshold, c.Look, c.Rest), "no negative duration"})
	}
	return errors.Join(errs...)
}

// source is a [Tracer], as an Export needs it.
type source interface {
	SnapshotInto(s *Snapshot) error
	Cost() (Cost, error)
	Stalls(f func(StallOf)) error
	Close() error
}

// Export keeps tracers open and gives what they count to Prometheus: it is a [prometheus.Collector]. What it cannot
// open it says once, in its log, and goes on without. Its counters do not go back when a tracer is closed and opened again. Make it with
// [NewExport]. Its methods may be called from any goroutine.
type Export struct {
	cfg     ExportConfig
	log     *slog.Logger
	created time.Time
	open    func(name string, cfg Config) (source, error)

	mu      sync.Mutex
	kept    []*kept
	symbols *Symbols
}

// kept is a tracer of an Export.
type kept struct {
	about About
	total *total
	snap  Snapshot
	// source is nil while it is not open.
	source source
	pids   []int
	state  State
	said   string // of the last time that it could not be opened
	// since is when its cost was looked at, cost what it was then; until is the end of its rest.
	since, until time.Time
	cost         time.Duration
	walked       time.Duration // of rtt, in walks since it was opened
}

// NewExport opens nothing yet. Errors are those of [ExportConfig.Validate].
func NewExport(cfg ExportConfig, log *slog.Logger) (*Export, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := &Export{cfg: cfg.Defaults(), log: log, created: time.Now(), symbols: NewSymbols()}
	e.open = func(name string, cfg Config) (source, error) { return Open(name, cfg) }
	for _, name := range cfg.Tracers {
		about, _ := find(name) // Validate knows it
		e.kept = append(e.kept, &kept{about: about, total: newTotal(about)})
	}
	return e, nil
}

// Open opens the tracers. Those that cannot be are logged, with why.
func (e *Export) Open() { e.look(time.Now()) }

// Run looks after the tracers until ctx ends, and closes them: which processes there are, what each takes, which loops stalled. Its error
// is nil: whoever is traced goes on without.
func (e *Export) Run(ctx context.Context) error {
	ticker := time.NewTicker(e.cfg.Look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := e.Close(); err != nil { // they are gone all the same
				e.log.Warn("tracers are not closed as they should be", "err", err)
			}
			return nil
		case now := <-ticker.C:
			e.look(now)
		}
	}
}

// Close closes the tracers. What they have counted stays, and Open opens them again.
func (e *Export) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, k := range e.kept {
		errs = append(errs, e.shut(k, Off))
		k.state, k.said = Off, "" // one that could not be opened may be, the next time
	}
	return errors.Join(errs...)
}

// States are those of the tracers, by name.
func (e *Export) States() map[string]State {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]State{}
	for _, k := range e.kept {
		all[k.about.Name] = k.state
	}
	return all
}

// look closes what took too much, or looks at processes that are gone, and opens what can be.
func (e *Export) look(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	pids, err := []int(nil), error(nil)
	if e.cfg.PIDs != nil {
		pids, err = e.cfg.PIDs()
		slices.Sort(pids)
	}
	for _, k := range e.kept {
		e.govern(k, now)
		e.tellStalls(k)
		of, wrong := pids, err
		if !k.about.PIDs {
			of, wrong = nil, nil
		}
		if k.source != nil && (wrong != nil || !slices.Equal(of, k.pids)) {
			e.close(k, NoProcess)
		}
		if k.source == nil {
			e.attach(k, of, wrong, now)
		}
	}
}

// attach opens a tracer that can be now.
func (e *Export) attach(k *kept, pids []int, err error, now time.Time) {
	isTried := (k.state == NotPermitted || k.state == NoHook || k.state == Failed) && slices.Equal(pids, k.pids)
	if now.Before(k.until) || err == nil && isTried {
		return
	}
	switch {
	case err != nil:
		e.degrade(k, Failed, err)
		return
	case k.about.PIDs && e.cfg.PIDs != nil && len(pids) == 0:
		e.degrade(k, NoProcess, errors.New("there is no process to look at yet"))
		return
	}
	cfg := Config{PIDs: pids, Cost: true, Budget: e.cfg.Budget}
	if k.about.Ports {
		cfg.Ports = e.cfg.Ports
	}
	if k.about.Stalls {
		cfg.Threshold = e.cfg.Threshold
	}
	k.pids = pids
	if k.source, err = e.open(k.about.Name, cfg); err != nil {
		k.source = nil // an interface with a nil in it is not nil
		e.degrade(k, stateOf(err), err)
		return
	}
	k.state, k.said, k.since, k.cost, k.walked = Attached, "", now, 0, 0
	e.log.Info("a tracer is attached", "tracer", k.about.Name, "pids", pids)
}

func stateOf(err error) State {
	switch {
	case errors.Is(err, ErrNotPermitted):
		return NotPermitted
	case errors.Is(err, ErrKernel), errors.Is(err, errors.ErrUnsupported):
		return NoHook
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrNotGo):
		return NoProcess
	}
	return Failed
}

// degrade says once why a tracer is not open.
func (e *Export) degrade(k *kept, state State, err error) {
	k.state = state
	if text := err.Error(); text != k.said {
		k.said = text
		say := e.log.Warn
		if state == NoProcess { // one may come
			say = e.log.Info
		}
		say("a tracer is not attached", "tracer", k.about.Name, "state", state.String(), "err", err)
	}
}

// govern closes a tracer that took more than its budget since it was last looked at, and cannot take less.
func (e *Export) govern(k *kept, now time.Time) {
	if k.source == nil || k.about.Name == RTT || now.Sub(k.since) < e.cfg.Look/2 { // rtt walks less often by itself
		return
	}
	cost, err := k.source.Cost()
	if err != nil {
		e.lose(k, now, err)
		return
	}
	took := cost.Time
	share := (took - k.cost).Seconds() / now.Sub(k.since).Seconds()
	k.since, k.cost = now, took
	if share <= e.cfg.Budget || k.about.Samples && cost.SampleEvery < MaxSampleEvery {
		return // or it follows fewer from now on
	}
	e.close(k, OverBudget)
	k.until = now.Add(e.cfg.Rest)
	e.log.Warn("a tracer takes more than its budget, and is detached for a while", "tracer", k.about.Name, "cpu_share", share, "budget", e.cfg.Budget, "rest", e.cfg.Rest)
}

// lose closes a tracer that cannot be read, for a while.
func (e *Export) lose(k *kept, now time.Time, err error) {
	e.log.Warn("a tracer cannot be read, and is detached for a while", "tracer", k.about.Name, "err", err, "rest", e.cfg.Rest)
	_ = e.shut(k, Failed) // it has failed already
	k.until = now.Add(e.cfg.Rest)
}

// close takes in what a tracer has counted, and closes it.
func (e *Export) close(k *kept, state State) {
	if err := e.shut(k, state); err != nil {
		e.log.Warn("a tracer is not closed as it should be", "tracer", k.about.Name, "err", err)
	}
}

func (e *Export) shut(k *kept, state State) error {
	if k.source == nil {
		return nil
	}
	err := errors.Join(k.read(), k.source.Close())
	k.total.close()
	k.source, k.pids, k.state = nil, nil, state
	return err
}

// read takes in what a tracer has counted. A walk over all connections is a part of what it costs.
func (k *kept) read() error {
	begun := time.Now()
	if err := k.source.SnapshotInto(&k.snap); err != nil {
		return fmt.Errorf("read tracer %s: %w", k.about.Name, err)
	}
	if k.about.Name == RTT {
		k.walked += time.Since(begun)
	}
	cost, err := k.source.Cost()
	if err != nil {
		return fmt.Errorf("read tracer %s: %w", k.about.Name, err)
	}
	if k.about.Name == RTT {
		cost.Time = k.walked
	}
	k.total.see(&k.snap, cost)
	return nil
}

// tellStalls logs the longest stall since the last look; all are counted.
func (e *Export) tellStalls(k *kept) {
	if k.source == nil || !k.about.Stalls {
		return
	}
	var longest StallOf
	all := 0
	err := k.source.Stalls(func(s StallOf) {
		all++
		if s.Busy > longest.Busy {
			longest = s
		}
	})
	if err != nil || all == 0 {
		return // what it has counted says whether it can be read
	}
	e.log.Info("event loops stalled", "stalls", all, "longest", longest.Busy, "cause", longest.Cause.String(),
		"pid", longest.PID, "epoll", longest.Poller, "place", longest.Place.String(), "code", e.code(&longest))
}

// framesLogged is how many of a stall's are logged, innermost first.
const framesLogged = 8

// code names a stall's. Of this process Go's runtime knows it, without a file's table in memory.
func (e *Export) code(s *StallOf) (names []string) {
	for i, address := range s.User[:min(len(s.User), framesLogged)] {
		if int64(s.PID) != int64(os.Getpid()) {
			names = append(names, e.symbols.User(s.PID, address, i > 0))
			continue
		}
		pc := uintptr(address)
		if i == 0 {
			pc++ // the others are where calls return to
		}
		frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
		names = append(names, fmt.Sprintf("%s %s:%d", frame.Function, filepath.Base(frame.File), frame.Line))
	}
	return names
}
