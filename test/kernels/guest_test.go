package kernels

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience bounds a guest's life, which is two to four minutes, and binaryPatience that of each
// binary in it: a test that hangs shows where.
const (
	patience       = 12 * time.Minute
	binaryPatience = 10 * time.Minute
)

// cpu is the guest's. It has no cmpxchg16b: QEMU 7.2 leaves garbage among the flags after that,
// with which an interrupt ends in a double fault. What else it lacks is slow to emulate, and nothing
// under test depends on it: string moves, which QEMU does byte by byte, a fifth level of page tables,
// protections of the kernel from user space, and vector registers to save.
const cpu = "max,-cx16,-erms,-fsrm,-la57,-smap,-smep,-umip,-pku,-xsave"

// cpus is one, since the guests run side by side, and one that could be added: what is kept per CPU
// is kept for two. The guest with disks runs alone, has two, and a NIC with a queue for each.
const (
	cpus      = "1,maxcpus=2"
	wholeCPUs = "2"
)

// params are the kernel's, all for speed: the clock is read without leaving the emulated code, RCU
// does not wait for the timer, and there is nobody whom mitigations would keep out.
const params = "tsc=reliable rcupdate.rcu_expedited=1 mitigations=off"

// guest is a kernel's directory: vmlinuz, initrd, and what a run left there.
type guest struct {
	dir string
	// root is the kernel's parameters for a root on the first of some disks, files in dir that stay as they are; without any the
	// initrd is the root.
	root  string
	disks []string
}

// whole reports whether the guest is a host of its own, with disks and a NIC, which may boot again.
func (g guest) whole() bool { return len(g.disks) > 0 }

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
	args := []string{
		"qemu-system-x86_64",
		"-accel", "tcg", "-cpu", cpu, "-m", "2G",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-serial", "file:" + g.path("console.log"), "-serial", "file:" + g.path("report.log"),
		"-kernel", g.path("vmlinuz"), "-initrd", g.path("initrd"),
		"-append", "console=ttyS0 quiet panic=-1 " + params + g.root,
	}
	if g.whole() {
		args = append(args, "-smp", wholeCPUs)
		// The other end of its link is in a network namespace that ends with qemu.
		alone := []string{"unshare", "--net"}
		if os.Geteuid() != 0 {
			alone = append(alone, "--map-root-user")
		}
		args = append(append(alone, args...), "-netdev", "tap,id=link,queues=2,script=no,downscript=no",
			"-device", "virtio-net-pci,netdev=link,mq=on,vectors=6")
	} else {
		args = append(args, "-smp", cpus, "-no-reboot")
	}
	for _, disk := range g.disks {
		args = append(args, "-drive", "if=virtio,format=raw,snapshot=on,file="+g.path(disk))
	}
	return exec.CommandContext(ctx, args[0], args[1:]...)
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
	patience := patience
	if g.whole() { // systemd and dpkg have their time too, and it boots twice
		patience *= 5
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := g.command(ctx).CombinedOutput(); err != nil {
		t.Errorf("the guest ended with %v, after at most %v: its last test is at the end of %s\n%s", err, patience, g.path("report.log"), out)
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
	for _, name := range append([]string{"vmlinuz", "initrd"}, g.disks...) {
		f, err := os.Open(g.path(name))
		if err == nil {
			_, err = io.Copy(h, f)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
