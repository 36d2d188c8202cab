package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/internal/testcert"
	"weir/internal/testlog"

	"golang.org/x/sys/unix"
)

// workers are the processes that a weir has started.
func (p *process) workers() (pids []int) {
	p.tb.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		p.tb.Fatal(err)
	}
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && parent(pid) == p.cmd.Process.Pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parent is that of a process that runs; 0 if it does not.
func parent(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest) // state, ppid
	if len(fields) < 2 || fields[0] == "Z" {
		return 0
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}

// conns are how many connections to the edge a process holds.
func (p *process) conns(pid int) (n int) {
	p.tb.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		p.tb.Fatal(err)
	}
	_, port, err := net.SplitHostPort(p.edge)
	if err != nil {
		p.tb.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		p.tb.Fatal(err)
	}
	established := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) && f[3] == "01" {
			established["socket:["+f[9]+"]"] = true
		}
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && established[name] {
			n++
		}
	}
	return n
}

// gone waits until none of the processes is there.
func (p *process) gone(pids []int) {
	p.tb.Helper()
	p.until("no worker", func() error {
		for _, pid := range pids {
			if parent(pid) != 0 {
				return fmt.Errorf("process %d is there", pid)
			}
		}
		return nil
	})
}

// nodeInfo is a part of what /api/info has.
type nodeInfo struct {
	Conns, Subscriptions  int
	Deliveries, Published uint64
}

func (p *process) info() nodeInfo {
	p.tb.Helper()
	var reply struct{ Result nodeInfo }
	p.post("/api/info", "", &reply)
	return reply.Result
}

const workersTopic = "workers.a"

// publishNext publishes the events from, from+1 and so on, so many.
func (p *process) publishNext(from, n int) {
	p.tb.Helper()
	for i := range n {
		p.publish(workersTopic, fmt.Sprintf(`{"n":%d}`, from+i))
	}
}

