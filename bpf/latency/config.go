package latency

import (
	"errors"
	"math"
	"slices"
	"time"
)

// Limits of [Config].
const (
	MaxPIDs  = 64
	MaxPorts = 16
	// MinBudget is the least share of a CPU.
	MinBudget = 0.001
)

// Config says what a tracer counts.
type Config struct {
	// PIDs are the processes, as the initial PID namespace numbers them, MaxPIDs at most. None:
	// all of the host. Only for tracers whose [About.PIDs] says so.
	PIDs []int
	// Ports are local ports of TCP, MaxPorts at most. None: all. Only for tracers whose
	// [About.Ports] says so.
	Ports []uint16
	// Threshold has the tracer stall keep the code of loops that were busy as long, for
	// [Tracer.Stalls], and say by what. 0: it does not look for them, which costs less.
	Threshold time.Duration
	// Cost has the kernel take the time of BPF programs while the tracer is open, of all of the
	// host: 50 to 100 ns a run. Without it [Tracer.Cost] knows nothing. The tracer xdp has it on. It takes
	// CAP_SYS_ADMIN: without that what other tracers take is assumed, by what they count, and xdp does not open.
	Cost bool
	// Empty has programs that do nothing at the tracer's hooks, so that nothing is counted but their runs
	// and what the kernel's statistics take for those: what the tracer's own are measured against.
	Empty bool
	// Budget is which share of one CPU the tracer may take, 0.001 to 1; it needs Cost. Above it the
	// tracer follows one in 2 to MaxSampleEvery of its events, each for as many, so that what it counts
	// are estimates; the runs of programs are timed for a tenth of each second; and rtt walks less often.
	// 0: it may take any.
	Budget float64
}

// Validate reports every field that is out of range, as *FieldErrors joined; nil if all are fine.
func (c Config) Validate(tracer string) error {
	about, err := find(tracer)
	if err != nil {
		return err
	}
	var errs []error
	wrong := func(field string, value any, want string) {
		errs = append(errs, &FieldError{field, value, want})
	}
	if len(c.PIDs) > 0 && !about.PIDs {
		wrong("PIDs", c.PIDs, "none: "+tracer+" is of the whole host")
	}
	if len(c.PIDs) == 0 && about.Go {
		wrong("PIDs", c.PIDs, "at least one process, of a Go program: "+tracer+" looks at its functions")
	}
	if len(c.PIDs) > MaxPIDs || slices.ContainsFunc(c.PIDs, func(pid int) bool { return pid < 1 || pid > math.MaxInt32 }) {
		wrong("PIDs", c.PIDs, "at most 64 ids of processes")
	}
	if len(c.Ports) > 0 && !about.Ports {
		wrong("Ports", c.Ports, "none: "+tracer+" does not know ports")
	}
	if len(c.Ports) > MaxPorts || slices.Contains(c.Ports, 0) {
		wrong("Ports", c.Ports, "at most 16 ports, 1 to 65535")
	}
	if c.Threshold < 0 || c.Threshold > 0 && !about.Stalls {
		wrong("Threshold", c.Threshold, "0, or for stall a duration above it")
	}
	if c.Budget != 0 && !(c.Budget >= MinBudget && c.Budget <= 1) {
		wrong("Budget", c.Budget, "0, or a share of one CPU, 0.001 to 1")
	}
	if c.Budget > 0 && !c.Cost {
		wrong("Budget", c.Budget, "0 without Cost: what it takes is not known")
	}
	return errors.Join(errs...)
}
