package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/internal/testlog"
)

const floodNamespaces = "weir-flood"

// startFlood starts a run and waits until it is beyond its baseline.
func startFlood(t *testing.T) (cmd *exec.Cmd, errs *testlog.Buffer) {
	t.Helper()
	errs = &testlog.Buffer{}
	cmd = exec.Command(binary(t), "bench", "flood", "--conns", "20", "--rate", "1000", "--duration", "1s")
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for !strings.Contains(errs.String(), "off:") || !strings.Contains(namespaces(t), floodNamespaces+"-load") {
		if time.Now().After(deadline) {
			t.Fatalf("no flood: %s", errs)
		}
		<-time.After(10 * time.Millisecond)
	}
	return cmd, errs
}

func TestE2EFloodIsMeasuredWithEachDefenseAndNothingIsLeft(t *testing.T) {
	bpftest.Require(t, "5.18", "XDP live frames")
	// One that is killed leaves its namespaces, and one that is interrupted does not.
	killed, _ := startFlood(t)
	_ = killed.Process.Kill()
	_ = killed.Wait()
	if left := namespaces(t); !strings.Contains(left, floodNamespaces) {
		t.Errorf("a killed run cleaned up: %q", left)
	}
	interrupted, errs := startFlood(t)
	if err := interrupted.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = interrupted.Wait()
	if code := interrupted.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "interrupted") && !strings.Contains(errs.String(), "canceled") {
		t.Errorf("interrupted: exit code %d, %s", code, errs)
	}
	if left := namespaces(t); strings.Contains(left, floodNamespaces) {
		t.Errorf("left behind after an interrupt: %s", left)
	}
	out, stderr, code := weir(t, "bench", "flood", "--conns", "50", "--duration", "1s", "--rate", "100000", "--quota", "500", "--json")
	if code != 0 {
		t.Fatalf("%d %s%s", code, out, stderr)
	}
	var got struct {
		Host struct{ Kernel string }
		Rows []struct {
			Setting             string
			Goodput, Handshakes float64
			Flood               float64 `json:"flood_per_second"`
			Dropped             map[string]uint64
			WouldDrop           map[string]uint64 `json:"would_drop"`
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range got.Rows {
		names = append(names, r.Setting)
		calm, enforced := r.Setting == "baseline", slices.Contains([]string{"enforce", "no-cookies", "under-attack", "nftables"}, r.Setting)
		if (r.Flood > 1000) == calm || (len(r.Dropped) > 0) != enforced || len(r.WouldDrop) > 0 && r.Setting != "shadow" {
			t.Errorf("%+v", r)
		}
		if (calm || enforced) && (r.Goodput < 0.5 || r.Handshakes < 0.5) {
			t.Errorf("%+v", r)
		}
	}
	if strings.Join(names, " ") != "baseline off shadow enforce no-cookies under-attack nftables" || got.Host.Kernel == "" {
		t.Errorf("rows %q on %q", names, got.Host.Kernel)
	}
	if left := namespaces(t); strings.Contains(left, floodNamespaces) {
		t.Errorf("left behind: %s", left)
	}
}

func TestE2EFloodThatCannotBeIsRefusedInASentence(t *testing.T) {
	_, errs, code := weir(t, "bench", "flood", "--kind", "connect", "--spoofed", "--only", "of")
	if code != 2 || !strings.Contains(errs, "real conns need real addresses") || !strings.Contains(errs, "--only is of: want some of off, ") {
		t.Errorf("%d %s", code, errs)
	}
}
