package latency

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// statsClock is what the kernel's statistics of BPF programs take themselves, of each run: Counted is
// in what they say that it took, Added is what it takes longer.
type statsClock struct{ Counted, Added time.Duration }

// emptyRuns are enough for the clock's resolution, in half a millisecond. The least of emptyReps is what nothing has interrupted.
const (
	emptyRuns = 10_000
	emptyReps = 5
)

// measureClock runs a program that does nothing, once in a process. If it cannot be, nothing is known
// of the clock, and both are 0.
var measureClock = sync.OnceValue(func() statsClock { //nolint:gochecknoglobals // of the host, not of a tracer
	c, err := clockOf(emptyRuns, emptyReps)
	if err != nil {
		return statsClock{}
	}
	return c
})

func clockOf(runs, reps int) (c statsClock, err error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return c, fmt.Errorf("load a program that does nothing: %w", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	without, _, err := leastOf(p, runs, reps)
	if err != nil {
		return c, err
	}
	stats, err := ebpf.EnableStats(statsRunTime)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	with, counted, err := leastOf(p, runs, reps)
	if err != nil {
		return c, err
	}
	return statsClock{Counted: counted, Added: max(with-without, counted)}, nil
}

// leastOf is the least that a run takes, and the least that is counted of one.
func leastOf(p *ebpf.Program, runs, reps int) (took, counted time.Duration, err error) {
	frame := make([]byte, 64)
	for rep := range reps + 1 { // the first is for the caches
		before, err := p.Stats()
		if err != nil {
			return 0, 0, err
		}
		_, each, err := p.Benchmark(frame, runs, nil)
		if err != nil {
			return 0, 0, fmt.Errorf("run a program that does nothing: %w", err)
		}
		after, err := p.Stats()
		if err != nil {
			return 0, 0, err
		}
		of := (after.Runtime - before.Runtime) / time.Duration(max(after.RunCount-before.RunCount, 1)) //nolint:gosec // a few thousand
		if rep == 1 || rep > 1 && each < took {
			took = each
		}
		if rep == 1 || rep > 1 && of < counted {
			counted = of
		}
	}
	return took, counted, nil
}

// fewerTicks are those below which a threshold was not reached: as many as half of it has, which leaves the kernel the
// other half to be late with counting them. 0: they are too long to say so.
func fewerTicks(threshold, tick time.Duration) uint64 {
	if tick <= 0 || threshold < 2*tick {
		return 0
	}
	return uint64(threshold / 2 / tick)
}
