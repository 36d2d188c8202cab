package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"weir/bpf/bpftest"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
)

// asNobody has a command run without any right, from a copy of its program that anybody may run.
func asNobody(tb testing.TB, cmd *exec.Cmd) *exec.Cmd {
	tb.Helper()
	if os.Geteuid() != 0 {
		return cmd
	}
	dir, err := os.MkdirTemp("/tmp", "weir-nobody-") //nolint:usetesting // nobody may not enter that of a test
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, err := os.ReadFile(cmd.Path)
	copied := filepath.Join(dir, "weir")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(copied, program, 0o755)); err != nil { //nolint:gosec // for others to run
		tb.Fatal(err)
	}
	cmd.Path, cmd.Dir = copied, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}

// configOf is a file with a configuration.
func configOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// has waits for a line of the metrics.
func (p *process) has(line string) {
	p.tb.Helper()
	value := strings.LastIndexByte(line, ' ') + 1
	p.wantSeries(map[string]string{line[:value-1]: line[value:]})
}

// native are the counts of a native histogram of a metrics page, and whether it is one.
func native(t *testing.T, url, name string, labels ...string) (count uint64, spans int, found bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for r := strings.NewReader(string(body)); r.Len() > 0; {
		var f dto.MetricFamily
		if err := protodelim.UnmarshalFrom(r, &f); err != nil {
			t.Fatal(err)
		}
		for _, m := range f.GetMetric() {
			has := 0
			for _, l := range m.GetLabel() {
				for _, want := range labels {
					if l.GetValue() == want {
						has++
					}
				}
			}
			if f.GetName() == name && has == len(labels) && m.GetHistogram().Schema != nil {
				return m.GetHistogram().GetSampleCount(), len(m.GetHistogram().GetPositiveSpan()), true
			}
		}
	}
	return 0, 0, false
}

func TestE2EAWeirTracesItself(t *testing.T) {
	bpftest.Require(t, "5.15", "the hooks of accept and gc")
	p := serve(t, "--config", configOf(t, "trace:\n  tracers: [accept, gc]\n"))
	p.has(`weir_trace_state{state="attached",tracer="accept"} 1`)
	p.has(`weir_trace_state{state="attached",tracer="gc"} 1`)
	conn, _, err := p.raw("/ws/topic")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	p.get("/debug/pprof/heap?gc=1")
	p.until("collections are counted", func() error {
		url := "http://" + p.admin + "/metrics"
		if n, spans, ok := native(t, url, "weir_trace_duration_seconds", "gc", "stopped"); !ok || n < 2 || spans == 0 {
			return fmt.Errorf("%d stops in %d spans, %v", n, spans, ok)
		}
		if n, _, ok := native(t, url, "weir_trace_duration_seconds", "accept", "queued"); !ok || n == 0 {
			return errors.New("no connection is counted")
		}
		return nil
	})
	if code := p.stop(); code != 0 {
		t.Errorf("it ends with %d: %s", code, p.out.String())
	}
}

func TestE2EAWeirThatMayNotTraceServesAllTheSame(t *testing.T) {
	p := &process{tb: t, edge: freePort(t), admin: freePort(t)}
	p.cmd = asNobody(t, exec.Command(binary(t), "serve", "--listen", p.edge, "--admin", p.admin, "--xdp", "off"))
	p.cmd.Env = append(os.Environ(), "WEIR_TRACE_TRACERS=runq,rtt", "WEIR_EDGE_TAKEOVER=off")
	p.start()
	p.has(`weir_trace_state{state="not_permitted",tracer="runq"} 1`)
	p.has(`weir_trace_state{state="not_permitted",tracer="rtt"} 1`)
	p.has(`weir_trace_duration_seconds_count{tracer="runq",what="runnable"} 0`)
	if out := p.out.String(); strings.Count(out, "a tracer is not attached") != 2 || !strings.Contains(out, "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN") {
		t.Errorf("it says %s", out)
	}
}

func TestE2ETraceServesPrometheus(t *testing.T) {
	bpftest.Require(t, "5.18", "the hooks of accept and runq")
	p := serve(t)
	at := freePort(t)
	cmd := exec.Command(binary(t), "trace", "accept", "runq", "--pid", strconv.Itoa(p.cmd.Process.Pid), "--listen", at)
	trace := &process{tb: t, cmd: cmd, admin: at}
	trace.launch()
	trace.until("it serves", func() error {
		conn, _, err := p.raw("/ws/topic")
		if err != nil {
			return err
		}
		_ = conn.Close()
		if !strings.Contains(trace.out.String(), "serves http://"+at+"/metrics") {
			return errors.New(trace.out.String())
		}
		for _, labels := range [][]string{{"accept", "queued"}, {"runq", "runnable"}} {
			if n, _, ok := native(t, "http://"+at+"/metrics", "weir_trace_duration_seconds", labels...); !ok || n == 0 {
				return fmt.Errorf("nothing of %v", labels)
			}
		}
		return nil
	})
	if _, errs, code := weir(t, "trace", "accept", "--pid", "1", "--listen", at); code != 1 || !strings.Contains(errs, "name a free address") {
		t.Errorf("a second one there: exit code %d, %s", code, errs)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v: %s", err, trace.out.String())
	}
	none := asNobody(t, exec.Command(binary(t), "trace", "rtt", "--listen", "127.0.0.1:0"))
	if out, err := none.CombinedOutput(); err == nil || !strings.Contains(string(out), "no tracer is attached") {
		t.Errorf("without any right: %v, %s", err, out)
	}
}

func TestE2EWhyAsksTheKernel(t *testing.T) {
	bpftest.Require(t, "5.15", "iter/tcp")
	p := serve(t)
	conn, _, err := p.raw("/ws/topic")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	client := conn.LocalAddr().String()
	ask := func(cmd *exec.Cmd) string {
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", cmd.Args, err, out)
		}
		return string(out)
	}
	args := []string{"why", client, "--admin", "http://" + p.admin}
	if out := ask(exec.Command(binary(t), args...)); strings.Count(out, "0 segments sent again") != 1 || strings.Contains(out, "does not hold") || strings.Contains(out, "was not asked") {
		t.Errorf("it says\n%s", out)
	}
	var answer struct {
		Conns  []struct{ Local, Remote string }
		Kernel struct {
			Sockets []struct {
				Local, Remote, State string
				Held                 bool
			}
		}
	}
	if err := json.Unmarshal([]byte(ask(exec.Command(binary(t), append(args, "--json")...))), &answer); err != nil {
		t.Fatal(err)
	}
	if k := answer.Kernel.Sockets; len(k) != 1 || len(answer.Conns) != 1 || !k[0].Held || k[0].State != "established" || k[0].Remote != client || k[0].Local != p.edge || answer.Conns[0].Local != p.edge {
		t.Errorf("%+v", answer)
	}
	if out := ask(asNobody(t, exec.Command(binary(t), args...))); !strings.Contains(out, "the kernel was not asked: trace rtt: not permitted: run as root") {
		t.Errorf("without any right it says\n%s", out)
	}
	if out := ask(exec.Command(binary(t), append(args, "--no-kernel")...)); strings.Contains(out, "kernel was") || strings.Contains(out, "sent again") {
		t.Errorf("told not to it says\n%s", out)
	}
}
