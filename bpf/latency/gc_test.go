//go:build linux

package latency

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
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

// stopTheWorld is a call that has Go's runtime stop this process's world, for d or somewhat longer, once: it dumps the heap into a pipe
// whose other end reads late. The world is stopped before the first byte, and the dump is longer than a pipe holds.
func stopTheWorld(t *testing.T, d time.Duration) func() span {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	reader := exec.Command(program)
	reader.Env, reader.Stdin = append(os.Environ(), lateReader+"="+d.String()), r
	if err := errors.Join(reader.Start(), r.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.Close(), reader.Wait()); err != nil {
			t.Error(err)
		}
	})
	return func() span {
		begun := time.Now()
		debug.WriteHeapDump(w.Fd())
		return span{d, time.Since(begun)}
	}
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
	stop := stopTheWorld(t, made)
	tracer := trace(t, GC, Config{PIDs: us()})
	took := stop()
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
	trace(t, GC, Config{PIDs: us()}) // the kernel can
	if _, err := Open(GC, Config{PIDs: []int{nobody}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nobody: %v", err)
	}
}

func TestGoFunctionsAreFoundOnce(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var g goFunctions
	seen := map[uint64]bool{}
	for _, function := range goHooks() {
		at, err := g.offset(program, function)
		if err != nil || at == 0 || seen[at] {
			t.Errorf("%s is at %#x, %v", function, at, err)
		}
		seen[at] = true
	}
	if len(g.files) != 1 {
		t.Errorf("it was read %d times", len(g.files))
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.offset(other, "runtime.gcMarkTermination"); !errors.Is(err, ErrNotGo) || !strings.Contains(err.Error(), other) {
		t.Errorf("of a script: %v", err)
	}
	if _, err := g.offset(other+".none", "runtime.gcMarkTermination"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no file: %v", err)
	}
}

func BenchmarkGC(b *testing.B) {
	tracer := trace(b, GC, Config{PIDs: us(), Cost: true})
	for b.Loop() {
		runtime.GC()
	}
	perEvent(b, tracer)
}
