package units

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// moving are settings of /proc/sys and /sys that say another thing each time, or that the kernel sets itself.
var moving = regexp.MustCompile(`^/proc/sys/(fs/(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota/)|kernel/(random/|ns_last_pid|pty/nr))` +
	`|/byte_queue_limits/limit$`)

// settings are all that this host says of how it is set, by path, or by the command of ethtool that shows it: what can be read below
// /proc/sys, what can be written below the other directories. What cannot be read has its error.
func settings(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	add := func(path string) {
		if moving.MatchString(path) {
			return
		}
		b, err := os.ReadFile(path)
		if err != nil {
			b = []byte("error: " + errors.Unwrap(err).Error())
		}
		all[path] = string(b)
	}
	below := func(dir string, of fs.FileMode) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // it has just gone
				return nil
			case err != nil:
				return err
			case d.IsDir() && strings.HasSuffix(path, "/binfmt_misc"): // to look would mount it
				return fs.SkipDir
			case !d.Type().IsRegular():
				return nil
			}
			if info, err := d.Info(); err == nil && info.Mode()&of == of {
				add(path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const read, write = 0o400, 0o600
	below("/proc/sys", read)
	below("/sys/kernel/mm", write)
	below("/sys/devices/system/cpu", write)
	below("/proc/irq", write)
	for _, dir := range glob(t, "/sys/class/net/*") {
		if at, err := filepath.EvalSymlinks(dir); err != nil {
			t.Fatal(err)
		} else {
			below(at, write)
		}
	}
	for _, nic := range nics(t) {
		for _, show := range []string{"-c", "-g", "-k", "-l", "-a"} {
			out, err := exec.Command("ethtool", show, nic).CombinedOutput()
			if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			all["ethtool "+show+" "+nic] = string(out)
		}
	}
	return all
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: nothing, %v", pattern, err)
	}
	return paths
}

// nics are the interfaces that have a device.
func nics(t *testing.T) (names []string) {
	t.Helper()
	for _, path := range glob(t, "/sys/class/net/*/device/driver") {
		names = append(names, strings.Split(path, "/")[4])
	}
	return names
}

// differing are the settings that are not in both alike, sorted.
func differing(before, after map[string]string) (paths []string) {
	for path, text := range before {
		if now, there := after[path]; !there || now != text {
			paths = append(paths, path)
		}
	}
	for path := range after {
		if _, there := before[path]; !there {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// same holds the host to what it said before, every byte.
func same(t *testing.T, before map[string]string) {
	t.Helper()
	after := settings(t)
	for _, path := range differing(before, after) {
		t.Errorf("%s was %q and is %q", path, before[path], after[path])
	}
	t.Logf("%d settings are as they were", len(after))
}
