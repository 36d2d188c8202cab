package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"weir/bench/floor"
	"weir/bench/load"
	"weir/bench/minimal"
)

// piped runs f between two pipes, and waits for its end when the test is over.
func piped(t *testing.T, f func(in *os.File, out io.Writer) error) (in *os.File, out *bufio.Reader) {
	t.Helper()
	inR, inW, err1 := os.Pipe()
	outR, outW, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		err := f(inR, outW)
		_ = outW.Close() // a reader then sees the end
		done <- err
	}()
	t.Cleanup(func() {
		_ = inW.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("it does not end with its input")
		}
		_, _ = inR.Close(), outR.Close()
	})
	return inW, bufio.NewReader(outR)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

func compiledFloor(t *testing.T) string {
	t.Helper()
	program, _, err := floor.Compile(t.Context(), t.TempDir())
	if errors.Is(err, floor.ErrNoCompiler) && os.Getenv("REQUIRE_BPF") != "1" {
		t.Skip("no C compiler: run make deps")
	}
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// TestServersDeliverEachEventOnceToThoseWhoAreThere drives each by the load generator.
func TestServersDeliverEachEventOnceToThoseWhoAreThere(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, port int) func(in *os.File, out io.Writer) error
	}{
		{ServerMinimal, serverRun(ServerMinimal)},
		{ServerFloor, serverRun(ServerFloor)},
		{"floor in C", func(t *testing.T, port int) func(in *os.File, out io.Writer) error {
			t.Helper()
			program := compiledFloor(t)
			return func(in *os.File, out io.Writer) error {
				cmd := exec.Command(program, fmt.Sprint(port), floor.Response()) //nolint:gosec // we compiled it
				cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
				return cmd.Run()
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port, err := FreePort()
			if err != nil {
				t.Fatal(err)
			}
			in, out := piped(t, tt.run(t, port))
			if got := line(t, out); got != "ready" {
				t.Fatalf("it says %q", got)
			}
			deliverEach(t, port, in)
			if tt.name != ServerMinimal {
				return
			}
			if _, err := fmt.Fprintln(in, minimal.CommandCollect); err != nil {
				t.Fatal(err)
			}
			var heap uint64
			if _, err := fmt.Sscan(line(t, out), &heap); err != nil || heap < 1<<16 {
				t.Errorf("a heap of %d bytes, %v", heap, err)
			}
		})
	}
}

func serverRun(name string) func(t *testing.T, port int) func(in *os.File, out io.Writer) error {
	return func(_ *testing.T, port int) func(in *os.File, out io.Writer) error {
		return func(in *os.File, out io.Writer) error {
			return RunServer(name, fmt.Sprintf("127.0.0.1:%d", port), in, out)
		}
	}
}

// deliverEach has conns come and go, and publishes in between.
func deliverEach(t *testing.T, port int, messages io.WriteCloser) {
	t.Helper()
	worker, reports := piped(t, func(in *os.File, out io.Writer) error { return load.Run(in, out) })
	next := func() (r load.Report) {
		t.Helper()
		if err := json.Unmarshal([]byte(line(t, reports)), &r); err != nil || r.Error != "" {
			t.Fatalf("%v %s", err, r.Error)
		}
		return r
	}
	ask := func(command string) load.Report {
		t.Helper()
		if _, err := fmt.Fprintln(worker, command); err != nil {
			t.Fatal(err)
		}
		return next()
	}
	cfg := load.Config{Edge: netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", port)), Target: "/ws/x", Conns: 40, Sources: sources(40)}
	if err := json.NewEncoder(worker).Encode(cfg); err != nil {
		t.Fatal(err)
	}
	if r := next(); r.Connected != 40 || r.OpenedTo <= r.OpenedFrom {
		t.Fatalf("%+v", r)
	}
	pub := newLinePublisher(messages, 300) // a length of two bytes
	for _, step := range []struct {
		command string
		open    int
	}{{"report", 40}, {"close 30", 10}, {"open 25", 35}, {"close 100", 0}, {"open 20", 20}} {
		if r := ask(step.command); r.Connected != step.open {
			t.Fatalf("%s: %d open, want %d", step.command, r.Connected, step.open)
		}
		ask(load.CommandReset)
		const events = 50
		if n, _, err := pub.Run(t.Context(), 1000, 50*time.Millisecond); n != events || err != nil {
			t.Fatalf("%d published, %v", n, err)
		}
		want := uint64(step.open * events) //nolint:gosec // a handful
		var r load.Report
		for deadline := time.Now().Add(10 * time.Second); r.Deliveries < want && time.Now().Before(deadline); {
			r = ask(load.CommandReport)
		}
		if r.Deliveries != want || r.Faults.Any() || r.Behind != 0 {
			t.Fatalf("%s: %d deliveries, want %d, %+v, %d behind", step.command, r.Deliveries, want, r.Faults, r.Behind)
		}
	}
}

func TestNoServerOfThatName(t *testing.T) {
	if err := RunServer("other", "127.0.0.1:1", strings.NewReader(""), io.Discard); err == nil || !strings.Contains(err.Error(), "want floor or minimal") {
		t.Error(err)
	}
	if err := RunServer(ServerFloor, "127.0.0.1:1", strings.NewReader(""), io.Discard); err == nil || !strings.Contains(err.Error(), "must be a file") {
		t.Error(err)
	}
}
