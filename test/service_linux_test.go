package test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is a service manager as far as a process sees it: sd_notify(3).
type manager struct {
	tb   testing.TB
	conn *net.UnixConn
	env  string
}

func newManager(tb testing.TB) *manager {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return &manager{tb, conn, "NOTIFY_SOCKET=" + path}
}

// await is the first message that begins with one of some words, and the descriptors that came with it; signs of life before it are
// left out, whatever else comes is an error.
func (m *manager) await(words ...string) (message string, fds []int) {
	m.tb.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		b, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
		n, o, _, _, err := m.conn.ReadMsgUnix(b, rights)
		if err != nil {
			m.tb.Fatalf("%q did not come: %v", words, err)
		}
		messages, err := unix.ParseSocketControlMessage(rights[:o])
		if err != nil {
			m.tb.Fatal(err)
		}
		for i := range messages {
			if fds, err = unix.ParseUnixRights(&messages[i]); err != nil {
				m.tb.Fatal(err)
			}
		}
		message = string(b[:n])
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(message, w) }) {
			return message, fds
		}
		if message != "WATCHDOG=1\n" {
			m.tb.Fatalf("%q came before %q", message, words)
		}
	}
}

func TestE2EServiceTellsItsManagerHowItIs(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string // of the state
	}{
		{"serve", []string{"serve", "--xdp", "off", "--listen", "127.0.0.1:0"}, "STATUS=serves 127.0.0.1:"},
		{"broker", []string{"broker", "--nats", "127.0.0.1:0"}, "STATUS=serves edges at 127.0.0.1:"},
		{"gateway", []string{"gateway", "--xdp", "off", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9"}, "STATUS=serves 127.0.0.1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newManager(t)
			p := &process{tb: t, admin: freePort(t)}
			p.cmd = exec.Command(binary(t), append(tt.args, "--admin", p.admin)...)
			p.cmd.Env = append(os.Environ(), m.env, "WATCHDOG_USEC=200000")
			p.launch()
			if state, _ := m.await("READY=1"); !strings.Contains(state, tt.want) {
				t.Errorf("it says %q, want %s", state, tt.want)
			}
			p.get("/readyz") // at once
			m.await("WATCHDOG=1")
			if tt.name == "gateway" {
				if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				if state, _ := m.await("RELOADING=1"); !regexp.MustCompile(`\nMONOTONIC_USEC=[1-9]\d*\n`).MatchString(state) {
					t.Errorf("it says %q, without when", state)
				}
				m.await("READY=1")
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			m.await("STOPPING=1")
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, p.out.String())
			}
		})
	}
}

// TestE2EServiceShowsNoLifeWhileItIsStuck: a process that is stopped as a whole says nothing, so its manager would end it.
func TestE2EServiceShowsNoLifeWhileItIsStuck(t *testing.T) {
	m := newManager(t)
	p := &process{tb: t, admin: freePort(t)}
	p.cmd = exec.Command(binary(t), "serve", "--xdp", "off", "--listen", "127.0.0.1:0", "--admin", p.admin)
	p.cmd.Env = append(os.Environ(), m.env, "WATCHDOG_USEC=20000")
	p.launch()
	m.await("READY=1")
	m.await("WATCHDOG=1")
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("it does not stop: %v, %v", status, err)
	}
	_ = m.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // what came before
	for b := make([]byte, 64); ; {
		if _, err := m.conn.Read(b); err != nil {
			break
		}
	}
	_ = m.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // ten times the interval
	if n, err := m.conn.Read(make([]byte, 64)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v: a sign of life", n, err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.await("WATCHDOG=1")
}

