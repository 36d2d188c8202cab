package bpftrace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/internal/mounts"
)

const (
	// nudgeInterval is how often it is interrupted meanwhile.
	nudgeInterval = 200 * time.Millisecond
	// maxKeys is how many keys a map of a script holds, in place of 4096: a burst of conns has more.
	maxKeys = 1 << 16
	// maxErrorOutput bounds what is kept of bpftrace's error output, bytes.
	maxErrorOutput = 64 << 10
)

// Run runs a session, and writes what it gathers to out: a line once its probes are attached, the rest when it
// ends. It ends after p.Duration, when the process ends that it looks at, or with ctx, which is no error once it has
// begun. Errors are those of errors.go, out's, and what else bpftrace says.
func Run(ctx context.Context, name string, p Params, out io.Writer) error {
	s, err := find(name)
	if err != nil {
		return err
	}
	if err := s.check(p); err != nil {
		return err
	}
	program, err := exec.LookPath("bpftrace")
	if err != nil {
		return fmt.Errorf("%s: %w", name, ErrMissing)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s: %w", name, ErrNotPermitted)
	}
	if p.PID != 0 && !isThere(p.PID) {
		return fmt.Errorf("%s: %w: there is no process %d", name, ErrParams, p.PID)
	}
	if name == "gc" && runtime.GOARCH != "amd64" {
		return fmt.Errorf("gc: %w: it reads amd64's registers", errors.ErrUnsupported)
	}
	if err := mounts.Tracing(); err != nil {
		return fmt.Errorf("%s: %w: %w", name, ErrKernel, err)
	}
	j, err := prepare(s, p)
	if err != nil {
		return err
	}
	if err := j.run(ctx, program, out); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// isThere reports whether there is a process.
func isThere(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}

// run runs bpftrace until it ends, or is to.
func (j *job) run(ctx context.Context, program string, out io.Writer) error {
	// The kernel takes the end of the thread that starts a process for the end of its parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	args := append(append(j.flags, "/dev/stdin"), j.args...)
	cmd := exec.Command(program, args...) //nolint:gosec // bpftrace, with a script and numbers of ours
	// A group of its own: Ctrl-C would come to it twice, and the second one has it print nothing.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(append(os.Environ(), "BPFTRACE_MAP_KEYS_MAX="+strconv.Itoa(maxKeys)), j.env...)
	printed := &lines{out: out, translate: j.translate, stacks: stacks{name: "@blocked_in_us"}, begun: make(chan struct{})}
	said := &bounded{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(j.script), printed, said
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start bpftrace: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	err := j.watch(ctx, cmd.Process, printed.begun, exited)
	switch {
	case errors.Is(err, ErrHung):
	case err != nil && !printed.began && ctx.Err() != nil:
		return fmt.Errorf("ended before its probes were attached: %w", ctx.Err())
	case err != nil:
		return diagnose(said.text.String())
	}
	for _, w := range warnings(said.text.String()) {
		printed.line(w, "\n")
	}
	_ = printed.finish() // its error is kept
	if printed.began && j.pid != 0 && !isThere(j.pid) {
		printed.write(fmt.Sprintf("process %d has ended: the above is of the %v that it was looked at\n", j.pid, time.Since(printed.at).Round(time.Millisecond)))
	}
	return errors.Join(err, printed.err)
}

// watch waits until the process has ended, and ends it in time. Its error is the process's, or ErrHung.
func (j *job) watch(ctx context.Context, process *os.Process, begun <-chan struct{}, exited <-chan error) error {
	late := time.NewTimer(j.begin)
	defer late.Stop()
	var over <-chan time.Time
	for {
		select {
		case err := <-exited:
			return err
		case <-begun:
			begun = nil
			late.Stop()
			if j.duration > 0 {
				over = time.After(j.duration)
			}
			continue
		case <-late.C:
			return errors.Join(fmt.Errorf("%w: its probes were not attached after %v", ErrHung, j.begin), kill(process, exited))
		case <-ctx.Done():
		case <-over:
		}
		return j.finish(process, exited)
	}
}

// finish has bpftrace print what it has and exit, and kills it if it does not. 0.17 looks whether it was told to end only if its
// epoll_wait is interrupted: a SIGINT that comes between two of them is forgotten, and a second one has it print nothing
// if the first was not. To be stopped and continued interrupts epoll_wait too (signal(7)), and does no harm.
func (j *job) finish(process *os.Process, exited <-chan error) error {
	if err := process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(fmt.Errorf("end bpftrace: %w", err), kill(process, exited))
	}
	late := time.NewTimer(j.end)
	defer late.Stop()
	nudge := time.NewTicker(nudgeInterval)
	defer nudge.Stop()
	for {
		select {
		case err := <-exited:
			return err
		case <-nudge.C:
			_ = errors.Join(process.Signal(syscall.SIGSTOP), process.Signal(syscall.SIGCONT)) // it may have ended
		case <-late.C:
			return errors.Join(fmt.Errorf("%w: it did not end within %v of SIGINT", ErrHung, j.end), kill(process, exited))
		}
	}
}

// kill ends a process that does not end, and waits for it.
func kill(process *os.Process, exited <-chan error) error {
	err := process.Kill()
	var killed *exec.ExitError
	if ended := <-exited; ended != nil && !errors.As(ended, &killed) {
		err = errors.Join(err, ended)
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill bpftrace: %w", err)
	}
	return nil
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ text strings.Builder }

// Write takes all, and keeps what there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	b.text.Write(p[:min(len(p), maxErrorOutput-b.text.Len())])
	return len(p), nil
}
