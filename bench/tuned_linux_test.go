package bench

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"weir/bpf/bpftest"
	"weir/tuning"
)

// TestNetnsAProfileIsOnInALabAndOnTheHostAndThenBack applies all of a profile for real: to an edge's network, its end of
// the cable, and this host.
func TestNetnsAProfileIsOnInALabAndOnTheHostAndThenBack(t *testing.T) {
	bpftest.Require(t, "5.15", "tuning of network namespaces")
	// In the directory of real runs: if this one is killed, the next of either puts the host back.
	here, closer, err := tuning.Open("", filepath.Join(t.TempDir(), "none"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close() //nolint:errcheck // it was only read
	release, err := beginTuning(tuningDir, here, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer release() //nolint:errcheck // a lock
	r := &tuningRun{cfg: TuningConfig{}.withDefaults(), dir: tuningDir, progress: io.Discard}
	edge := func(lab *Lab, path string) (text string) {
		err := lab.Edge.Do(func() error {
			b, err := os.ReadFile(path) //nolint:gosec // of the test's own list
			text = string(b)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return text
	}
	host := func(path string) string {
		b, err := os.ReadFile(path) //nolint:gosec // of the test's own list
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	const (
		somaxconn  = "/proc/sys/net/core/somaxconn"
		swappiness = "/proc/sys/vm/swappiness"
		budget     = "/proc/sys/net/core/netdev_budget"
	)
	hostsSomaxconn, hosts := host(somaxconn), host(swappiness)+host(budget)
	settings := profileGroup(r.cfg.Profile).settings
	broken := errors.New("broken")
	for _, want := range []error{nil, broken} {
		var before, meanwhile map[string]string
		err := r.inLab(settings, func(lab *Lab, tn *tuned) error {
			before = tn.before
			return tn.during(io.Discard, func(changes []TuningChange) error {
				meanwhile = map[string]string{}
				for _, c := range changes {
					if c.Note == "" {
						meanwhile[c.Knob] = c.To
					}
				}
				if got := edge(lab, somaxconn); got != "20000\n" || host(somaxconn) != hostsSomaxconn {
					t.Errorf("the edge has somaxconn %q, the host %q", got, host(somaxconn))
				}
				if got, _ := tn.system.Files.Read("/sys/class/net/edge0/gro_flush_timeout"); string(got) != "20000\n" {
					t.Errorf("the cable has gro_flush_timeout %q", got)
				}
				return want
			})
		})
		if !errors.Is(err, want) || errors.Is(err, errNotRestored) {
			t.Errorf("%v, want %v", err, want)
		}
		for knob, to := range map[string]string{"net.ipv4.tcp_rmem": "4096 16384 1048576", "/sys/class/net/edge0/napi_defer_hard_irqs": "2", "vm.stat_interval": "10", "kernel.timer_migration": "0"} {
			if is, turned := meanwhile[knob]; turned && is != to {
				t.Errorf("%s was %s", knob, is)
			}
		}
		if len(meanwhile) < 10 || len(before) <= len(meanwhile) {
			t.Errorf("%d of %d knobs were turned: %v", len(meanwhile), len(before), meanwhile)
		}
		if host(somaxconn) != hostsSomaxconn || host(swappiness)+host(budget) != hosts {
			t.Error("the host is not as it was")
		}
	}
}

// TestNetnsEachFileIsWhereItBelongs tells an edge's files from the host's.
func TestNetnsEachFileIsWhereItBelongs(t *testing.T) {
	bpftest.Require(t, "5.15", "tuning of network namespaces")
	lab, err := newPlainLab("weir-files-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	by, err := tunableOf(lab)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := by.Close(); err != nil {
			t.Error(err)
		}
	}()
	for path, want := range map[string]bool{
		"/proc/sys/net/core/somaxconn":                        true,
		"/proc/sys/net/ipv4/tcp_rmem":                         true,
		"/proc/sys/net/ipv4/tcp_available_congestion_control": false,
		"/proc/sys/net/ipv4/tcp_mem":                          false,
		"/proc/sys/net/core/netdev_budget":                    false,
		"/proc/sys/net/ipv4/nothing":                          false,
		"/proc/sys/vm/swappiness":                             false,
		"/sys/class/net":                                      true,
		"/sys/class/net/edge0/gro_flush_timeout":              true,
		"/sys/kernel/mm/transparent_hugepage/enabled":         false,
	} {
		if got := by.files.isEdges(path); got != want {
			t.Errorf("%s is the edge's: %v", path, got)
		}
	}
	if all, err := by.files.List("/sys/class/net"); err != nil || !slices.Contains(all, LabEdgeEnd) || slices.Contains(all, LabLoadEnd) {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := by.files.Link("/sys/class/net/edge0/device"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a cable has a device: %v", err)
	}
	if _, err := by.files.Read("/sys/class/net/nothing0/mtu"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if all, err := by.Devices.All(LabEdgeEnd); err != nil || all["features/rx-gro"] != "on" {
		t.Errorf("%v, %v", all, err)
	}
	if c, err := lab.listening(); err != nil || c != (listens{}) {
		t.Errorf("%+v, %v", c, err)
	}
}
