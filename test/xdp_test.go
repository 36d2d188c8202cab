package test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
)

func TestE2EQuotasOnLoopback(t *testing.T) {
	bpftest.Require(t, "5.12", "XDP")
	p := serve(t, "--xdp", "on", "--interface", "lo")
	_, errs, code := weir(t, "serve", "--xdp", "on", "--interface", "lo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if code != 1 || !strings.Contains(errs, "has an XDP program already") {
		t.Errorf("a second weir on lo: %d %q", code, errs)
	}
	out, errs, code := weir(t, "quota", "show", "--admin", "http://"+p.admin)
	if code != 0 || !strings.Contains(out, "lo (generic)") || !strings.Contains(out, "127.0.0.1/32") || !strings.Contains(out, "pass_quota") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	var mode struct{ Result struct{ Mode string } }
	p.post("/api/quota/mode", `{"mode":"shadow"}`, &mode)
	out, _, _ = weir(t, "quota", "show", "--json", "--admin", "http://"+p.admin)
	var shown struct{ Mode string }
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Mode != "shadow" {
		t.Errorf("mode is %q, %v", shown.Mode, err)
	}
	p.kill() // as kill -9: the program goes with the process
	p.until("loopback without a program", func() error {
		if out, err := exec.Command("ip", "link", "show", "lo").CombinedOutput(); err != nil || strings.Contains(string(out), "xdp") {
			return fmt.Errorf("%s %w", out, err)
		}
		return nil
	})
}

// TestE2ETakeoverLoadsQuotasAhead: the kernel's verifier takes a second or more, for which nobody would serve.
func TestE2ETakeoverLoadsQuotasAhead(t *testing.T) {
	bpftest.Require(t, "5.12", "XDP")
	p := serve(t, "--xdp", "on", "--interface", "lo", "--data", t.TempDir())
	next := &process{tb: t, edge: p.edge, admin: p.admin, cmd: exec.Command(binary(t), append(slices.Clone(p.cmd.Args[1:]), "--takeover")...)}
	next.cmd.Env = p.cmd.Env
	p.takeOver(next)
	if log := next.out.String(); !strings.Contains(log, "ahead=true") {
		t.Errorf("quotas were loaded while nobody served:\n%s", log)
	}
	if out, errs, code := weir(t, "quota", "show", "--admin", "http://"+next.admin); code != 0 || !strings.Contains(out, "lo (generic)") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

func TestE2EDemoHoldsTheFloodAndCleansUp(t *testing.T) {
	bpftest.Require(t, "5.18", "XDP live frames")
	// One that is killed leaves its namespaces; the next removes them.
	killed := exec.Command(binary(t), "demo", "--conns", "20")
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for left := ""; !strings.Contains(left, "weir-demo-load"); left = namespaces(t) {
		if time.Now().After(deadline) {
			t.Fatal("the demo makes no namespaces")
		}
		<-time.After(10 * time.Millisecond)
	}
	_ = killed.Process.Kill()
	_ = killed.Wait()
	out, errs, code := weir(t, "demo", "--conns", "200", "--seconds", "14", "--json")
	if code != 0 {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var sum struct {
		Deliveries uint64
		Dropped    map[string]uint64
		Faults     struct{ Lost, Duplicate, Disorder, Garbage, Closed uint64 }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil {
		t.Fatal(err)
	}
	kept := uint64(0) // from the kernel: dropped, or answered with a cookie
	for _, n := range sum.Dropped {
		kept += n
	}
	if kept < 10000 || sum.Faults.Lost+sum.Faults.Duplicate+sum.Faults.Closed != 0 || sum.Deliveries < 200*20*10 {
		t.Errorf("summary %+v", sum)
	}
	if left := namespaces(t); strings.Contains(left, "weir-demo") {
		t.Errorf("left behind: %s", left)
	}
}

func namespaces(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return string(out)
}

func TestE2EDoctorAndVersion(t *testing.T) {
	out, _, _ := weir(t, "doctor", "--json")
	var found []struct{ Check, Level string }
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) < 8 {
		t.Fatalf("%s: %v", out, err)
	}
	out, _, code := weir(t, "version")
	if code != 0 || !strings.HasPrefix(out, "weir ") {
		t.Errorf("%d %q", code, out)
	}
}
