package test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"weir/bpf/bpftest"
	"weir/bpf/xdp"

	"golang.org/x/sys/unix"
)

// Capabilities as /proc has them.
const (
	netBindService = 1 << unix.CAP_NET_BIND_SERVICE
	netAdmin       = 1 << unix.CAP_NET_ADMIN
	perfmon        = 1 << unix.CAP_PERFMON
	bpf            = 1 << unix.CAP_BPF
)

// TestE2EServiceGivesUpWhatOnlyItsStartNeeded holds each thread of a process to what it may still do.
func TestE2EServiceGivesUpWhatOnlyItsStartNeeded(t *testing.T) {
	bpftest.Require(t, "5.15", "capabilities to give up")
	serve := []string{"serve", "--listen", "127.0.0.1:0"}
	for _, tt := range []struct {
		name string
		args []string
		env  string
		gone uint64
	}{
		{"a gateway without quotas", []string{"gateway", "--xdp", "off", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9"}, "", netBindService | perfmon | bpf},
		{"an edge that nobody takes over from", append(serve, "--xdp", "off"), "WEIR_EDGE_TAKEOVER=off", netBindService | perfmon | bpf},
		{"an edge that may have to take its ports back", append(serve, "--xdp", "off"), "", perfmon | bpf},
		{"an edge with quotas", append(serve, "--xdp", "on", "--interface", "lo"), "", perfmon},
		{"an edge that traces itself", append(serve, "--xdp", "on", "--interface", "lo"), "WEIR_TRACE_TRACERS=runq", 0},
		{"an edge with workers", append(serve, "--xdp", "on", "--interface", "lo", "--workers", "1"), "", perfmon},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &process{tb: t, admin: freePort(t)}
			p.cmd = exec.Command(binary(t), append(slices.Clone(tt.args), "--admin", p.admin)...)
			p.cmd.Env = append(os.Environ(), tt.env)
			p.start()
			p.lacks(tt.gone, netBindService|perfmon|bpf)
			if tt.gone == 0 {
				p.until("it says why", func() error {
					if !strings.Contains(p.out.String(), "capabilities that tracers are loaded with are kept") {
						return errors.New(p.out.String())
					}
					return nil
				})
				p.lacks(0, netBindService|perfmon|bpf)
			}
			if !slices.Contains(tt.args, "--workers") {
				return
			}
			for _, worker := range children(t, p.cmd.Process.Pid) {
				p.until("a worker's capabilities", func() error { return lacks(t, worker, netBindService|perfmon|bpf, netBindService|perfmon|bpf) })
			}
		})
	}
}

// The units have no right to have programs timed, nor to read tracefs.
func TestE2EServiceTracesItselfByItsUnitsRights(t *testing.T) {
	bpftest.Require(t, "6.3", "the hooks of read and runq")
	dir, err := os.MkdirTemp("/tmp", "weir-unit-") //nolint:usetesting // nobody may not enter that of a test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // for a user that has no other
		t.Fatal(err)
	}
	p := &process{tb: t, edge: freePort(t), admin: freePort(t)}
	p.cmd = asUnit(t, exec.Command(binary(t), "serve", "--listen", p.edge, "--admin", p.admin, "--xdp", "off"), dir)
	p.cmd.Env = append(p.cmd.Env, "WEIR_TRACE_TRACERS=runq,read,xdp,accept", "WEIR_EDGE_TAKEOVER=off")
	p.start()
	p.has(`weir_trace_state{state="attached",tracer="runq"} 1`)
	p.has(`weir_trace_state{state="attached",tracer="read"} 1`)
	p.has(`weir_trace_state{state="not_permitted",tracer="xdp"} 1`)
	p.has(`weir_trace_state{state="not_permitted",tracer="accept"} 1`)
	for _, says := range []string{"the kernel times programs for CAP_SYS_ADMIN alone", "mount -o remount,mode=750,gid=GROUP /sys/kernel/tracing"} {
		if !strings.Contains(p.out.String(), says) {
			t.Errorf("it does not say %q: %s", says, p.out.String())
		}
	}
	p.until("waits are counted, and what that takes", func() error {
		url := "http://" + p.admin + "/metrics"
		if n, _, ok := native(t, url, "weir_trace_duration_seconds", "runq", "runnable"); !ok || n == 0 {
			return fmt.Errorf("%d waits are counted, %v", n, ok)
		}
		return nil
	})
	if strings.Contains(p.get("/metrics"), `weir_trace_seconds_total{tracer="runq"} 0`+"\n") {
		t.Error("nothing is assumed to be taken")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("it ends with %d: %s", code, p.out.String())
	}
}

