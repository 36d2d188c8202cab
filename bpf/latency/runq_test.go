//go:build linux

package latency

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echo is cat(1), which writes what it is written, on one CPU.
type echo struct {
	pid int
	in  *os.File
	out io.Reader
}

func startEcho(t *testing.T, cpu int) *echo {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(cmd.Process.Pid, &set); err != nil {
		t.Fatal(err)
	}
	e := &echo{cmd.Process.Pid, in.(*os.File), out}
	e.send(t)
	e.receive(t)
	return e
}

func (e *echo) send(t *testing.T) {
	t.Helper()
	if _, err := e.in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
}

func (e *echo) receive(t *testing.T) {
	t.Helper()
	if _, err := io.ReadFull(e.out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	until(t, "cat waits", func() bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(e.pid) + "/stat")
		_, state, _ := strings.Cut(string(b), ") ")
		return err == nil && strings.HasPrefix(state, "S")
	})
}

// firstCPU is one that this process may use.
func firstCPU(t *testing.T) int {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !set.IsSet(cpu) {
		cpu++
	}
	return cpu
}

// firstInLine runs f on a thread that nobody else of a CPU gets a turn before, until it is done.
func firstInLine(t *testing.T, cpu int, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its priority
		var set unix.CPUSet
		set.Set(cpu)
		err := unix.SchedSetaffinity(0, &set)
		if err == nil {
			err = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func spin(d time.Duration) {
	for begun := time.Now(); time.Since(begun) < d; { //nolint:revive // it takes the time
	}
}

// switches is how often the calling thread was put off its CPU.
func switches(t *testing.T) int64 {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &used); err != nil {
		t.Error(err)
	}
	return used.Nvcsw + used.Nivcsw
}

// holdUp has e wait for its CPU once, for the made delay, and bounds how long it did. It is not ok if whoever has
// the CPU was put off it meanwhile, as by Go's runtime: then there were several waits, of any length.
func holdUp(t *testing.T, e *echo, cpu int) (took span, ok bool) {
	t.Helper()
	begun := time.Now()
	firstInLine(t, cpu, func() {
		before := switches(t)
		e.send(t)
		sent := time.Now()
		spin(made)
		took.least = time.Since(sent)
		ok = switches(t) == before
	})
	e.receive(t)
	took.most = time.Since(begun)
	return took, ok
}

func TestBPFRunqMeasuresTheWaitForACPU(t *testing.T) {
	cpu := firstCPU(t)
	e, other := startEcho(t, cpu), startEcho(t, cpu)
	tracer, others := trace(t, Runq, Config{PIDs: []int{e.pid}}), trace(t, Runq, Config{PIDs: []int{other.pid}})
	for tries := 50; ; tries-- {
		before := snapshot(t, tracer)
		took, ok := holdUp(t, e, cpu)
		if !ok && tries > 0 {
			continue
		}
		if !ok {
			t.Fatal("the thread in front was put off its CPU each time")
		}
		s := snapshot(t, tracer)
		s.Sub(before)
		// Others of the host may have put it off too, before and after: all of its waits together are no longer than all of the time.
		if h := s.Histograms[0]; took.among(&h) == 0 || h.Sum < took.least || h.Sum > took.most {
			t.Errorf("%v, %v together: want one duration from %v to %v, and all of them no longer", h.Buckets, h.Sum, took.least, took.most)
		}
		break
	}
	if h := snapshot(t, others).Histograms[0]; h.Count != 0 {
		t.Errorf("%d of another process are counted", h.Count)
	}
}

// withThread has another thread, which is woken and answers, while f runs.
func withThread(f func(wake func())) {
	ping, pong := make(chan int), make(chan int)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for range ping {
			pong <- 1
		}
		close(pong)
	}()
	f(func() {
		ping <- 1
		<-pong
	})
	close(ping)
	<-pong
}

func BenchmarkRunq(b *testing.B) {
	tracer := trace(b, Runq, Config{PIDs: us(), Cost: true})
	withThread(func(wake func()) {
		for b.Loop() {
			wake()
		}
	})
	perEvent(b, tracer)
}
