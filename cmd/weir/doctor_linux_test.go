package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"weir/bpf/bpftest"
	"weir/bpf/hooks"
	"weir/bpf/netlab"
	"weir/bpf/xdp"
	"weir/cmd/weir/config"
	"weir/edge/loop"
	"weir/tuning"
	"weir/tuning/catalog"
)

func TestHooksAreExamined(t *testing.T) {
	there := hooks.Hook{Name: "tracepoint", Lost: "weir trace stall", Since: "4.7"}
	missing := func(err error, guard bool) hooks.Hook {
		return hooks.Hook{Name: "xdp", Lost: "the quotas in XDP", Since: "5.15", Guard: guard, Err: fmt.Errorf("%w: %w", err, syscall.EPERM)}
	}
	for _, tt := range []struct {
		name    string
		probed  []hooks.Hook
		enabled string
		level   tuning.Level
		says    string
	}{
		{"all are there", []hooks.Hook{there}, "on", tuning.OK, "BPF: tracepoint"},
		{"one is missing", []hooks.Hook{there, missing(hooks.ErrMissing, false)}, "on", tuning.Warn, "boot Linux 5.15 or newer"},
		{"one that quotas need", []hooks.Hook{there, missing(hooks.ErrMissing, true)}, "auto", tuning.Warn, "xdp.enabled: off"},
		{"one that quotas need, and they are asked for", []hooks.Hook{there, missing(hooks.ErrMissing, true)}, "on", tuning.Fail, "the quotas in XDP"},
		{"one is forbidden", []hooks.Hook{there, missing(hooks.ErrForbidden, false)}, "on", tuning.Warn, "lockdown"},
		{"all are", []hooks.Hook{missing(hooks.ErrPrivileges, true)}, "on", tuning.Warn, "as root"},
	} {
		found := examineHooks(tt.probed, tt.enabled)
		last := found[len(found)-1]
		if last.Level != tt.level || !strings.Contains(fmt.Sprintf("%+v", last), tt.says) {
			t.Errorf("%s: %+v", tt.name, found)
		}
		if len(found) != len(tt.probed) {
			t.Errorf("%s: %d findings", tt.name, len(found))
		}
	}
}

// TestDoctorPrintsEachCheckOnce runs the command as a user does: programs tell its findings apart by their checks.
func TestDoctorPrintsEachCheckOnce(t *testing.T) {
	var out, errs bytes.Buffer
	code := run([]string{"doctor", "--json"}, &app{stdout: &out, stderr: &errs})
	var found []tuning.Finding
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatalf("exit code %d: %v: %s %s", code, err, &out, &errs)
	}
	seen := map[string]bool{}
	for _, f := range found {
		if f.Check == "" || f.Found == "" || seen[f.Check] || f.Level != tuning.OK && f.Why == "" {
			t.Errorf("%+v", f)
		}
		seen[f.Check] = true
	}
	for _, check := range []string{"kernel", "XDP mode", "XDP programs", "MTU", "clock source", "clock's time", "io_uring", "settings", "capacity", "accept queue", "storage", "descriptors"} {
		if !seen[check] {
			t.Errorf("nothing about %s", check)
		}
	}
	if (code == exitFailed) != tuning.Failed(found) {
		t.Errorf("exit code %d of %+v", code, found)
	}
	out.Reset()
	if again := run([]string{"doctor"}, &app{stdout: &out, stderr: &errs}); again != code || !strings.Contains(out.String(), "XDP mode") {
		t.Errorf("exit code %d, %s", again, &out)
	}
}

// TestDescriptorsAreCountedOnce holds what a plan says of a limit to what an edge makes of it.
func TestDescriptorsAreCountedOnce(t *testing.T) {
	if plan, edge := catalog.ConnsWithin(int64(loop.DescriptorLimit())), loop.DefaultMaxConns(); max(plan, 1) != int64(edge) {
		t.Errorf("within %d descriptors a plan counts %d conns, an edge %d", loop.DescriptorLimit(), plan, edge)
	}
}

