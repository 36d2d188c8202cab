//go:build linux

package latency

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// lateReader has this program read its input once what comes first has waited for as long.
const lateReader = "WEIR_TEST_READ_AFTER"

func readLate(wait string) {
	first := make([]byte, 1)
	_, err := os.Stdin.Read(first)
	d, wrong := time.ParseDuration(wait)
	if errors.Join(err, wrong) == nil {
		<-time.After(d)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

// stopTheWorld has Go's runtime stop this process's world, for d or somewhat longer: it dumps the heap into a pipe whose other end reads
// late. The world is stopped before the first byte, and the dump is longer than a pipe holds.
func stopTheWorld(t *testing.T, d time.Duration) span {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader := exec.Command(os.Args[0])
	reader.Env, reader.Stdin = append(os.Environ(), lateReader+"="+d.String()), r
	if err := errors.Join(reader.Start(), r.Close()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	debug.WriteHeapDump(w.Fd())
	took := span{d, time.Since(begun)}
	if err := errors.Join(w.Close(), reader.Wait()); err != nil {
		t.Fatal(err)
	}
	return took
}

// withoutGC has nobody else stop the world.
func withoutGC(t *testing.T) {
	t.Helper()
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	runtime.GC()
}

func TestBPFGCMeasuresAStopOfTheWorld(t *testing.T) {
	withoutGC(t)
	tracer := trace(t, GC, Config{PIDs: us()})
	took := stopTheWorld(t, made)
	s := snapshot(t, tracer)
	took.holds(t, &s.Histograms[0], 0)
	if s.Histograms[1].Count != 0 {
		t.Errorf("%d collections are counted", s.Histograms[1].Count)
	}
}

func TestBPFGCCountsCollections(t *testing.T) {
	withoutGC(t)
	tracer := trace(t, GC, Config{PIDs: us()})
	const collections = 3
	begun := time.Now()
	for range collections {
		runtime.GC()
	}
	took := time.Since(begun)
	s := snapshot(t, tracer)
	stopped, marking := &s.Histograms[0], &s.Histograms[1]
	if marking.Count != collections || marking.Sum <= 0 || marking.Sum > took {
		t.Errorf("%d collections marked for %v: want %d, within %v", marking.Count, marking.Sum, collections, took)
	}
	if stopped.Count < 2*collections || stopped.Sum <= 0 || stopped.Sum > took {
		t.Errorf("%d stops of %v: want two of each collection, within %v", stopped.Count, stopped.Sum, took)
	}
}

func TestBPFGCIsOfGoProgramsAlone(t *testing.T) {
	_, err := Open(GC, Config{})
	if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != "PIDs" {
		t.Errorf("without a process: %v", err)
	}
	e := startEcho(t, firstCPU(t))
	trace(t, GC, Config{PIDs: us()}) // the kernel can
	if _, err := Open(GC, Config{PIDs: []int{e.pid}}); !errors.Is(err, ErrNotGo) {
		t.Errorf("of cat: %v", err)
	}
	if _, err := Open(GC, Config{PIDs: []int{nobody}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nobody: %v", err)
	}
}