func TestE2EWorkersServeAsOne(t *testing.T) {
	const clients, events = 200, 20
	p := serve(t, "--workers", "2")
	pids := p.workers()
	if len(pids) != 2 {
		t.Fatalf("workers are %v", pids)
	}
	rs := make([]*resumer, clients)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range rs {
		rs[i] = newResumer([]string{p.edge}, workersTopic)
		wg.Go(func() {
			if i < len(pids) { // so that each worker has one
				runtime.LockOSThread() // the thread ends with it
				onCPUsOf(t, pids[i])
			}
			rs[i].run(ctx)
		})
	}
	placed := func(r *resumer) string {
		if !r.placed() {
			return "not subscribed"
		}
		return ""
	}
	awaitAll(t, rs, "its place", placed)
	p.publishNext(1, events)
	has := func(n uint64) func(*resumer) string {
		return func(r *resumer) string { return r.lacks(map[string]uint64{workersTopic: n}) }
	}
	awaitAll(t, rs, "all events", has(events))

	held := map[int]int{}
	for _, pid := range pids {
		if held[pid] = p.conns(pid); held[pid] == 0 {
			t.Errorf("a worker holds none of %d connections", clients)
		}
	}
	p.wantSeries(map[string]string{
		"weir_edge_workers": "2", "weir_edge_worker_restarts_total": "0", "weir_broker_link_up": "1",
		"weir_edge_conns": "200", "weir_edge_subscriptions": "200", "weir_edge_accepted_total": "200",
		"weir_edge_deliveries_total": "4000", "weir_edge_delivery_seconds_count": "4000", "weir_bus_published_total": "20",
		"weir_edge_topics": "2",
	})
	p.until("the sums of /api/info", func() error {
		if i, want := p.info(), (nodeInfo{clients, clients, clients * events, events}); i != want {
			return fmt.Errorf("%+v, want %+v", i, want)
		}
		return nil
	})
	for range 4 { // whichever worker has it
		conn, _, err := p.raw("/ws/other")
		if err != nil {
			t.Fatal(err)
		}
		out, errs, code := weir(t, "why", "--admin", "http://"+p.admin, conn.LocalAddr().String())
		if code != 0 || !strings.Contains(out, "other") || !strings.Contains(out, "websocket") {
			t.Errorf("weir why: %q %q", out, errs)
		}
		_ = conn.Close()
	}

	victim := pids[0]
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.publishNext(events+1, events)
	p.until("the worker again", func() error {
		if now := p.workers(); len(now) != 2 || now[0] == victim || now[1] == victim {
			return fmt.Errorf("workers are %v", now)
		}
		return nil
	})
	p.awaitReady()
	p.publishNext(2*events+1, events)
	awaitAll(t, rs, "all events after a worker was killed", has(3*events))
	p.until("all clients", func() error {
		if n := p.info().Conns; n != clients {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	p.wantSeries(map[string]string{"weir_edge_workers": "2", "weir_edge_worker_restarts_total": "1"})
	resumes := 0
	for i, r := range rs {
		r.mu.Lock()
		resumes += r.resumes
		for _, w := range r.wrong {
			t.Errorf("client %d: %s", i, w)
		}
		r.mu.Unlock()
	}
	if resumes != held[victim] {
		t.Errorf("%d clients came again, the worker that was killed held %d", resumes, held[victim])
	}
	if !strings.Contains(p.out.String(), "signal: killed") {
		t.Errorf("the log does not say how it ended:\n%s", p.out.String())
	}
	now := p.workers()
	cancel()
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.out.String())
	}
	p.gone(now)
}

// TestE2EWorkersDrainAndEndWithTheirParent has connections told to come again by SIGTERM, and no process
// left by kill -9.
func TestE2EWorkersDrainAndEndWithTheirParent(t *testing.T) {
	t.Run("SIGTERM", func(t *testing.T) {
		p := serve(t, "--workers", "3")
		pids := p.workers()
		conns := make([]net.Conn, 30)
		for i := range conns {
			var err error
			if conns[i], _, err = p.raw("/ws/a"); err != nil {
				t.Fatal(err)
			}
		}
		if code := p.stop(); code != 0 {
			t.Errorf("exit code %d:\n%s", code, p.out.String())
		}
		p.gone(pids)
		for i, c := range conns {
			b := make([]byte, 256)
			if n, err := c.Read(b); err != nil || n < 4 || b[0] != 0x88 || b[2] != 1012>>8 || b[3] != 1012&0xff {
				t.Errorf("connection %d ends by % x, %v", i, b[:n], err)
			}
		}
	})
	t.Run("SIGTERM twice, with a worker that hangs", func(t *testing.T) {
		p := serve(t, "--workers", "2")
		pids := p.workers()
		if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		res, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if n := p.series("weir_edge_worker_unanswered_total"); res.StatusCode != http.StatusServiceUnavailable || n == "0" {
			t.Errorf("/readyz says %s, %s answers are missing", res.Status, n)
		}
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		p.until("the drain of the other", func() error {
			if !strings.Contains(p.out.String(), "draining") {
				return errors.New("not yet")
			}
			return nil
		})
		if code := p.stop(); code != 1 {
			t.Errorf("exit code %d:\n%s", code, p.out.String())
		}
		p.gone(pids)
	})
	t.Run("kill", func(t *testing.T) {
		p := serve(t, "--workers", "3")
		pids := p.workers()
		if len(pids) != 3 {
			t.Errorf("workers are %v", pids)
		}
		p.kill()
		p.gone(pids)
	})
}

// TestE2EWorkersHoldMoreThanTheDescriptorsOfOne runs under a limit that one process has 128 connections by.
func TestE2EWorkersHoldMoreThanTheDescriptorsOfOne(t *testing.T) {
	const want = 400
	p := &process{tb: t, edge: freePort(t), admin: freePort(t)}
	p.cmd = exec.Command("sh", "-c", `ulimit -n 256; exec "$@"`, "sh", binary(t),
		"serve", "--workers", "8", "--listen", p.edge, "--admin", p.admin, "--xdp", "off")
	p.start()
	if !strings.Contains(p.out.String(), "max_conns=1024") {
		t.Errorf("the log does not say how many it can hold:\n%s", p.out.String())
	}
	deadline := time.Now().Add(patience)
	for held := 0; held < want; {
		conn, head, err := p.raw("/ws/a")
		switch {
		case err == nil && strings.Contains(head, " 101 "):
			held++
			continue
		case err == nil:
			_ = conn.Close() // a worker that is full
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are held, then %q, %v", held, head, err)
		}
	}
	p.until("those alone", func() error { // what a full worker has refused may not be gone yet
		if n := p.info().Conns; n != want {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	p.publish("a", "1")
	p.until("all have it", func() error {
		if n := p.info().Deliveries; n != want {
			return fmt.Errorf("%d deliveries", n)
		}
		return nil
	})
}

// TestE2EWorkersOfAnEdge has those of an edge connect to its broker themselves.
func TestE2EWorkersOfAnEdge(t *testing.T) {
	p := newPair(t, 0)
	listen, admin := address(t, 8), address(t, 9)
	e := p.run(&process{edge: listen, admin: admin},
		"edge", "--bus", "nats://"+p.bus, "--listen", listen, "--admin", admin, "--xdp", "off", "--workers", "2")
	e.awaitReady()
	at := p.broker.publish("news", `"one"`)
	for range 4 {
		out, errs, code := weir(t, "subscribe", "--url", "ws://"+e.edge, "--since", at.Epoch+":0", "--count", "1", "--json", "news")
		if code != 0 || !strings.Contains(out, `"data":"one"`) {
			t.Errorf("subscribed with %d: %s %s", code, out, errs)
		}
	}
	p.broker.kill()
	e.until("not ready", func() error {
		if up := e.series("weir_broker_link_up"); up != "0" {
			return fmt.Errorf("the link is %s", up)
		}
		return nil
	})
	p.startBroker()
	e.awaitReady()
	e.wantSeries(map[string]string{"weir_broker_link_up": "1", "weir_broker_link_reconnects_total": "2"})
	pids := e.workers()
	if code := e.stop(); code != 0 || strings.Contains(e.out.String(), busSecret) {
		t.Errorf("exit code %d:\n%s", code, e.out.String())
	}
	e.gone(pids)
}

// onCPUsOf has the thread run where a process does.
func onCPUsOf(tb testing.TB, pid int) (own unix.CPUSet) {
	tb.Helper()
	if err := unix.SchedGetaffinity(pid, &own); err != nil {
		tb.Error(err)
	}
	if err := unix.SchedSetaffinity(0, &own); err != nil {
		tb.Error(err)
	}
	return own
}

// TestE2EWorkersTakeTheConnectionsOfTheirCPUs connects from each CPU, on which loopback hands the SYN
// over too.
func TestE2EWorkersTakeTheConnectionsOfTheirCPUs(t *testing.T) {
	bpftest.Require(t, "4.19", "sk_reuseport")
	const conns = 20
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	if before.Count() < 2 {
		t.Log("with one CPU there is nothing to tell apart")
	}
	p := serve(t, "--workers", strconv.Itoa(min(before.Count(), 8)))
	defer unix.SchedSetaffinity(0, &before) //nolint:errcheck // the thread may use them again
	covered := 0
	held := func(pid int) {
		t.Helper()
		own := onCPUsOf(t, pid)
		covered += own.Count()
		for range conns {
			if _, _, err := p.raw("/ws/a"); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.conns(pid); n != conns {
			t.Errorf("the worker of CPUs %v holds %d of their %d connections", own, n, conns)
		}
	}
	pids := p.workers()
	for _, pid := range pids {
		held(pid)
	}
	if covered != before.Count() {
		t.Errorf("the workers run on %d CPUs of %d", covered, before.Count())
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.until("another worker", func() error {
		if n := p.series("weir_edge_worker_restarts_total") + " " + p.series("weir_edge_workers"); n != fmt.Sprintf("1 %d", len(pids)) {
			return fmt.Errorf("restarts and workers: %s", n)
		}
		return nil
	})
	for _, pid := range p.workers() {
		if !slices.Contains(pids, pid) {
			held(pid)
		}
	}
}

func TestE2EWorkersSayWhatTheyCannot(t *testing.T) {
	for args, want := range map[string]string{
		"serve --workers 2 --takeover": "--takeover does not go with workers",
		"serve --workers 65":           "workers is 65: want 0 to 64",
		"edge-worker":                  "weir serve --workers",
		"serve --workers 2 --xdp off --admin 127.0.0.1:0 --listen 192.0.2.1:80": "set edge.listen to an address of this host",
	} {
		if _, errs, code := weir(t, strings.Fields(args)...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %q", args, code, errs)
		}
	}
}

func TestE2EWorkersServeTLS(t *testing.T) {
	cert := testcert.New(t)
	at := freePort(t)
	t.Setenv("WEIR_EDGE_TLS_LISTEN", at)
	t.Setenv("WEIR_EDGE_TLS_CERTIFICATES", cert.Pair())
	p := serve(t, "--workers", "2")
	var outs []*testlog.Buffer
	for range 8 {
		outs = append(outs, client(t, binary(t), "subscribe", "--url", "wss://"+at, "--insecure", "news"))
	}
	p.until("subscribed", func() error {
		if n := p.subscriptions(); n != len(outs) {
			return fmt.Errorf("%d subscriptions", n)
		}
		return nil
	})
	p.publish("news", `"hello"`)
	for _, out := range outs {
		p.until("delivered", func() error {
			if !strings.Contains(out.String(), "hello") {
				return fmt.Errorf("got %q", out.String())
			}
			return nil
		})
	}
	if got := p.get("/metrics"); !strings.Contains(got, `weir_edge_tls_handshakes_total{result="ok"} 8`) {
		t.Errorf("handshakes: %s", lineWith(got, `weir_edge_tls_handshakes_total{result="ok"}`))
	}
}
