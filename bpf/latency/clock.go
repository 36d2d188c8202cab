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

// emptyRuns are enough for the clock's resolution, in about a millisecond.
const emptyRuns = 10_000

// measureClock runs a program that does nothing, once in a process. If it cannot be, nothing is known
// of the clock, and both are 0.
var measureClock = sync.OnceValue(func() statsClock { //nolint:gochecknoglobals // of the host, not of a tracer
	c, err := clockOf(emptyRuns)
	if err != nil {
		return statsClock{}
	}
	return c
})

func clockOf(runs int) (c statsClock, err error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return c, fmt.Errorf("load a program that does nothing: %w", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	frame := make([]byte, 64)
	if _, _, err := p.Benchmark(frame, runs, nil); err != nil { // caches
		return c, fmt.Errorf("run a program that does nothing: %w", err)
	}
	_, without, err := p.Benchmark(frame, runs, nil)
	if err != nil {
		return c, err
	}
	stats, err := ebpf.EnableStats(statsRunTime)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	before, err := p.Stats()
	if err != nil {
		return c, err
	}
	_, with, err := p.Benchmark(frame, runs, nil)
	if err != nil {
		return c, err
	}
	after, err := p.Stats()
	if err != nil {
		return c, err
	}
	if n := after.RunCount - before.RunCount; n > 0 {
		c.Counted = (after.Runtime - before.Runtime) / time.Duration(n) //nolint:gosec // a few thousand
	}
	c.Added = max(with-without, c.Counted)
	return c, nil
}