// lacks waits until all threads of the process have those of some capabilities alone that are not gone.
func (p *process) lacks(gone, of uint64) {
	p.tb.Helper()
	p.until("capabilities", func() error { return lacks(p.tb, p.cmd.Process.Pid, gone, of) })
}

func lacks(tb testing.TB, pid int, gone, of uint64) error {
	tb.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(paths) < 2 {
		tb.Fatalf("threads: %v, %v", paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			var set uint64
			if _, err := fmt.Sscanf(lineWith(string(text), name+":"), name+":\t%x", &set); err != nil {
				tb.Fatalf("%s: %v", path, err)
			}
			want := of &^ gone
			if name == "CapInh" || name == "CapAmb" { // root's may have none of any
				want &= set
			}
			if set&of != want {
				return fmt.Errorf("%s of a thread has %x of %x", name, set&of, of)
			}
		}
	}
	return nil
}

// children are the processes that one has started.
func children(tb testing.TB, pid int) (all []int) {
	tb.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		tb.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for each := range strings.FieldsSeq(string(text)) {
			var child int
			if _, err := fmt.Sscan(each, &child); err != nil {
				tb.Fatal(err)
			}
			all = append(all, child)
		}
	}
	if len(all) == 0 {
		tb.Fatal("it has started no process")
	}
	return all
}

// asUnit has a command run with the rights of weir@serve, in a directory of its own.
func asUnit(tb testing.TB, cmd *exec.Cmd, dir string) *exec.Cmd {
	tb.Helper()
	asNobody(tb, cmd)
	cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_BPF}
	cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+dir)
	return cmd
}

// TestE2ETakeoversThatFailLeaveQuotasThoughNothingCanBeLoaded: the kernel loads no program for a process that serves. It keeps what
// it gave up for another that was killed, or could not have all.
func TestE2ETakeoversThatFailLeaveQuotasThoughNothingCanBeLoaded(t *testing.T) {
	bpftest.Require(t, "5.15", "XDP")
	if os.Geteuid() != 0 {
		t.Skip("only root gives a process capabilities")
	}
	for _, tt := range []struct {
		name string
		pin  bool
		ends []string
	}{
		{"gone with the process", false, []string{"killed", "without a port"}},
		{"pinned", true, []string{"killed"}},
	} {
		t.Run(tt.name, func(t *testing.T) { takeoversThatFail(t, tt.pin, tt.ends) })
	}
}

// nobodys is a directory that nobody may write.
func nobodys(tb testing.TB, dir string) {
	tb.Helper()
	err := os.Mkdir(dir, 0o700)
	undo := func() error { return os.RemoveAll(dir) }
	if errors.Is(err, fs.ErrExist) { // it is whoever's it was again
		was, statErr := os.Stat(dir)
		if err = statErr; err == nil {
			owner := was.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // Linux's
			undo = func() error { return os.Chown(dir, int(owner.Uid), int(owner.Gid)) }
		}
	}
	if err := errors.Join(err, os.Chown(dir, 65534, 65534)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := undo(); err != nil {
			tb.Error(err)
		}
	})
}

