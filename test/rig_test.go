package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/bench"
	"weir/internal/testlog"
)

// patience bounds every wait.
const patience = 20 * time.Second

func binary(tb testing.TB) string {
	tb.Helper()
	bin := os.Getenv("WEIR_BIN")
	if bin == "" {
		tb.Fatal("WEIR_BIN is not set: run make test-e2e")
	}
	return bin
}

// weir runs a command to its end.
func weir(tb testing.TB, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(tb), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		tb.Fatalf("weir %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// process is a weir that runs.
type process struct {
	tb          testing.TB
	cmd         *exec.Cmd
	out         testlog.Buffer
	edge, admin string // host:port
}

func freePort(tb testing.TB) string {
	tb.Helper()
	p, err := bench.FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", p)
}

// serve starts `weir serve` on free ports, without XDP unless args say so, and waits until it
// is ready.
func serve(tb testing.TB, args ...string) *process {
	tb.Helper()
	p := &process{tb: tb, edge: freePort(tb), admin: freePort(tb)}
	all := append([]string{"serve", "--listen", p.edge, "--admin", p.admin, "--xdp", "off"}, args...)
	p.cmd = exec.Command(binary(tb), all...)
	p.start()
	return p
}

func (p *process) start() {
	p.tb.Helper()
	p.launch()
	p.awaitReady()
}

func (p *process) launch() {
	p.tb.Helper()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		p.tb.Fatal(err)
	}
	p.tb.Cleanup(p.kill)
}

func (p *process) awaitReady() {
	p.tb.Helper()
	p.until("ready", func() error {
		res, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close() //nolint:errcheck // nothing is read
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	})
}

// until polls until f succeeds.
func (p *process) until(what string, f func() error) {
	p.tb.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("%s: %v\n%s", what, err, p.out.String())
		}
		<-time.After(10 * time.Millisecond)
	}
}

// series is the value of one that has this name, labels included.
func (p *process) series(name string) string {
	p.tb.Helper()
	return seriesIn(p.get("/metrics"), name)
}

func seriesIn(metrics, name string) string {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(metrics)
	if m == nil {
		return "not there"
	}
	return m[1]
}

// wantSeries waits until all are as wanted: what loops hold, and what left them, is counted a tick later.
func (p *process) wantSeries(want map[string]string) {
	p.tb.Helper()
	p.until("metrics", func() error {
		metrics := p.get("/metrics")
		for name, v := range want {
			if got := seriesIn(metrics, name); got != v {
				return fmt.Errorf("%s is %s, want %s", name, got, v)
			}
		}
		return nil
	})
}

// kill ends the process as kill -9 does. Idempotent.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// stop asks the process to end and returns its exit code.
func (p *process) stop() int {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = p.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(patience):
		p.tb.Fatalf("does not end at SIGTERM:\n%s", p.out.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

type position struct {
	Offset uint64
	Epoch  string
}

func (p *process) publish(topic, data string) position {
	p.tb.Helper()
	body := fmt.Sprintf(`{"channel":%q,"data":%s}`, topic, data)
	var reply struct {
		Result position
		Error  *struct{ Message string }
	}
	p.post("/api/publish", body, &reply)
	if reply.Error != nil || reply.Result.Offset == 0 {
		p.tb.Fatalf("publish: %+v", reply)
	}
	return reply.Result
}

func (p *process) post(path, body string, into any) {
	p.tb.Helper()
	res, err := http.Post("http://"+p.admin+path, "application/json", strings.NewReader(body))
	if err != nil {
		p.tb.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *process) get(path string) string {
	p.tb.Helper()
	res, err := http.Get("http://" + p.admin + path)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.tb.Fatalf("%s: %s %v", path, res.Status, err)
	}
	return string(b)
}

// subscriptions is how many the edge holds.
func (p *process) subscriptions() int {
	p.tb.Helper()
	var info struct{ Result struct{ Subscriptions int } }
	p.post("/api/info", "", &info)
	return info.Result.Subscriptions
}

// client starts a program of ours or others that prints what it receives.
func client(tb testing.TB, name string, args ...string) *testlog.Buffer {
	tb.Helper()
	out := &testlog.Buffer{}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	return out
}

// raw opens a WebSocket to the edge without any library.
func (p *process) raw(target string) (net.Conn, string, error) {
	p.tb.Helper()
	conn, err := net.Dial("tcp", p.edge)
	if err != nil {
		return nil, "", err
	}
	p.tb.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", target)
	if err != nil {
		return nil, "", err
	}
	head := make([]byte, 0, 512)
	one := make([]byte, 1)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := conn.Read(one); err != nil {
			return nil, string(head), err
		}
		head = append(head, one[0])
	}
	return conn, string(head), nil
}
