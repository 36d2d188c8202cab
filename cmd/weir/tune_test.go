package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/tuning"
	"weir/tuning/journal"
)

// dryHost is a directory with a few settings of a host.
func dryHost(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/machine-id": "m\n", "proc/meminfo": "MemTotal: 8388608 kB\n", "proc/sys/kernel/osrelease": "6.12.0\n",
		"proc/sys/net/core/netdev_max_backlog": "1000\n", "proc/sys/net/core/somaxconn": "128\n", "proc/sys/vm/swappiness": "60\n",
	} {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTuneFromPlanToRollback(t *testing.T) {
	root, journal := dryHost(t), filepath.Join(t.TempDir(), "journal")
	swappiness := filepath.Join(root, "proc/sys/vm/swappiness")
	for _, step := range []struct {
		name, command string
		before        func() error
		code          int
		says          string
	}{
		{"nothing is applied", "verify", nil, exitFailed, "there is no journal: weir tune apply begins one"},
		{"nothing is to be rolled back", "rollback", nil, exitFailed, "there is no journal: weir tune apply begins one"},
		{"a plan", "plan", nil, exitOK, "128 -> 4096"},
		{"a plan for sysctl.d", "plan --sysctl", nil, exitOK, "\nvm.swappiness = 10\n"},
		{"a plan for tuned", "plan --tuned", nil, exitOK, "\nvm.swappiness=10\n"},
		{"what is no profile", "plan --profile web", nil, exitUsage, "must be one of"},
		{"what are no conns", "plan --conns 0", nil, exitFailed, "want 1 to 100,000,000"},
		{"two forms", "plan --json --tuned", nil, exitUsage, "can't be used together"},
		{"it is applied", "apply", nil, exitOK, "  vm.swappiness: 60 -> 10\n"},
		{"it is applied again", "apply", nil, exitOK, "Nothing is to be changed."},
		{"it is as applied", "verify", nil, exitOK, "2 settings, of which 0 have drifted"},
		{"it has drifted", "verify", func() error { return os.WriteFile(swappiness, []byte("30\n"), 0o600) }, exitFailed, "applied 10, is 30"},
		{"drift for programs", "verify --json", nil, exitFailed, `"is": "30"`},
		{"it is rolled back", "rollback", nil, exitOK, "  vm.swappiness: 30 -> 60 (somebody else had changed it meanwhile)\n"},
		{"it is rolled back again", "rollback", nil, exitOK, "Nothing is to be put back."},
		{"it is applied anew", "apply", nil, exitOK, "  vm.swappiness: 60 -> 10\n"},
		{"a knob is gone", "verify", func() error { return os.Remove(swappiness) }, exitFailed, "applied 10, and it is not there\n"},
		{"what can be done about it", "verify", nil, exitFailed, "those that are not there are left out after weir tune rollback and another apply"},
		{"which apply alone cannot", "apply", nil, exitOK, "Nothing is to be changed."},
		{"it is rolled back without", "rollback", nil, exitOK, "  vm.swappiness: left out: "},
		{"it is applied without", "apply", nil, exitOK, "net.core.somaxconn: 128 -> 4096"},
		{"nothing has drifted", "verify", nil, exitOK, "1 settings, of which 0 have drifted"},
		{"it is rolled back for good", "rollback", nil, exitOK, "net.core.somaxconn: 4096 -> 128"},
		{"nothing is left to do", "rollback", func() error { return os.WriteFile(swappiness, []byte("60\n"), 0o600) }, exitOK, "Nothing is to be put back."},
		{"no host", "plan --root /nonexistent", nil, exitFailed, "open the tree of a host"},
		{"nothing of a host", "plan --root " + t.TempDir(), nil, exitFailed, "mount /proc, or name a directory that has proc and sys of a host"},
		{"no such interface", "apply --interface none0", nil, exitFailed, `interface "none0": there is no such one`},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				t.Fatal(err)
			}
		}
		args := strings.Fields("tune " + step.command + " --journal " + journal)
		if !strings.Contains(step.command, "--root") {
			args = append(args, "--root", root)
		}
		var out bytes.Buffer
		if code := run(args, &app{stdout: &out, stderr: &out}); code != step.code || !strings.Contains(out.String(), step.says) {
			t.Errorf("%s: exit code %d, %s", step.name, code, &out)
		}
	}
	for name, want := range map[string]string{"vm/swappiness": "60\n", "net/core/somaxconn": "128\n"} {
		if b, err := os.ReadFile(filepath.Join(root, "proc/sys", name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// TestTuneRefusesWhatIsNotItsOwn has journals that are of others, and a weir tune that is at work.
func TestTuneRefusesWhatIsNotItsOwn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, root, path string)
		says   string
		verify bool // is refused too
	}{
		{"of another host", func(t *testing.T, root, _ string) {
			t.Helper()
			rewrite(t, filepath.Join(root, "etc/machine-id"), "m", "n")
		}, "the journal is not of here: it is of the host m, and this is n: name another one with --journal", true},
		{"of a newer weir", func(t *testing.T, _, path string) {
			t.Helper()
			rewrite(t, path, "journal 1 ", "journal 2 ")
		}, "the journal is of a newer weir: it is of version 2, and this weir reads 1: roll back with the weir that wrote it", true},
		{"broken", func(t *testing.T, _, path string) {
			t.Helper()
			rewrite(t, path, "swappiness", "Swappiness")
		}, "the journal is broken: its sum is not that of what it says: nothing of it is used; look there for what was before, and move it away", true},
		{"cut short", func(t *testing.T, _, path string) {
			t.Helper()
			if err := os.Truncate(path, 20); err != nil {
				t.Fatal(err)
			}
		}, "the journal is broken: it does not begin as one: nothing of it is used; look there for what was before, and move it away", true},
		{"no file", func(t *testing.T, _, path string) {
			t.Helper()
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "is a directory: name another one with --journal", true},
		{"of one that is at work", func(t *testing.T, _, path string) {
			t.Helper()
			release, err := journal.At(path).Lock()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := release(); err != nil {
					t.Error(err)
				}
			})
		}, "another weir tune is at work here: wait for it to end", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, path := dryHost(t), filepath.Join(t.TempDir(), "journal")
			tune := func(verb string) (int, string) {
				var out bytes.Buffer
				code := run([]string{"tune", verb, "--root", root, "--journal", path}, &app{stdout: &out, stderr: &out})
				return code, out.String()
			}
			if code, out := tune("apply"); code != exitOK {
				t.Fatal(out)
			}
			tt.change(t, root, path)
			rewrite(t, filepath.Join(root, "proc/sys/vm/swappiness"), "10", "30")
			for _, verb := range []string{"apply", "rollback", "verify"} {
				if verb == "verify" && !tt.verify {
					continue
				}
				if code, out := tune(verb); code != exitFailed || !strings.Contains(out, tt.says) {
					t.Errorf("%s: exit code %d, %s", verb, code, out)
				}
			}
			if b, err := os.ReadFile(filepath.Join(root, "proc/sys/vm/swappiness")); err != nil || string(b) != "30" {
				t.Errorf("it was written all the same: %q, %v", b, err)
			}
		})
	}
}

