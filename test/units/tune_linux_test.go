package units

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tune runs a command of weir tune and returns what it printed, and its exit code.
func tune(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	return weir(t, append([]string{"tune"}, args...)...)
}

// weir runs a command that may end with an exit code, and with nothing else.
func weir(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := exec.CommandContext(ctx, "/usr/bin/weir", args...).CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() && !strings.Contains(string(b), "goroutine ") {
		return string(b), exit.ExitCode()
	} else if err != nil {
		t.Fatalf("weir %v: %v\n%s", args, err, b)
	}
	return string(b), 0
}

// item is one of a plan's.
type item struct {
	Setting, Status, Is, Want string
	Knob                      struct{ Name, Path, Device string }
}

// changes are what a plan would change, in the order of writing.
func changes(t *testing.T, args ...string) (all []item) {
	t.Helper()
	out, code := tune(t, append([]string{"plan", "--json"}, args...)...)
	var plan struct{ Items []item }
	if err := json.Unmarshal([]byte(out), &plan); err != nil || code != 0 {
		t.Fatalf("plan: code %d, %v\n%s", code, err, out)
	}
	return slices.DeleteFunc(plan.Items, func(i item) bool { return i.Status != "change" })
}

// untuned has the NIC set as nobody would who wants it fast: short rings, no GRO, its interrupts on any CPU. What it had is put back.
func untuned(t *testing.T, queues string) {
	t.Helper()
	nic := nics(t)[0]
	run(t, "ip", "link", "set", nic, "up")
	run(t, "ethtool", "-L", nic, "combined", queues)
	run(t, "ethtool", "-G", nic, "rx", "64", "tx", "64")
	run(t, "ethtool", "-K", nic, "gro", "off")
	t.Cleanup(func() { _ = exec.Command("ethtool", "-L", nic, "combined", "2").Run() })
	for _, at := range interrupts(t, nic) {
		if err := os.WriteFile(at+"/smp_affinity_list", []byte("0-1"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// interrupts are the directories of those of a NIC's queues.
func interrupts(t *testing.T, nic string) []string {
	t.Helper()
	at := filepath.Base(glob(t, "/sys/class/net/"+nic+"/device")[0])
	if link, err := filepath.EvalSymlinks("/sys/class/net/" + nic + "/device"); err == nil {
		at = filepath.Base(link)
	}
	var dirs []string
	for _, direction := range []string{"input", "output"} {
		for _, path := range glob(t, "/proc/irq/*/"+at+"-"+direction+".*") {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

// TestVMTuneRestoresEveryByte on a real host: all profiles' settings are applied, verified, drift, and are rolled back.
func TestVMTuneRestoresEveryByte(t *testing.T) {
	installed(t)
	for _, tt := range []struct {
		profile, queues string
		want            []string // settings among those that change
	}{
		{"edge", "2", []string{"rings/rx", "rings/tx", "features/rx-gro", "smp_affinity_list", "gro_flush_timeout", "napi_defer_hard_irqs", "net.ipv4.tcp_mem"}},
		{"gateway", "1", []string{"rings/rx", "features/rx-gro", "rps_cpus", "rps_flow_cnt", "net.core.rps_sock_flow_entries", "net.ipv4.ip_local_port_range"}},
	} {
		t.Run(tt.profile, func(t *testing.T) {
			untuned(t, tt.queues)
			before := settings(t)
			wanted := changes(t, "--profile", tt.profile)
			for _, key := range tt.want {
				if !slices.ContainsFunc(wanted, func(i item) bool { return i.Setting == key }) {
					t.Errorf("the plan does not change %s", key)
				}
			}
			text, code := tune(t, "apply", "--profile", tt.profile)
			if code != 0 || !strings.Contains(text, "\nApplied\n") {
				t.Fatalf("apply: code %d\n%s", code, text)
			}
			t.Log(text)
			if left := changes(t, "--profile", tt.profile); len(left) > 0 {
				t.Errorf("%d settings are still to be changed: %+v", len(left), left)
			}
			if got := differing(before, settings(t)); len(got) < len(wanted)/2 {
				t.Errorf("%d settings were to be changed; those that are: %q", len(wanted), got)
			}
			if text, code := tune(t, "verify"); code != 0 || !strings.Contains(text, "of which 0 have drifted") {
				t.Errorf("verify: code %d\n%s", code, text)
			}
			drift(t, wanted)
			text, code = tune(t, "rollback")
			if code != 0 {
				t.Errorf("rollback: code %d\n%s", code, text)
			}
			same(t, before)
			if text, code := tune(t, "rollback"); code != 0 || !strings.Contains(text, "Nothing is to be put back") {
				t.Errorf("rolled back twice: code %d\n%s", code, text)
			}
		})
	}
}

// drift has somebody else change a setting, which verify tells.
func drift(t *testing.T, wanted []item) {
	t.Helper()
	i := slices.IndexFunc(wanted, func(i item) bool { return i.Setting == "net.ipv4.tcp_mem" })
	if i < 0 {
		t.Error("the plan does not change net.ipv4.tcp_mem")
		return
	}
	if err := os.WriteFile(wanted[i].Knob.Path, []byte("10000 20000 30000"), 0o600); err != nil {
		t.Error(err)
	}
	if text, code := tune(t, "verify"); code != 1 || !strings.Contains(text, "of which 1 have drifted") || !strings.Contains(text, "is 10000 20000 30000") {
		t.Errorf("verify after somebody else: code %d\n%s", code, text)
	}
}

// TestVMTuneKilledInTheMiddle: what kill -9 leaves half-done is told, no other apply goes on from there, and rollback restores all.
func TestVMTuneKilledInTheMiddle(t *testing.T) {
	installed(t)
	untuned(t, "2")
	before := settings(t)
	wanted := slices.DeleteFunc(changes(t), func(i item) bool { return i.Knob.Path == "" })
	if len(wanted) < 6 {
		t.Fatalf("only %d files are to be changed: none is in the middle", len(wanted))
	}
	middle, last := wanted[len(wanted)/2].Knob.Path, wanted[len(wanted)-1].Knob.Path
	for try := range 20 {
		killedOnce(t, middle, before[middle])
		read, err := os.ReadFile(last)
		if err != nil {
			t.Fatal(err)
		}
		half := string(read) == before[last]
		done := len(differing(before, settings(t)))
		if half {
			if text, code := tune(t, "verify"); code != 1 || !strings.Contains(text, "did not come to its end") {
				t.Errorf("verify: code %d\n%s", code, text)
			}
			if text, code := tune(t, "apply"); code != 1 || !strings.Contains(text, "weir tune rollback first") {
				t.Errorf("apply: code %d\n%s", code, text)
			}
		}
		if text, code := tune(t, "rollback"); code != 0 {
			t.Fatalf("rollback: code %d\n%s", code, text)
		}
		same(t, before)
		if half {
			t.Logf("killed after %d settings of %d, in attempt %d", done, len(wanted), try+1)
			return
		}
	}
	t.Error("it was never killed in the middle")
}

// killedOnce kills an apply when a file no longer says what it said: it is in the middle, or has just come to its end.
func killedOnce(t *testing.T, path, said string) {
	t.Helper()
	cmd := exec.Command("/usr/bin/weir", "tune", "apply")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		b, err := os.ReadFile(path)
		if err != nil || string(b) != said || time.Now().After(deadline) {
			break
		}
	}
	_ = cmd.Process.Kill()
	err := cmd.Wait()
	if b, _ := os.ReadFile(path); string(b) == said {
		t.Fatalf("%s was not written: %v", path, err)
	}
}