func takeoversThatFail(t *testing.T, pin bool, ends []string) {
	t.Helper()
	const of = netAdmin | perfmon | bpf
	dir := fmt.Sprintf("/tmp/weir-unit-%d", os.Getpid()) // nobody may not enter that of a test
	nobodys(t, dir)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // it only keeps a port
	if pin {
		nobodys(t, xdp.DefaultPinDir)
	}
	at := freePort(t)
	start := func(admin string, args ...string) *process {
		t.Helper()
		p := &process{tb: t, edge: at, admin: admin}
		args = append([]string{"serve", "--xdp", "on", "--interface", "lo", "--data", filepath.Join(dir, "data"), "--listen", at, "--admin", admin}, args...)
		p.cmd = asUnit(t, exec.Command(binary(t), args...), dir)
		p.cmd.Env = append(p.cmd.Env, fmt.Sprintf("WEIR_XDP_PIN=%v", pin))
		return p
	}
	p := start(freePort(t))
	p.start()
	p.lacks(perfmon, of)
	p.must("set", "mode=enforce", "packets=90000/s")
	p.must("deny", "198.51.100.0/24")
	subscriber := client(t, binary(t), "subscribe", "--url", "ws://"+p.edge, "news")
	p.until("subscribed", func() error {
		if p.subscriptions() == 0 {
			return errors.New("no subscription")
		}
		return nil
	})
	policy := p.must("show", "--policy")
	for i, end := range ends {
		passed := p.passed()
		next := start(taken.Addr().String(), "--takeover")
		next.launch()
		next.until("the interface is its own", func() error {
			if !strings.Contains(next.out.String(), "quotas in xdp") {
				return errors.New(p.out.String())
			}
			return nil
		})
		if end == "killed" {
			next.kill()
		} else if err := next.cmd.Wait(); err == nil || !strings.Contains(next.out.String(), "address already in use") {
			t.Errorf("it ends with %v:\n%s", err, next.out.String())
		}
		p.until("it serves on", func() error {
			if n := strings.Count(p.out.String(), "takeover failed: this process serves on"); n != i+1 {
				return fmt.Errorf("%d takeovers failed", n)
			}
			return nil
		})
		p.awaitReady()
		p.lacks(perfmon, of)
		if now := p.must("show", "--policy"); now != policy {
			t.Errorf("%s: the policy was\n%s\nand is\n%s", end, policy, now)
		}
		if out := p.must("show"); !strings.Contains(out, "lo (generic)") || !strings.Contains(out, "enforce") {
			t.Errorf("%s: %s", end, out)
		}
		if now := p.passed(); now < passed {
			t.Errorf("%s: %v packets had passed, and %v have now", end, passed, now)
		}
		p.publish("news", fmt.Sprintf("%q", end))
		p.until("delivered", func() error {
			if !strings.Contains(subscriber.String(), end) {
				return fmt.Errorf("got %q", subscriber.String())
			}
			return nil
		})
	}
	if out := p.out.String(); strings.Contains(out, "without quotas") || strings.Contains(out, "without proof") || strings.Contains(out, "not told to expect cookies") {
		t.Errorf("not all is as it was:\n%s", out)
	}
	p.must("set", "packets=80000/s")
	next := start(p.admin, "--takeover")
	p.takeOver(next)
	next.lacks(perfmon, of)
	next.must("set", "packets=70000/s")
	if pin {
		defer func() {
			if _, errs, code := weir(t, "quota", "unpin", "lo"); code != 0 {
				t.Errorf("unpin: %d %s", code, errs)
			}
		}()
	}
	if code := next.stop(); code != 0 {
		t.Errorf("it ends with %d:\n%s", code, next.out.String())
	}
}

// passed is how many packets passed by quota.
func (p *process) passed() (n float64) {
	p.tb.Helper()
	const series = `weir_xdp_packets_total{action="pass",reason="pass_quota"}`
	if _, err := fmt.Sscan(strings.TrimPrefix(lineWith(p.get("/metrics"), series), series), &n); err != nil || n == 0 {
		p.tb.Fatalf("%s is %v, %v", series, n, err)
	}
	return n
}
