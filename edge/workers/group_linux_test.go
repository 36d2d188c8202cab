package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/edge"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

const fakeWorker = "WEIR_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(fakeWorker) != "" {
		code := 0
		if err := fake(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 3
		}
		os.Exit(code) //nolint:forbidigo // it is the main of another process
	}
	m.Run()
}

// fake is a worker that holds a conn, has counted five, and does otherwise what its configuration says.
func fake() error {
	w, task, err := Join()
	if err != nil {
		return err
	}
	how := strings.Fields(string(task.Config))
	has := func(s string) bool {
		for _, each := range how {
			if each == s || each == s+strconv.Itoa(task.Worker) {
				return true
			}
		}
		return false
	}
	if has("fails") {
		return errors.New("it fails")
	}
	cfg := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(e, err)
	}}
	ln, err := cfg.Listen(context.Background(), "tcp", task.Address)
	if err != nil {
		return err
	}
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	if err := w.Serves(Serves{MaxConns: 10}, []int{int(file.Fd())}); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGTERM)
	ctx, stop := context.WithCancel(context.Background())
	if has("stays") {
		stop = func() {}
	}
	return w.Run(ctx, stop, func(ctx context.Context, q Question) (a Answer) {
		if has("mute") {
			<-ctx.Done()
		}
		switch q.About {
		case AboutReadiness:
			if has("unready") {
				a.Err = "it is not ready"
			}
		case AboutStats:
			a.Stats = &edge.Stats{Conns: 1, Deliveries: 5}
		case AboutMetrics:
			a.Families = []Family{gauge("weir_edge_conns", 1), counter("weir_edge_closed_total", "draining", 5)}
		case AboutConns:
			a.Conns = []edge.ConnReport{{State: strconv.Itoa(os.Getpid())}}
		}
		return a
	})
}

// running is a group that serves.
type running struct {
	*Group
	t     *testing.T
	ended chan error
	stop  context.CancelFunc
}

// run starts a group of two whose workers do what how says.
func run(t *testing.T, opts Options, how string) *running {
	t.Helper()
	opts.Workers, opts.Listen = 2, "127.0.0.1:0"
	opts.Command = func() *exec.Cmd {
		cmd := exec.Command(Program)
		cmd.Env = append(os.Environ(), fakeWorker+"=1")
		cmd.Stderr = os.Stderr
		return cmd
	}
	opts.Config = func() ([]byte, error) { return []byte(how), nil }
	if opts.StopTimeout == 0 {
		opts.StopTimeout = time.Minute
	}
	g, err := New(opts, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Group: g, t: t, ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ended <- g.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return r
}

func (r *running) await() {
	r.t.Helper()
	select {
	case <-r.Ready():
	case err := <-r.ended:
		r.t.Fatalf("it ended: %v", err)
	case <-time.After(20 * time.Second):
		r.t.Fatal("it does not serve")
	}
}

func (r *running) pids() (pids []int) {
	r.t.Helper()
	conns, err := r.Why(r.t.Context(), "")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range conns {
		pid, err := strconv.Atoi(c.State)
		if err != nil {
			r.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// metrics are the values of the series without labels, and those of one label by its value.
func (r *running) metrics() map[string]float64 {
	r.t.Helper()
	own := prometheus.NewRegistry()
	own.MustRegister(r.Group)
	families, err := r.Gatherer(own).Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

func (r *running) want(want map[string]float64) {
	r.t.Helper()
	got := r.metrics()
	for name, v := range want {
		if got[name] != v {
			r.t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
}

// wantPIDs holds the group's processes to what they say of themselves.
func (r *running) wantPIDs(want []int) {
	r.t.Helper()
	if got := slices.Sorted(slices.Values(r.PIDs())); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		r.t.Errorf("the group's processes are %v, want %v", got, want)
	}
}

func TestGroupSumsUpAndStartsAgainWhoDied(t *testing.T) {
	placed := make(chan int, 10)
	r := run(t, Options{Listeners: func(worker int, places []Place, width int) {
		if accepts, err := unix.GetsockoptInt(places[0].Listener, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || accepts != 1 || width < 1 {
			t.Errorf("worker %d gave no listener: %v", worker, err)
		}
		placed <- worker
	}}, "")
	r.await()
	r.want(map[string]float64{"weir_edge_workers": 2, "weir_edge_conns": 2, "weir_edge_closed_total": 10, "weir_edge_worker_restarts_total": 0})
	if st := r.Stats(); st.Conns != 2 || st.Deliveries != 10 {
		t.Errorf("%+v", st)
	}
	if err := r.Unready(t.Context()); err != nil {
		t.Error(err)
	}
	before := r.pids()
	r.wantPIDs(before)
	if err := syscall.Kill(before[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for n := 0; r.metrics()["weir_edge_worker_restarts_total"] != 1 || r.Unready(t.Context()) != nil; n++ {
		if st := r.Stats(); st.Deliveries < 10 {
			t.Fatalf("%d deliveries are counted once a worker is gone", st.Deliveries)
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not started again")
		}
		<-time.After(time.Millisecond)
	}
	r.want(map[string]float64{"weir_edge_workers": 2, "weir_edge_conns": 2, "weir_edge_closed_total": 15})
	if st := r.Stats(); st.Conns != 2 || st.Deliveries != 15 {
		t.Errorf("%+v", st)
	}
	after := r.pids()
	r.wantPIDs(after)
	if len(after) != 2 || after[0] == before[0] || after[1] == before[0] {
		t.Errorf("workers were %v, are %v", before, after)
	}
	if len(placed) != 3 {
		t.Errorf("listeners were placed %d times", len(placed))
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	r.ended <- nil
	gone(t, after)
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is there: %v", pid, err)
		}
	}
}

func TestGroupLeavesOutWhoDoesNotAnswer(t *testing.T) {
	r := run(t, Options{}, "mute1")
	r.await()
	r.want(map[string]float64{"weir_edge_workers": 2, "weir_edge_conns": 1, "weir_edge_closed_total": 5, "weir_edge_worker_unanswered_total": 1})
	if st := r.Stats(); st.Conns != 1 {
		t.Errorf("%+v", st)
	}
	if err := r.Unready(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ready: %v", err)
	}
}

func TestGroupIsReadyIfAllWorkersAre(t *testing.T) {
	r := run(t, Options{}, "unready1")
	r.await()
	if err := r.Unready(t.Context()); err == nil || !strings.Contains(err.Error(), "worker 1: it is not ready") {
		t.Errorf("ready: %v", err)
	}
}

func TestGroupEndsWithAWorkerThatNeverServed(t *testing.T) {
	r := run(t, Options{}, "fails1")
	select {
	case err := <-r.ended:
		if err == nil || !strings.Contains(err.Error(), "worker 1 ended before it served") || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("it ended by %v", err)
		}
		r.ended <- nil
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
}

func TestGroupKillsWhoDoesNotEnd(t *testing.T) {
	r := run(t, Options{StopTimeout: 50 * time.Millisecond}, "stays0")
	r.await()
	pids := r.pids()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			t.Error(err)
		}
		r.ended <- nil
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	gone(t, pids)
}

func TestGroupRefusesAPortThatIsServed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // a test's
	g, err := New(Options{Workers: 1, Listen: ln.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("it runs: %v", err)
	}
}
