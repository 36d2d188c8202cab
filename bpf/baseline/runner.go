package baseline

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
)

// Runner runs a program on packets that no network sees. Its methods may be called from any
// goroutine, before Close.
type Runner struct {
	prog *ebpf.Program
	own  []io.Closer
}

// New is a Runner of a program, which stays the caller's.
func New(prog *ebpf.Program) *Runner { return &Runner{prog: prog} }

// Program is what it runs; it is closed by Close unless it is the caller's.
func (r *Runner) Program() *ebpf.Program { return r.prog }

// Close gives up what the Runner loaded. Idempotent.
func (r *Runner) Close() error {
	var errs []error
	for _, c := range r.own {
		errs = append(errs, c.Close())
	}
	r.own = nil
	return errors.Join(errs...)
}

// outBytes is room for a packet that the program made longer.
const outBytes = 2048

// Once runs the program once: its verdict, and the packet as it is after it.
func (r *Runner) Once(packet []byte) (verdict uint32, out []byte, err error) {
	opts := &ebpf.RunOptions{Data: packet, DataOut: make([]byte, outBytes)}
	if verdict, err = r.prog.Run(opts); err != nil {
		return 0, nil, fmt.Errorf("run a program on a packet: %w", err)
	}
	return verdict, opts.DataOut, nil
}

// Run runs the program so often on one packet, on the calling thread, and returns the CPU time
// that it took: what else runs on the host is not in it, the kernel's loop around the program is.
// What the program does to the packet stays for the next time.
func (r *Runner) Run(packet []byte, repeat int) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, err := threadTime()
	if err != nil {
		return 0, err
	}
	// A signal ends the kernel's loop, which then begins anew.
	again := func() { start, _ = threadTime() }                                  // it worked before
	opts := &ebpf.RunOptions{Data: packet, Repeat: uint32(repeat), Reset: again} //nolint:gosec,staticcheck // positive; nothing else tells that it began anew
	if _, err := r.prog.Run(opts); err != nil {
		return 0, fmt.Errorf("run a program on a packet %d times: %w", repeat, err)
	}
	end, err := threadTime()
	return end - start, err
}

// besides is how many packets a CPU runs at once while it waits for another one to end.
const besides = 1000

// RunOn is [Runner.Run] on several CPUs at once, a thread on each, and the time that each took.
// None is idle before all have ended.
func (r *Runner) RunOn(cpus []int, packet []byte, repeat int) ([]time.Duration, error) {
	took, errs := make([]time.Duration, len(cpus)), make([]error, len(cpus))
	var left atomic.Int32
	left.Store(int32(len(cpus))) //nolint:gosec // a handful
	var ready, done sync.WaitGroup
	ready.Add(len(cpus))
	for i, cpu := range cpus {
		done.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its CPU
			err := pin(cpu)
			ready.Done()
			ready.Wait()
			if err == nil {
				took[i], err = r.Run(packet, repeat)
			}
			left.Add(-1)
			for err == nil && left.Load() > 0 {
				_, err = r.Run(packet, besides)
			}
			errs[i] = err
		})
	}
	done.Wait()
	return took, errors.Join(errs...)
}
