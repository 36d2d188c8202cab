package bpftrace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait.
const patience = 20 * time.Second

// pretend is a bpftrace that is a shell script.
func pretend(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bpftrace")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return path
}

const (
	begins  = "echo Attaching 2 probes...\necho begun\n"
	endless = "while :; do sleep 0.01; done\n"
)

func TestRunEndsBpftraceAndPassesOnWhatItPrints(t *testing.T) {
	for _, tt := range []struct {
		name, script, out string
		duration          time.Duration
		want              error
		hangs             bool
	}{
		{"it prints its maps at SIGINT", "trap 'echo @a: 1; exit 0' INT\n" + begins + endless, "begun\n@a: 1\n", time.Millisecond, nil, false},
		{"it forgets SIGINT until it is interrupted again", "trap told=1 INT\ntrap '[ -z $told ] || { echo @a: 1; exit 0; }' CONT\n" + begins + endless, "begun\n@a: 1\n", time.Millisecond, nil, false},
		{"it ends by itself", begins + "echo @a: 1\n", "begun\n@a: 1\n", 0, nil, false},
		{"it gets script, flags and parameters", begins + `echo "$@"; cat "$2"` + "\n", "begun\n-q /dev/stdin 7 0\nBEGIN {}", 0, nil, false},
		{"it may keep more conns than it does by itself", begins + "echo $BPFTRACE_MAP_KEYS_MAX\n", "begun\n65536\n", 0, nil, false},
		{"its warnings come last", begins + "echo WARNING: lost >&2\necho @a: 1\n", "begun\n@a: 1\nWARNING: lost\n", 0, nil, false},
		{"it does not end", "trap '' INT\n" + begins + endless, "begun\n", time.Millisecond, ErrHung, true},
		{"it does not begin", "echo Attaching 2 probes...\n" + endless, "", 0, ErrHung, true},
		{"it fails", "echo ERROR: tracepoint not found: a:b >&2\nexit 1\n", "", 0, ErrKernel, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &job{
				duration: tt.duration, begin: patience, end: patience, script: "BEGIN {}", flags: []string{"-q"}, args: []string{"7", "0"},
				translate: func(line string) string { return line },
			}
			if tt.hangs {
				j.begin, j.end = time.Second, time.Millisecond
			}
			var out strings.Builder
			err := j.run(t.Context(), pretend(t, tt.script), &out)
			if !errors.Is(err, tt.want) || out.String() != tt.out {
				t.Errorf("%q, %v; want %q, %v", &out, err, tt.out, tt.want)
			}
		})
	}
}

func TestContextEndsASession(t *testing.T) {
	j := &job{begin: patience, end: patience, translate: func(line string) string { return line }}
	ctx, cancel := context.WithCancel(t.Context())
	begun := writerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	if err := j.run(ctx, pretend(t, "trap 'exit 0' INT\n"+begins+endless), begun); err != nil {
		t.Errorf("once it has begun: %v", err)
	}
	if err := j.run(ctx, pretend(t, endless), begun); !errors.Is(err, context.Canceled) {
		t.Errorf("before it has begun: %v", err)
	}
}

func TestEndOfTheProcessIsSaid(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		pid  int
		want string
	}{
		{"it has ended", gone.Process.Pid, fmt.Sprintf(`^begun\n@a: 1\nprocess %d has ended: the above is of the \d+m?s that it was looked at\n$`, gone.Process.Pid)},
		{"it is there", os.Getpid(), `^begun\n@a: 1\n$`},
		{"there is none", 0, `^begun\n@a: 1\n$`},
	} {
		j := &job{pid: tt.pid, begin: patience, end: patience, translate: func(line string) string { return line }}
		var out strings.Builder
		if err := j.run(t.Context(), pretend(t, begins+"echo @a: 1\n"), &out); err != nil || !regexp.MustCompile(tt.want).MatchString(out.String()) {
			t.Errorf("%s: %q, %v", tt.name, &out, err)
		}
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := Run(t.Context(), "accept", Params{}, nil); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "apt-get install bpftrace") {
		t.Error(err)
	}
	if err := Run(t.Context(), "none", Params{}, nil); !errors.Is(err, ErrSession) {
		t.Error(err)
	}
	if err := Run(t.Context(), "gc", Params{}, nil); !errors.Is(err, ErrParams) {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		t.Setenv("PATH", filepath.Dir(pretend(t, "")))
		if err := Run(t.Context(), "accept", Params{}, nil); !errors.Is(err, ErrNotPermitted) {
			t.Error(err)
		}
	}
}

// TestFunctionsAreNamedWithoutSymbols holds names and offsets to the running test's own, which has no symbols as `go test`
// links it.
func TestFunctionsAreNamedWithoutSymbols(t *testing.T) {
	b, err := openBinary(executable(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	pc, _, _, _ := runtime.Caller(0)
	got := b.name(fmt.Sprintf("        0x%x", pc))
	if want := "        weir/tuning/bpftrace.TestFunctionsAreNamedWithoutSymbols+"; b.fixed && !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q and an offset", got, want)
	}
	for _, line := range []string{"        0x1", "@a: 0x1", "        runtime.futex+35"} {
		if got := b.name(line); got != line {
			t.Errorf("%q became %q", line, got)
		}
	}
	if at, err := b.offset("runtime.stopTheWorldWithSema"); err != nil || at == 0 {
		t.Errorf("%d %v", at, err)
	}
	if _, err := b.offset("none"); !errors.Is(err, ErrSymbols) {
		t.Error(err)
	}
	if _, err := openBinary("/bin/sh"); !errors.Is(err, ErrSymbols) {
		t.Error(err)
	}
}

func TestStacksOfAGoProgramAreNamedHereNotByBpftrace(t *testing.T) {
	s, err := find("offcpu")
	if err != nil {
		t.Fatal(err)
	}
	j, err := prepare(s, Params{PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	j.begin, j.end = patience, patience
	var out strings.Builder
	if err := j.run(t.Context(), pretend(t, begins+"echo $BPFTRACE_NO_USER_SYMBOLS\n"), &out); err != nil || out.String() != "begun\n1\n" {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestRuntimesOwnPollerIsToldFromALoops(t *testing.T) {
	b, err := openBinary(executable(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if !b.fixed {
		t.Skip("this test is linked to run at any address")
	}
	loops, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(loops) //nolint:errcheck // it is only polled
	r, w, err := os.Pipe()  // Go's runtime polls it, too
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // nothing is read
	defer w.Close() //nolint:errcheck // nothing is written
	fd := int(r.Fd())
	if err := unix.EpollCtl(loops, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil { //nolint:gosec // a descriptor
		t.Fatal(err)
	}
	own := ownPoller("/proc/self", b)
	is, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", own))
	if own == loops || is != "anon_inode:[eventpoll]" || err != nil {
		t.Errorf("it is %d, %q, %v; the loop's is %d", own, is, err, loops)
	}
}
