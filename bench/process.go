package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/bench/load"
)

// Process is a child of ours.
type Process struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	exited chan struct{}
	err    error // valid once exited is closed
}

// StartProcess starts this binary with args. In is its standard input, out its output; either
// may be nil. env is added to its environment.
func StartProcess(args []string, in io.Reader, out io.Writer, env ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	return startProgram(self, args, in, out, env...)
}

// startProgram is [StartProcess] for any program.
func startProgram(program string, args []string, in io.Reader, out io.Writer, env ...string) (*Process, error) {
	return startWith(childAttr(), program, args, in, out, env...)
}

// startWith is startProgram for one that dies with us in a way of its own.
func startWith(attr *syscall.SysProcAttr, program string, args []string, in io.Reader, out io.Writer, env ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(program, args...), exited: make(chan struct{})} //nolint:gosec // our own binary, what we compiled, or a server or client beside it
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, out, &p.stderr
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = attr
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s %s: %w", filepath.Base(program), args[0], err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Pid is the child's.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Stop ends the child, with SIGKILL after the time given.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that is gone needs none
	select {
	case <-p.exited:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// WaitReady waits until the weir at the admin URL says it is ready.
func (p *Process) WaitReady(ctx context.Context, client *http.Client, admin string) error {
	if err := p.awaitAnswer(ctx, client, admin+"/readyz", func(status int) bool { return status == http.StatusOK }); err != nil {
		return fmt.Errorf("wait for weir serve: %w", err)
	}
	return nil
}

// awaitAnswer waits until a server answers with a status that will do.
func (p *Process) awaitAnswer(ctx context.Context, client *http.Client, url string, will func(status int) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-p.exited:
			return fmt.Errorf("it ended: %w: %s", errors.Join(errEnded, p.err), strings.TrimSpace(p.stderr.String()))
		case <-ctx.Done():
			return fmt.Errorf("it does not answer at %s: %w", url, ctx.Err())
		case <-poll.C:
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return fmt.Errorf("ask %s: %w", url, err)
			}
			res, err := client.Do(req)
			if err != nil {
				continue
			}
			_, err = io.Copy(io.Discard, res.Body)
			if err := errors.Join(err, res.Body.Close()); err == nil && will(res.StatusCode) {
				return nil
			}
		}
	}
}

// errEnded says that a process is gone that should be there.
var errEnded = errors.New("the process is gone")

// FreePort is a port that nobody listens on now.
func FreePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer ln.Close() //nolint:errcheck // it was never used
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("find a free port: not a TCP address")
	}
	return addr.Port, nil
}

// Worker is a load generator in its own process, or a server that is driven like one.
type Worker struct {
	*Process
	in  io.WriteCloser
	out *bufio.Reader
}

// Starter is StartProcess, or that somewhere else.
type Starter func(args []string, in io.Reader, out io.Writer, env ...string) (*Process, error)

// StartWorker starts one and gives it its configuration. The first Report comes when its conns
// are open.
func StartWorker(start Starter, cfg load.Config) (*Worker, error) {
	w, err := startPiped(start, "bench-worker")
	if err != nil {
		return nil, err
	}
	return w, json.NewEncoder(w.in).Encode(cfg)
}

// startPiped starts a process that is spoken to.
func startPiped(start Starter, args ...string) (*Worker, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a worker's pipe: %w", err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a worker's pipe: %w", err), inR.Close(), inW.Close())
	}
	p, err := start(args, inR, outW)
	_ = inR.Close() // the child has its own
	_ = outW.Close()
	if err != nil {
		return nil, errors.Join(err, inW.Close(), outR.Close())
	}
	return &Worker{Process: p, in: inW, out: bufio.NewReaderSize(outR, 1<<20)}, nil
}

// End ends the worker.
func (w *Worker) End() {
	_ = w.in.Close() // ends it
	w.Stop(2 * time.Second)
}

// Command sends one of load's commands.
func (w *Worker) Command(c string) error {
	if _, err := io.WriteString(w.in, c+"\n"); err != nil {
		return fmt.Errorf("tell a worker: %w: %s", err, strings.TrimSpace(w.stderr.String()))
	}
	return nil
}

// Report reads the worker's next one.
func (w *Worker) Report() (r load.Report, err error) {
	line, err := w.line()
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("understand a worker: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

func (w *Worker) line() ([]byte, error) {
	line, err := w.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("hear from a worker: %w: %s", err, strings.TrimSpace(w.stderr.String()))
	}
	return line, nil
}

// ask sends a command and reads the report.
func (w *Worker) ask(command string) (load.Report, error) {
	if err := w.Command(command); err != nil {
		return load.Report{}, err
	}
	return w.Report()
}

// cpuSeconds is what a process has used, in user and kernel mode (proc(5), stat).
func cpuSeconds(pid int) (float64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	const utime, stime, ticksPerSecond = 11, 12, 100
	var sum float64
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		sum += float64(n)
	}
	return sum / ticksPerSecond, nil
}

// rssBytes is a process's resident memory.
func rssBytes(pid int) (uint64, error) {
	return kibField("/proc/"+strconv.Itoa(pid)+"/status", "VmRSS")
}
