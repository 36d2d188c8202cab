package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/internal/testlog"
)

const (
	tuningNamespaces = "weir-tuning"
	// aSetting is one that the profile changes on most hosts, and nothing else here does.
	aSetting = "/proc/sys/vm/stat_interval"
)

// hostSettings are some that a profile changes, as this host has them.
func hostSettings(t *testing.T) (all string) {
	t.Helper()
	for _, path := range []string{
		aSetting, "/proc/sys/vm/swappiness", "/proc/sys/vm/min_free_kbytes", "/proc/sys/kernel/timer_migration", "/proc/sys/net/core/netdev_budget",
		"/proc/sys/net/ipv4/tcp_mem", "/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_fin_timeout",
	} {
		b, err := os.ReadFile(path) //nolint:gosec // of the list above
		if err != nil {
			t.Fatal(err)
		}
		all += path + " " + string(b)
	}
	return all
}

// startTuning starts a run and waits until its settings are on.
func startTuning(t *testing.T, before string) (cmd *exec.Cmd, errs *testlog.Buffer) {
	t.Helper()
	errs = &testlog.Buffer{}
	cmd = exec.Command(binary(t), "bench", "tuning", "--each", "--only", "timers", "--conns", "20", "--duration", "10s", "--reps", "1")
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * patience); hostSettings(t) == before; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no setting is on: %s", errs)
		}
	}
	return cmd, errs
}

func TestE2ETuningIsMeasuredInTurnsAndTheHostIsAsItWas(t *testing.T) {
	bpftest.Require(t, "5.15", "tuning of network namespaces")
	before := hostSettings(t)
	if strings.Contains(before, aSetting+" 10\n") {
		t.Skip("this host has what the profile would set")
	}
	// One that is interrupted puts back what it changed.
	interrupted, errs := startTuning(t, before)
	if err := interrupted.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = interrupted.Wait()
	if code := interrupted.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "interrupted") && !strings.Contains(errs.String(), "canceled") {
		t.Errorf("interrupted: exit code %d, %s", code, errs)
	}
	if after := hostSettings(t); after != before || strings.Contains(namespaces(t), tuningNamespaces) {
		t.Errorf("left behind after an interrupt: %s, was %s, namespaces %s", after, before, namespaces(t))
	}
	// One that is killed cannot, and the next one does.
	killed, _ := startTuning(t, before)
	_ = killed.Process.Kill()
	_ = killed.Wait()
	if hostSettings(t) == before {
		t.Error("a killed run put back its settings")
	}
	out, stderr, code := weir(t, "bench", "tuning", "--conns", "200", "--duration", "1s", "--reps", "1", "--json")
	if after := hostSettings(t); after != before || strings.Contains(namespaces(t), tuningNamespaces) {
		t.Errorf("left behind: %s, was %s, namespaces %s", after, before, namespaces(t))
	}
	if code != 0 || !strings.Contains(stderr, "a run that was killed had left vm.stat_interval") {
		t.Fatalf("%d %s%s", code, out, stderr)
	}
	var got struct {
		Turns []struct {
			On      bool
			Changed []struct{ Setting, Knob, From, To, Note string }
			Fanout  struct{ Expected, Deliveries uint64 }
		}
		Rows     []struct{ Group, Figure, Verdict string }
		Wall     *struct{ On, Off struct{ Somaxconn string } }
		Settings map[string]struct{ Group, Verdict string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Turns) != 2 || len(got.Rows) == 0 || got.Settings["vm.stat_interval"].Group != "edge" || got.Settings["net.core.somaxconn"].Verdict == "" {
		t.Errorf("%+v", got)
	}
	for _, turn := range got.Turns {
		if turn.On != (len(turn.Changed) > 0) || turn.Fanout.Expected == 0 || turn.Fanout.Deliveries != turn.Fanout.Expected {
			t.Errorf("%+v", turn)
		}
	}
	if got.Wall == nil || got.Wall.On.Somaxconn != "20000" || got.Wall.Off.Somaxconn == got.Wall.On.Somaxconn {
		t.Errorf("%+v", got.Wall)
	}
	if _, stderr, code := weir(t, "bench", "tuning", "--only", "napi"); code != 2 || !strings.Contains(stderr, "--each") {
		t.Errorf("%d %s", code, stderr)
	}
}
