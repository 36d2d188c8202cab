package units

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/testlog"
)

const (
	// deb is the package in the guest.
	deb = "/weir/weir.deb"
	// patience bounds every wait, on an emulated CPU.
	patience = 2 * time.Minute
	serve    = "weir@serve.service"
)

// run runs a command to its end, which is to be well.
func run(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s\n%s", args, err, out, journal())
	}
	return strings.TrimSpace(string(out))
}

// journal is the end of what weir has said.
func journal() string {
	out, err := exec.Command("journalctl", "--no-pager", "-n", "40", "-u", "weir@*").CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// installed has the package installed, and nothing of it running: dpkg takes a minute on an emulated CPU, a start half of one.
func installed(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(deb); err != nil {
		t.Fatalf("no package at %s: these tests are those of make vm: %v", deb, err)
	}
	if _, err := os.Stat("/usr/bin/weir"); err != nil {
		run(t, "dpkg", "-i", deb)
	}
	run(t, "systemctl", "stop", "weir@*.service")
}

// serving has weir@serve started anew, by the package if this installs it.
func serving(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/bin/weir"); err == nil {
		installed(t)
		run(t, "systemctl", "start", serve)
	} else {
		run(t, "dpkg", "-i", deb)
	}
	until(t, "ready", ready)
}

