package units

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	examples      = "/usr/share/doc/weir/examples/"
	configuration = "/etc/weir/weir.yaml"
	gateway       = "weir@gateway.service"
)

// write writes a file that the user weir reads, until the test ends, which stops all of weir before what was there is back.
func write(t *testing.T, path, text string) {
	t.Helper()
	before, err := os.ReadFile(path)
	was := err == nil
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil { //nolint:gosec // weir reads it
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if was {
			err = os.WriteFile(path, before, 0o644) //nolint:gosec // weir reads it
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// example copies a file of the package's examples to where its first line says that it belongs.
func example(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(examples + name)
	if err != nil {
		t.Fatal(err)
	}
	path, _, found := strings.Cut(strings.TrimPrefix(string(b), "# "), ":")
	if !found || !strings.HasPrefix(path, "/etc/systemd/system/") {
		t.Fatalf("%s does not begin with where it belongs: %q", name, b)
	}
	write(t, path, string(b))
	t.Cleanup(reread)
	run(t, "systemctl", "daemon-reload")
	run(t, "systemd-analyze", "verify", "--man=no", serve, gateway)
}

// reread has systemd see what is there once the test's files are gone.
func reread() {
	for _, args := range [][]string{{"stop", "weir@*.service"}, {"daemon-reload"}} {
		_, _ = systemctl(args...)
	}
}

// answers polls until a URL is answered, whatever with.
func answers(t *testing.T, url string) {
	t.Helper()
	until(t, url, func() error {
		res, err := http.Get(url) //nolint:gosec // of this host
		if err == nil {
			err = res.Body.Close()
		}
		return err
	})
}

// capabilities are those that the main process of a unit has.
func capabilities(t *testing.T, unit string) (effective uint64) {
	t.Helper()
	status, err := os.ReadFile("/proc/" + show(t, unit, "MainPID") + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "CapEff:")
	if _, err := fmt.Sscanf(after, "%x", &effective); err != nil {
		t.Fatal(err)
	}
	return effective
}

// TestVMExampleLowPort: an edge on port 80 runs as the user weir, with one capability more.
func TestVMExampleLowPort(t *testing.T) {
	installed(t)
	example(t, "low-port.conf")
	write(t, configuration, "edge: {listen: \":80\"}\nbus: {data: /var/lib/weir}\nxdp: {enabled: \"off\"}\n")
	run(t, "systemctl", "start", serve)
	answers(t, "http://127.0.0.1:80/")
	gaveUp(t, serve, 1<<10|1<<12) // it has no quotas
	run(t, "systemctl", "reload", serve)
	until(t, "ready", ready)
	answers(t, "http://127.0.0.1:80/")
}

// TestVMExamplePin: a killed weir leaves its program at the interface, and the next one goes on with it; removed, nothing is left.
func TestVMExamplePin(t *testing.T) {
	installed(t)
	example(t, "pin.conf")
	write(t, configuration, "bus: {data: /var/lib/weir}\nxdp: {enabled: \"on\", interface: lo, mode: shadow, pin: true}\n")
	run(t, "systemctl", "start", serve)
	until(t, "ready", ready)
	attached := func() bool { return strings.Contains(run(t, "ip", "link", "show", "lo"), "xdp") }
	if !attached() {
		t.Error("nothing is attached")
	}
	if err := syscall.Kill(mainPID(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !attached() {
		t.Error("with weir its program went")
	}
	until(t, "restarted", func() error {
		if n := show(t, serve, "NRestarts"); n != "1" {
			return fmt.Errorf("%s restarts", n)
		}
		return ready()
	})
	if text := journal(); !strings.Contains(text, "adopted=true") {
		t.Errorf("the next one did not go on with it:\n%s", text)
	}
	run(t, "systemctl", "stop", serve)
	run(t, "weir", "quota", "unpin", "lo")
	if attached() {
		t.Error("it is attached after all")
	}
}

// TestVMExampleSocket: systemd starts a gateway for whoever asks its admin server, and none is refused while it restarts.
func TestVMExampleSocket(t *testing.T) {
	installed(t)
	example(t, "weir@gateway.socket")
	write(t, "/etc/weir/routes.yaml", routes)
	write(t, configuration, "gateway: {listen: \":80\", routes: /etc/weir/routes.yaml}\nxdp: {enabled: \"off\"}\n")
	const socket = "weir@gateway.socket"
	run(t, "systemctl", "start", socket)
	t.Cleanup(func() { _, _ = systemctl("stop", socket, gateway) })
	if state := show(t, gateway, "ActiveState"); state != "inactive" {
		t.Errorf("before anybody asks the gateway is %s", state)
	}
	client := http.Client{Timeout: patience}
	ask := func() error {
		res, err := client.Get("http://127.0.0.1:8001/healthz")
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	if err := ask(); err != nil {
		t.Errorf("the first one: %v\n%s", err, journal())
	}
	until(t, "active", func() error {
		if state := show(t, gateway, "ActiveState"); state != "active" {
			return errors.New(state)
		}
		return nil
	})
	client.CloseIdleConnections()
	run(t, "systemctl", "stop", gateway)
	answered := make(chan error, 1)
	go func() { answered <- ask() }()
	select {
	case err := <-answered:
		if err != nil {
			t.Errorf("one who asks while none runs: %v\n%s", err, journal())
		}
	case <-time.After(patience):
		t.Error("one who asks while none runs has no answer")
	}
}