// examined are the findings of a guarded interface in a namespace, by check.
func examined(t *testing.T, in *netlab.Namespace, cfg config.XDP, probed []hooks.Hook) map[string]tuning.Finding {
	t.Helper()
	all := map[string]tuning.Finding{}
	err := in.Do(func() error {
		x, ok := lookAtXDP(cfg, probed)
		if !ok {
			return fmt.Errorf("no interface %s", cfg.Interface)
		}
		for _, f := range x.Examine() {
			all[f.Check] = f
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// guarded attaches weir's program to an interface for a moment.
func guarded(in *netlab.Namespace, cfg config.XDP) error {
	return in.Do(func() error {
		p, err := xdp.Load(xdp.Config{Interface: cfg.Interface, Attach: xdp.AttachMode(cfg.Attach), Frags: xdp.Option(cfg.Frags), Slots: 16, Proof: xdp.OptionOff}, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		_, err = p.Attach()
		return errors.Join(err, p.Close())
	})
}

// TestNetnsDoctorNamesAForeignProgram guards a veth that has somebody's program on it, and then an MTU that no buffer holds.
func TestNetnsDoctorNamesAForeignProgram(t *testing.T) {
	bpftest.Require(t, "6.3", "what devices can do with XDP")
	host := bpftest.Namespace(t)
	if err := netlab.Pair(netlab.End{In: host, Interface: "a0"}, netlab.End{In: host, Interface: "b0"}); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default().XDP
	cfg.Interface = "a0"
	probed := hooks.Probe()
	before := examined(t, host, cfg, probed)
	if f := before["XDP mode"]; f.Level != tuning.OK || !strings.Contains(f.Found, "a0: native (drop, pass and send back") {
		t.Errorf("%+v", f)
	}
	if f := before["XDP programs"]; f.Level != tuning.OK || f.Found != "a0: none" {
		t.Errorf("%+v", f)
	}
	foreign, err := host.PassXDP("a0")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close() //nolint:errcheck // the namespace goes
	f := examined(t, host, cfg, probed)["XDP programs"]
	if f.Level != tuning.Warn || !strings.Contains(f.Found, ", pass (native, link ") || !strings.Contains(f.Why, "weir is refused") || !strings.Contains(f.Mend, "bpftool link detach id ") {
		t.Errorf("%+v", f)
	}
	cfg.Enabled = "on"
	if f := examined(t, host, cfg, probed)["XDP programs"]; f.Level != tuning.Fail {
		t.Errorf("%+v", f)
	}
	if err := foreign.Close(); err != nil {
		t.Error(err)
	}
	for _, end := range []string{"a0", "b0"} { // a veth goes by what the other end may send
		if err := host.SetMTU(end, 9000); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Attach = "native"
	if f := examined(t, host, cfg, probed)["MTU"]; f.Level != tuning.OK || !strings.Contains(f.Found, "9000") || !strings.Contains(f.Found, "several") {
		t.Errorf("a veth hands over several buffers: %+v", f)
	}
	if err := guarded(host, cfg); err != nil {
		t.Errorf("and weir takes them: %v", err)
	}
	cfg.Frags = "off"
	if err := guarded(host, cfg); !errors.Is(err, xdp.ErrNoNative) {
		t.Errorf("weir was attached: %v", err)
	}
	if f := examined(t, host, cfg, probed)["MTU"]; f.Level != tuning.Fail || !strings.Contains(f.Mend, "xdp.frags: auto") || !strings.Contains(f.Why, "as xdp.attach asks for") {
		t.Errorf("weir is told not to take them: %+v", f)
	}
	cfg.Interface = "lo"
	if f := examined(t, host, cfg, probed)["MTU"]; f.Level != tuning.OK {
		t.Errorf("loopback: %+v", f)
	}
}