// ready says why weir does not serve.
func ready() error {
	res, err := http.Get("http://127.0.0.1:8001/readyz")
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// until polls until f succeeds.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v\n%s", what, err, journal())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// systemctl runs without a test, as clean-up does.
func systemctl(args ...string) ([]byte, error) {
	return exec.Command("systemctl", args...).CombinedOutput()
}

// show is a property of a unit.
func show(t *testing.T, unit, property string) string {
	t.Helper()
	return run(t, "systemctl", "show", "--value", "-p", property, unit)
}

func mainPID(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(show(t, serve, "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("no main process: %d, %v\n%s", pid, err, journal())
	}
	return pid
}

// subscribe starts a client, which is connected when it returns.
func subscribe(t *testing.T) *testlog.Buffer {
	t.Helper()
	s := &testlog.Buffer{}
	cmd := exec.Command("weir", "subscribe", "--url", "ws://127.0.0.1:8000", "news")
	cmd.Stdout, cmd.Stderr = s, s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	reached(t, s, "first")
	return s
}

// reached publishes an event until a client has it.
func reached(t *testing.T, s *testlog.Buffer, event string) {
	t.Helper()
	until(t, "event "+event, func() error {
		if strings.Contains(s.String(), event) {
			return nil
		}
		out, err := exec.Command("weir", "publish", "news", event).CombinedOutput()
		return fmt.Errorf("the client has %q; publish: %v %s", s.String(), err, out) //nolint:errorlint // for people
	})
}

// What a process has that serves with quotas, CAP_NET_ADMIN and CAP_BPF, and what it had to load their programs.
const (
	serves  = 1<<12 | 1<<39
	perfmon = 1 << 38
)

// gaveUp waits until the main process of a unit has those capabilities alone that it needs.
func gaveUp(t *testing.T, unit string, want uint64) {
	t.Helper()
	until(t, "capabilities of its start given up", func() error {
		if got := capabilities(t, unit); got != want {
			return fmt.Errorf("it has %x, want %x", got, want)
		}
		return nil
	})
}

func TestVMUnitServesWithItsCapabilitiesAlone(t *testing.T) {
	serving(t)
	gaveUp(t, serve, serves)
	pid := mainPID(t)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string]uint64{"CapEff": serves, "CapPrm": serves, "CapAmb": serves, "CapBnd": serves | perfmon} {
		m := regexp.MustCompile(set + `:\s+([0-9a-f]+)`).FindSubmatch(status)
		if m == nil || string(m[1]) != fmt.Sprintf("%016x", want) {
			t.Errorf("%s is %q, want %016x", set, m, want)
		}
	}
	if user := run(t, "ps", "-o", "user=", "-p", strconv.Itoa(pid)); user != "weir" {
		t.Errorf("it runs as %q", user)
	}
	if state := show(t, serve, "StatusText"); !strings.Contains(state, ":8000, quotas in XDP: shadow on lo") {
		t.Errorf("its state is %q: XDP is not attached\n%s", state, journal())
	}
	if text := journal(); strings.Contains(text, "listeners are not told") {
		t.Errorf("the kernel does not expect the cookies that XDP makes\n%s", text)
	}
	if limit := show(t, serve, "LimitNOFILE"); limit != "1048576" {
		t.Errorf("it may have %s descriptors", limit)
	}
	if enabled := run(t, "systemctl", "is-enabled", serve); enabled != "enabled" {
		t.Errorf("at the next boot it is %s", enabled)
	}
}

// TestVMReloadTakesOver: another process is the main one, with all it needs, and the client does not notice.
func TestVMReloadTakesOver(t *testing.T) {
	serving(t)
	client := subscribe(t)
	for _, by := range []string{"systemctl reload weir@serve", "dpkg -i " + deb} {
		before := mainPID(t)
		run(t, strings.Fields(by)...)
		until(t, "another main process", func() error {
			if mainPID(t) == before {
				return errors.New("it is the one of before")
			}
			return nil
		})
		until(t, "the one of before ends", func() error {
			if err := syscall.Kill(before, 0); err == nil {
				return errors.New("it is there")
			}
			return nil
		})
		until(t, "ready", ready)
		gaveUp(t, serve, serves)
		reached(t, client, "after "+strings.Fields(by)[0])
		if state := show(t, serve, "ActiveState"); state != "active" {
			t.Errorf("after %s it is %s\n%s", by, state, journal())
		}
		if n := show(t, serve, "NRestarts"); n != "0" {
			t.Errorf("%s restarted it", by)
		}
		if state := show(t, serve, "StatusText"); !strings.Contains(state, "taken over") && !strings.Contains(state, "quotas in XDP: shadow on lo") {
			t.Errorf("after %s its state is %q", by, state)
		}
	}
	if text := client.String(); strings.Contains(text, "closed") || strings.Contains(text, "reconnect") {
		t.Errorf("the client was closed:\n%s", text)
	}
	run(t, "systemctl", "stop", serve)
	if state := show(t, serve, "Result"); state != "success" {
		t.Errorf("stopped, its result is %s\n%s", state, journal())
	}
}

// TestVMWatchdogRestartsWhatIsStuck, also a process that has taken over.
func TestVMWatchdogRestartsWhatIsStuck(t *testing.T) {
	installed(t)
	write(t, configuration, "bus: {data: /var/lib/weir}\nxdp: {enabled: \"off\"}\n")
	serving(t)
	before := mainPID(t)
	run(t, "systemctl", "reload", serve)
	until(t, "another main process", func() error {
		if mainPID(t) == before {
			return errors.New("it is the one of before")
		}
		return nil
	})
	stuck := mainPID(t)
	if err := syscall.Kill(stuck, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "restarted", func() error {
		if n := show(t, serve, "NRestarts"); n != "1" {
			return fmt.Errorf("%s restarts", n)
		}
		return ready()
	})
	if now := mainPID(t); now == stuck {
		t.Error("the process that is stuck is the service")
	}
}

// routes are those of a gateway with an upstream that is not there.
const routes = "upstreams: {app: {servers: [\"127.0.0.1:9\"]}}\nroutes: {api: {path: /, upstream: app}}\n"

func TestVMGatewayReadsItsRoutesAgain(t *testing.T) {
	installed(t)
	write(t, "/etc/weir/routes.yaml", routes)
	write(t, configuration, "gateway: {listen: \":80\", routes: /etc/weir/routes.yaml}\nxdp: {mode: shadow}\n")
	run(t, "systemctl", "start", gateway)
	pid := show(t, gateway, "MainPID")
	if state := show(t, gateway, "StatusText"); !strings.Contains(state, ":80, quotas in XDP: shadow on lo") {
		t.Errorf("its state is %q\n%s", state, journal())
	}
	gaveUp(t, gateway, serves)
	run(t, "systemctl", "reload", gateway)
	until(t, "routes read again", func() error {
		if !strings.Contains(journal(), "routes read again") {
			return errors.New("not yet")
		}
		return nil
	})
	until(t, "active", func() error {
		if state := show(t, gateway, "ActiveState"); state != "active" {
			return errors.New(state)
		}
		return nil
	})
	if now := show(t, gateway, "MainPID"); now != pid {
		t.Errorf("process %s became %s", pid, now)
	}
	run(t, "systemctl", "stop", gateway)
}
