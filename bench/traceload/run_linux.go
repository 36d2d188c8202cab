package traceload

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maker makes events in one thread, of which it is not the only one.
type maker interface {
	// events makes n, or one or two more where they come in pairs, and says how many it made.
	events(n int) (made int, err error)
	// most is how many it makes at once, between two looks at the clock.
	most() int
	close() error
}

// Run is a load: it reads its Config and Turns from in and writes Reports to out, until in ends.
func Run(in io.Reader, out io.Writer) (err error) {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.New("a load is started by weir bench, not by hand")
	}
	answer := json.NewEncoder(out)
	l, err := begin(lines.Bytes())
	if err != nil {
		return errors.Join(err, answer.Encode(Report{Error: err.Error()}))
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := answer.Encode(Report{}); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for lines.Scan() {
		var t Turn
		err := json.Unmarshal(lines.Bytes(), &t)
		if err == nil {
			err = t.Validate()
		}
		var r Report
		if err == nil {
			r, err = l.turn(t)
		}
		if err != nil {
			r.Error = err.Error()
		}
		if err := answer.Encode(r); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return lines.Err()
}

// load is what makes the events of a turn.
type load interface {
	play(t Turn) (events uint64, err error)
	close() error
}

type running struct{ load }

// begin makes ready what the first line says.
func begin(line []byte) (*running, error) {
	var cfg Config
	if err := json.Unmarshal(line, &cfg); err != nil {
		return nil, fmt.Errorf("read what events to make: %w", err)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Kind == Frames {
		f, err := newFrames(cfg.Prefix)
		return &running{f}, err
	}
	t, err := newThreads(cfg)
	return &running{t}, err
}

// turn makes the events of one, and measures it.
func (l *running) turn(t Turn) (r Report, err error) {
	before, err := CPUTime()
	if err != nil {
		return r, err
	}
	start := time.Now()
	r.Events, err = l.play(t)
	r.Seconds = time.Since(start).Seconds()
	after, errCPU := CPUTime()
	r.CPUSeconds = (after - before).Seconds()
	return r, errors.Join(err, errCPU)
}

// CPUTime is what this process has used, user and system. The kernel has it to the nanosecond, whatever its ticks.
func CPUTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// threads are makers, each in a thread of its own.
type threads struct {
	makers []maker
	cpus   []int
	// What Go's runtime was told before.
	percent, procs int
}

func newThreads(cfg Config) (*threads, error) {
	cpus, err := allowedCPUs()
	if err != nil {
		return nil, err
	}
	// Go's runtime has nothing to do meanwhile: no garbage, and room for each thread that waits in the kernel.
	t := &threads{cpus: cpus, percent: debug.SetGCPercent(-1), procs: runtime.GOMAXPROCS(2*cfg.Threads + 4)}
	for i := range cfg.Threads {
		m, err := newMaker(cfg, cpus[i%len(cpus)])
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		t.makers = append(t.makers, m)
	}
	return t, nil
}

// allowedCPUs are those that this process may run on.
func allowedCPUs() (cpus []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read which CPUs there are: %w", err)
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// pin has the calling goroutine run in a thread of its own on a CPU; the thread ends with it.
func pin(cpu int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("run on CPU %d: %w", cpu, err)
	}
	return nil
}

func (t *threads) play(turn Turn) (events uint64, err error) {
	var (
		all  sync.WaitGroup
		made = make([]uint64, len(t.makers))
		errs = make([]error, len(t.makers))
	)
	turn.PerSecond /= float64(len(t.makers))
	for i, m := range t.makers {
		all.Go(func() {
			if errs[i] = pin(t.cpus[i%len(t.cpus)]); errs[i] == nil {
				made[i], errs[i] = drive(m, turn)
			}
		})
	}
	all.Wait()
	for _, n := range made {
		events += n
	}
	return events, errors.Join(errs...)
}

// drive has a maker make what is due until the turn is over.
func drive(m maker, turn Turn) (events uint64, err error) {
	now := time.Now()
	p := pace{perSecond: turn.PerSecond, last: now}
	for end := now.Add(turn.Duration); now.Before(end); now = time.Now() {
		n := p.due(now, m.most())
		if n == 0 {
			// The thread itself sleeps: a timer of Go's would wake others as well.
			rest := unix.NsecToTimespec(int64(tick))
			_ = unix.Nanosleep(&rest, nil) // a signal may end it early
			continue
		}
		made, err := m.events(n)
		events += uint64(made) //nolint:gosec // not negative
		if err != nil {
			return events, err
		}
		p.owed -= float64(made - n)
	}
	return events, nil
}

func (t *threads) close() error {
	debug.SetGCPercent(t.percent)
	runtime.GOMAXPROCS(t.procs)
	var errs []error
	for _, m := range t.makers {
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}
