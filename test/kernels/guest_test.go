package kernels

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience bounds a guest's life, which is about a minute, and binaryPatience that of each binary
// in it: a test that hangs shows where.
const (
	patience       = 8 * time.Minute
	binaryPatience = 5 * time.Minute
)

// cpu is the guest's. It has no cmpxchg16b: QEMU 7.2 leaves garbage among the flags after that,
// with which an interrupt ends in a double fault.
const cpu = "max,-cx16"

// guest is a kernel's directory: vmlinuz, initrd, and what a run left there.
type guest struct{ dir string }

func (g guest) path(name string) string { return filepath.Join(g.dir, name) }

func (g guest) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(g.path(name))
	if err != nil {
		t.Errorf("%v: run make clean", err)
	}
	return string(b)
}

func (g guest) command(ctx context.Context) *exec.Cmd {
	return exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg", "-cpu", cpu, "-smp", "2", "-m", "2G",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:"+g.path("console.log"), "-serial", "file:"+g.path("report.log"),
		"-kernel", g.path("vmlinuz"), "-initrd", g.path("initrd"),
		"-append", "console=ttyS0 quiet panic=-1")
}

// boot runs the guest to its end, which leaves its logs. If the same bytes passed before it leaves
// the logs of that run, and says so.
func (g guest) boot(t *testing.T) (again string) {
	t.Helper()
	if b, err := os.ReadFile(g.path("passed")); err == nil && string(b) == g.sum(t) {
		return ", as it was: nothing has changed since"
	}
	if err := os.RemoveAll(g.path("passed")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := g.command(ctx).CombinedOutput(); err != nil {
		t.Errorf("the guest ended with %v, after at most %v\n%s", err, patience, out)
	}
	return ""
}

// passed makes boot take the logs as they are until something changes.
func (g guest) passed(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(g.path("passed"), []byte(g.sum(t)), 0o600); err != nil {
		t.Error(err)
	}
}

// sum is that of all that a run depends on.
func (g guest) sum(t *testing.T) string {
	t.Helper()
	h := sha256.New()
	version, err := exec.Command("qemu-system-x86_64", "--version").Output()
	if err != nil {
		t.Errorf("qemu-system-x86_64 --version: %v", err)
	}
	fmt.Fprintf(h, "%s%q", version, g.command(t.Context()).Args)
	for _, name := range []string{"vmlinuz", "initrd"} {
		fmt.Fprint(h, g.read(t, name))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
