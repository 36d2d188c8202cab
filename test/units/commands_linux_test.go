package units

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestVMDoctorLooksAtAll on a host that has all there is to look at, also for the configuration of the package.
func TestVMDoctorLooksAtAll(t *testing.T) {
	installed(t)
	nic := nics(t)[0]
	run(t, "ip", "link", "set", nic, "up")
	t.Setenv("WEIR_XDP_INTERFACE", nic)
	text, code := weir(t, "doctor")
	t.Logf("code %d\n%s", code, text)
	out, again := weir(t, "doctor", "--config", configuration, "--json")
	if code > 1 || again > 1 {
		t.Errorf("it ends with %d, and with %d for the package's configuration", code, again)
	}
	var found []struct{ Check, Level, Found string }
	if err := json.Unmarshal(jsonLine.Find([]byte(out)), &found); err != nil {
		t.Fatalf("--json: %v\n%s", err, out)
	}
	checks := map[string]string{}
	for _, f := range found {
		checks[f.Check] = f.Level
	}
	for _, check := range []string{"settings", "driver", "queues", "interrupts"} {
		if checks[check] == "" || !strings.Contains(text, check) {
			t.Errorf("nothing of %s: %v\n%s", check, checks, text)
		}
	}
}

// jsonLine is a list, before what is said of the exit code.
var jsonLine = regexp.MustCompile(`(?m)^\[.*\]$`)

// TestVMDemoRunsForWhoLogsIn: as `vagrant ssh edge -c 'weir demo'`, by a user who may become root.
func TestVMDemoRunsForWhoLogsIn(t *testing.T) {
	installed(t)
	const user = "vagrant"
	if err := exec.Command("getent", "passwd", user).Run(); err != nil {
		run(t, "adduser", "--disabled-password", "--gecos", "", user)
	}
	if err := os.WriteFile("/etc/sudoers.d/vagrant", []byte("vagrant ALL=(ALL) NOPASSWD: ALL\n"), 0o440); err != nil { //nolint:gosec // as sudo wants it
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	start := time.Now()
	out, err := exec.CommandContext(ctx, "runuser", "-l", user, "-c", "weir demo --seconds 20 --conns 50").CombinedOutput()
	if err != nil {
		t.Fatalf("weir demo: %v after %v\n%s", err, time.Since(start), out)
	}
	t.Logf("%s", out)
	for _, want := range []string{`(?m)^ 20 s FLOOD  50 conns `, `FLOOD  50 conns +[1-9]\d* deliveries`, `(?m)^flooded +[1-9]\d* packets$`, `(?m)^dropped .*[1-9]`, `(?m)^lost by subscribers +0 events$`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s in what it printed", want)
		}
	}
}
