//go:build linux

package latency

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stallOnce stalls a loop once, by what is done between two polls, and is what is told of it.
func stallOnce(t *testing.T, tracer *Tracer, callback func() error) StallOf {
	t.Helper()
	poller := 0
	onLoop(t, func(l *eventLoop) {
		poller = l.poller
		l.poll()
		if err := callback(); err != nil {
			l.err = err
		}
		l.poll()
	})
	var stalls []StallOf
	if err := tracer.Stalls(func(s StallOf) { stalls = append(stalls, s) }); err != nil {
		t.Fatal(err)
	}
	stalls = slices.DeleteFunc(stalls, func(s StallOf) bool { return int(s.Poller) != poller })
	if len(stalls) != 1 || int(stalls[0].PID) != os.Getpid() {
		t.Fatalf("stalls are %+v: want one", stalls)
	}
	return stalls[0]
}

// onCPU does f on one CPU, and has the calling thread run on those that it ran on, then.
func onCPU(cpu int, f func()) error {
	var before, one unix.CPUSet
	one.Set(cpu)
	if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &one)); err != nil {
		return err
	}
	f()
	return unix.SchedSetaffinity(0, &before)
}

// inFront does f before all others of the calling thread's CPU.
func inFront(f func()) error {
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0); err != nil {
		return err
	}
	f()
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
}

// during runs something beside the calling thread, which spins until it is done.
func during(f func()) {
	var done atomic.Bool
	go func() {
		f()
		done.Store(true)
	}()
	for !done.Load() { //nolint:revive // it takes the time
	}
}

// withRoom lets two goroutines run at once, also where there is one CPU.
func withRoom(t *testing.T) {
	t.Helper()
	before := runtime.GOMAXPROCS(4)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

func TestBPFStallTellsTheCause(t *testing.T) {
	const long = 16 * time.Millisecond
	cpu := firstCPU(t)
	withoutGC(t)
	withRoom(t)
	just := func(callback func() error) func() func() error { return func() func() error { return callback } }
	for _, tt := range []struct {
		cause Cause
		// prepare makes what is done between two polls.
		prepare func() func() error
		part    func(*StallOf) time.Duration
	}{
		{Callback, just(func() error { return inFront(func() { spinInCallback(long) }) }), func(s *StallOf) time.Duration { return s.Busy - s.Waited - s.Slept - s.SoftIRQ }},
		{Blocked, just(func() error { return sleepInCallback(long) }), func(s *StallOf) time.Duration { return s.Slept }},
		{RunQueue, just(func() error {
			return onCPU(cpu, func() { during(func() { firstInLine(t, cpu, func() { spin(long) }) }) })
		}), func(s *StallOf) time.Duration { return s.Waited }},
		{StopTheWorld, func() func() error {
			stop := stopTheWorld(t, long)
			return func() error { during(func() { stop() }); return nil }
		}, func(s *StallOf) time.Duration { return s.Stopped }},
	} {
		t.Run(tt.cause.String(), func(t *testing.T) {
			tracer := trace(t, Stall, Config{PIDs: us(), Threshold: long / 2})
			var s StallOf
			for range 50 { // a loaded host may have another cause of its own
				if s = stallOnce(t, tracer, tt.prepare()); s.Cause == tt.cause && tt.part(&s) >= long*9/10 {
					break
				}
			}
			if s.Cause != tt.cause || tt.part(&s) < long*9/10 || tt.part(&s) > s.Busy {
				t.Errorf("%+v is by %v: want %v, of %v to all of the time", s, s.Cause, tt.cause, long*9/10)
			}
			counted := map[string]uint64{}
			for _, c := range snapshot(t, tracer).Counters {
				counted[c.Name] = c.Count
			}
			if counted["by_"+tt.cause.String()] == 0 {
				t.Errorf("counters are %v", counted)
			}
		})
	}
}

// Softirqs of what a loop sends to its own host run at once, on its thread.
func TestBPFStallTellsOfSoftirqs(t *testing.T) {
	withoutGC(t)
	tracer := trace(t, Stall, Config{PIDs: us(), Threshold: made})
	inSoftirq(t, 2*made, func(send func()) {
		var s StallOf
		for range 50 {
			if s = stallOnce(t, tracer, func() error { send(); return nil }); s.Cause == SoftIRQ {
				break
			}
		}
		if s.Cause != SoftIRQ || s.SoftIRQ < 2*made || s.SoftIRQ > s.Busy {
			t.Errorf("%+v is by %v: want softirqs, %v or more", s, s.Cause, 2*made)
		}
	})
}