// TestTuneTellsWhereNothingCanBeDone has a container in which all that would be changed is the host's.
func TestTuneTellsWhereNothingCanBeDone(t *testing.T) {
	root, path := dryHost(t), filepath.Join(t.TempDir(), "journal")
	write(t, filepath.Join(root, ".dockerenv"), "")
	var out bytes.Buffer
	code := run([]string{"tune", "apply", "--root", root, "--journal", path}, &app{stdout: &out, stderr: &out})
	if code != exitFailed || !strings.Contains(out.String(), "this is a container (docker: /.dockerenv is there): set it on the host\n") {
		t.Errorf("exit code %d, %s", code, &out)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a journal was made: %v", err)
	}
}

func TestWhatWasLeftAloneIsCounted(t *testing.T) {
	if n := leftAlone([]tuning.Outcome{{From: "1", To: "2"}, {From: "1", To: "1", Note: "left as it is: read-only file system"}, {From: "1", To: "2", Note: "odd"}}); n != 1 {
		t.Error(n)
	}
}

// rewrite replaces a word of a file.
func rewrite(t *testing.T, path, from, to string) {
	t.Helper()
	b, err := os.ReadFile(path) //nolint:gosec // of the test's own directory
	if err != nil || !bytes.Contains(b, []byte(from)) {
		t.Fatalf("no %q in %s: %v", from, path, err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(from), []byte(to), 1), 0o600); err != nil { //nolint:gosec // of the test's own directory
		t.Fatal(err)
	}
}

func TestTunePlanIsJSON(t *testing.T) {
	var out bytes.Buffer
	code := run([]string{"tune", "plan", "--json", "--root", dryHost(t)}, &app{stdout: &out, stderr: &out})
	var plan struct {
		Profile string
		Conns   int
		Items   []struct{ Setting, Status, Is, Want string }
	}
	if err := json.Unmarshal(out.Bytes(), &plan); err != nil || code != exitOK || plan.Profile != "edge" || plan.Conns != 100_000 || len(plan.Items) < 30 {
		t.Errorf("exit code %d, %v, %+v", code, err, plan)
	}
}
