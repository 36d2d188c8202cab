package units

import (
	"os"
	"strings"
	"testing"
)

// TestVMBeforeBootSettingsAreApplied, for what follows the boot.
func TestVMBeforeBootSettingsAreApplied(t *testing.T) {
	installed(t)
	untuned(t, "2")
	if text, code := tune(t, "apply"); code != 0 {
		t.Fatalf("apply: code %d\n%s", code, text)
	}
}

// TestVMAfterBootServesAgain: the unit is there as it was before.
func TestVMAfterBootServesAgain(t *testing.T) {
	until(t, "ready", ready)
	if state := show(t, serve, "ActiveState"); state != "active" {
		t.Errorf("it is %s", state)
	}
}

// TestVMAfterBootSettingsAreThoseOfTheBoot: verify says so, and rollback has nothing left to write but what a host boots with.
func TestVMAfterBootSettingsAreThoseOfTheBoot(t *testing.T) {
	text, code := tune(t, "verify")
	if code != 1 || !strings.Contains(text, "The host was booted since") || strings.Contains(text, "of which 0 have drifted") {
		t.Errorf("verify: code %d\n%s", code, text)
	}
	run(t, "ip", "link", "set", nics(t)[0], "up")
	booted := settings(t)
	text, code = tune(t, "rollback")
	if code != 0 || !strings.Contains(text, "left out: the host was booted since") {
		t.Errorf("rollback: code %d\n%s", code, text)
	}
	t.Log(text)
	nic := nics(t)[0]
	for _, path := range differing(booted, settings(t)) {
		// What untuned had set before the boot is what was there before weir: rollback sets it. What the kernel makes of the
		// memory that is free as it boots is another number each time.
		if path != "ethtool -g "+nic && path != "ethtool -k "+nic && path != "/proc/sys/net/ipv4/tcp_mem" {
			t.Errorf("rollback changed %s", path)
		}
	}
	if text, code := tune(t, "verify"); code != 0 || !strings.Contains(text, "nothing is applied") {
		t.Errorf("verify after it: code %d\n%s", code, text)
	}
	// The next apply begins with what there is.
	before := settings(t)
	for _, command := range []string{"apply", "rollback"} {
		if text, code := tune(t, command); code != 0 {
			t.Errorf("%s: code %d\n%s", command, code, text)
		}
	}
	same(t, before)
}

func TestVMAfterBootPurgeLeavesNothing(t *testing.T) {
	installed(t)
	run(t, "install", "-D", "-m", "644", examples+"pin.conf", "/etc/systemd/system/weir@serve.service.d/pin.conf")
	pinned := "bus: {data: /var/lib/weir}\nxdp: {enabled: \"on\", interface: lo, mode: shadow, pin: true}\n"
	if err := os.WriteFile(configuration, []byte(pinned), 0o644); err != nil { //nolint:gosec // the user weir reads it
		t.Fatal(err)
	}
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "restart", serve)
	until(t, "ready", ready)
	if text := run(t, "ip", "link", "show", "lo"); !strings.Contains(text, "xdp") {
		t.Errorf("nothing is pinned: %s", text)
	}
	run(t, "dpkg", "-P", "weir")
	if out := run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "weir@*"); strings.Contains(out, "running") {
		t.Errorf("units are left:\n%s", out)
	}
	if ready() == nil {
		t.Error("it serves")
	}
	if text := run(t, "ip", "link", "show", "lo"); strings.Contains(text, "xdp") {
		t.Errorf("its program drops on, and nobody is there to ask: %s", text)
	}
	for _, path := range []string{"/sys/fs/bpf/weir", "/etc/weir", "/var/lib/weir", "/run/weir-serve", "/usr/bin/weir", "/lib/systemd/system/weir@.service", "/usr/share/doc/weir", "/etc/systemd/system/multi-user.target.wants/" + serve} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}
