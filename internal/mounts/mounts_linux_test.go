package mounts

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// alone calls f in a mount namespace of its own, from which nothing comes back.
func alone(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting is root's; CI is root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its namespace with it
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// unmount takes all file systems of a kind away.
func unmount(t *testing.T, kind string) {
	t.Helper()
	for {
		at, err := mounted(kind)
		if err != nil {
			t.Error(err)
		}
		if at == "" {
			return
		}
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestTracingIsMountedOnce(t *testing.T) {
	alone(t, func() {
		unmount(t, "tracefs")
		for range 2 {
			if err := Tracing(); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat("/sys/kernel/tracing/events/syscalls"); err != nil {
			t.Error(err)
		}
		all, err := os.ReadFile("/proc/thread-self/mounts")
		if n := strings.Count(string(all), " tracefs "); err != nil || n != 1 {
			t.Errorf("%d are mounted, %v", n, err)
		}
	})
}

func TestCgroup2IsMountedWhereItIsNot(t *testing.T) {
	alone(t, func() {
		if err := unix.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
			t.Error(err)
		}
		unmount(t, "cgroup2")
		for range 2 {
			if at, err := Cgroup2(); err != nil || at != "/run/weir/cgroup2" {
				t.Errorf("%q, %v", at, err)
			}
		}
		if _, err := os.Stat("/run/weir/cgroup2/cgroup.procs"); err != nil {
			t.Error(err)
		}
	})
}

func TestBPFIsMountedBelowTheUsualPlaceAlone(t *testing.T) {
	alone(t, func() {
		unmount(t, "bpf")
		if err := BPF("/sys/fs/bpf/weir/eth0"); err != nil {
			t.Error(err)
		}
		if at, err := mounted("bpf"); err != nil || at != "/sys/fs/bpf" {
			t.Errorf("it is mounted on %q, %v", at, err)
		}
		if err := BPF(t.TempDir()); err == nil || !strings.Contains(err.Error(), "mount -t bpf bpf DIR") {
			t.Errorf("another directory: %v", err)
		}
	})
}

// Whoever may not mount is told what root is to do.
func TestMountSaysWhatToDo(t *testing.T) {
	alone(t, func() {
		unmount(t, "tracefs")
		var none [2]unix.CapUserData
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil { // of this thread
			t.Error(err)
		}
		err := Tracing()
		if !errors.Is(err, unix.EPERM) || !strings.HasSuffix(err.Error(), "as root: mount -t tracefs tracefs /sys/kernel/tracing") {
			t.Errorf("%v", err)
		}
	})
}