// TestE2EServiceIsTakenOver: what systemctl reload does. The process in the background becomes the service before the one that it
// took over from ends, and no client is closed.
func TestE2EServiceIsTakenOver(t *testing.T) {
	m := newManager(t)
	runtime := t.TempDir()
	p := &process{tb: t, edge: freePort(t), admin: freePort(t)}
	args := []string{"serve", "--xdp", "off", "--listen", p.edge, "--admin", p.admin, "--data", t.TempDir()}
	env := append(os.Environ(), m.env, "RUNTIME_DIRECTORY="+runtime)
	p.cmd = exec.Command(binary(t), args...)
	p.cmd.Env = env
	p.start()
	m.await("READY=1")
	before := client(t, binary(t), "subscribe", "--url", "ws://"+p.edge, "news")
	p.until("subscribed", func() error {
		if p.subscriptions() == 0 {
			return errors.New("no subscription")
		}
		return nil
	})
	reload := exec.Command(binary(t), append(slices.Clone(args), "--takeover", "--background")...)
	reload.Env = env
	log, err := os.Create(filepath.Join(t.TempDir(), "log")) // a pipe would stay open with the process in the background
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // it is read below
	reload.Stdout, reload.Stderr = log, log
	done := make(chan error, 1)
	go func() { done <- reload.Run() }()

	state, _ := m.await("MAINPID=", "READY=1")
	if strings.HasPrefix(state, "READY") { // the new one's own
		state, _ = m.await("MAINPID=")
	}
	var pid int
	if _, err := fmt.Sscanf(state, "MAINPID=%d\nREADY=1\n", &pid); err != nil || pid == p.cmd.Process.Pid {
		t.Fatalf("the service says %q: %v", state, err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if of := parent(pid); of == reload.Process.Pid || of == p.cmd.Process.Pid {
		t.Errorf("its parent is %d: systemd would not wait for its end", of)
	}
	if at, err := os.Stat(filepath.Join(runtime, "takeover.sock")); err != nil || at.Mode()&os.ModeSocket == 0 {
		t.Errorf("the socket of a takeover is not in the runtime directory: %v", err)
	}
	_, fds := m.awaitBarrier()
	if err := syscall.Kill(p.cmd.Process.Pid, 0); err != nil {
		t.Errorf("the process that was taken over from did not wait for the manager: %v", err)
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, p.out.String())
	}
	if err := <-done; err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("reload: %v\n%s", err, text)
	}
	p.publish("news", `"after"`)
	p.until("delivered", func() error {
		if !strings.Contains(before.String(), "after") {
			return fmt.Errorf("got %q", before.String())
		}
		return nil
	})
	m.await("WATCHDOG=1", "READY=1") // of the new one
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state, _ := m.await("STOPPING=1", "READY=1"); strings.HasPrefix(state, "READY") {
		m.await("STOPPING=1")
	}
}

// awaitBarrier leaves out what the process that has taken over says for itself.
func (m *manager) awaitBarrier() (message string, fds []int) {
	m.tb.Helper()
	for range 2 {
		message, fds = m.await("BARRIER=1", "READY=1")
		if strings.HasPrefix(message, "BARRIER") {
			return message, fds
		}
	}
	m.tb.Fatalf("%q came, no barrier", message)
	return "", nil
}

func TestE2EServiceStaysWhenATakeoverFails(t *testing.T) {
	p := serve(t) // with events in memory
	args := append(slices.Clone(p.cmd.Args[1:]), "--takeover", "--background")
	if _, errs, code := weir(t, args...); code != 1 || !strings.Contains(errs, "events are kept in memory") || !strings.Contains(errs, "in the background does not serve") {
		t.Errorf("%d %s", code, errs)
	}
	p.get("/readyz")
	if _, errs, code := weir(t, append(slices.Clone(p.cmd.Args[1:]), "--background")...); code != 2 || !strings.Contains(errs, "--takeover alone") {
		t.Errorf("%d %s", code, errs)
	}
}

// TestE2EServiceTakesTheAdminsSocket: what a .socket unit listens at; before weir is there a client waits and is not refused.
func TestE2EServiceTakesTheAdminsSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // the process has a copy
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it too
	run := func(p *process, names string, args ...string) {
		p.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", binary(t)}, args...)...)
		p.cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES="+names)
		p.cmd.ExtraFiles = []*os.File{f}
		p.launch()
	}
	waiting := make(chan error, 1)
	go func() {
		res, err := http.Get("http://" + ln.Addr().String() + "/healthz")
		if err == nil {
			err = res.Body.Close()
		}
		waiting <- err
	}()
	p := &process{tb: t, admin: ln.Addr().String()}
	run(p, "admin", "broker", "--nats", "127.0.0.1:0")
	p.awaitReady()
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	p.kill()
	for _, tt := range []struct{ names, role, want string }{
		{"http", "broker", `passes on a socket "http"`},
		{"admin", "serve", "an edge takes none"},
	} {
		p := &process{tb: t}
		run(p, tt.names, tt.role, "--admin", freePort(t))
		if err := p.cmd.Wait(); err == nil || !strings.Contains(p.out.String(), tt.want) {
			t.Errorf("%s as %s: %v\n%s", tt.names, tt.role, err, p.out.String())
		}
	}
}
