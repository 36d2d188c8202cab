package bench

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/tuning"
	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

// dryHost is a host in a directory, with a lab's edge in the same.
func dryHost(t *testing.T) (root string, system knob.System) {
	t.Helper()
	root = t.TempDir()
	for path, text := range map[string]string{
		"etc/machine-id":                                 "bench\n",
		"proc/meminfo":                                   "MemTotal: 8388608 kB\n",
		"proc/sys/kernel/osrelease":                      "6.12.0\n",
		"proc/sys/kernel/random/boot_id":                 "1\n",
		"proc/sys/net/core/netdev_max_backlog":           "1000\n",
		"proc/sys/net/core/netdev_budget":                "300\n",
		"proc/sys/net/ipv4/tcp_fin_timeout":              "60\n",
		"proc/sys/vm/swappiness":                         "60\n",
		"proc/sys/vm/zone_reclaim_mode":                  "0\n",
		"sys/class/net/edge0/type":                       "1\n",
		"sys/class/net/edge0/operstate":                  "up\n",
		"sys/class/net/edge0/queues/rx-0/rps_cpus":       "0\n",
		"sys/class/net/edge0/napi_defer_hard_irqs":       "0\n",
		"sys/class/net/edge0/gro_flush_timeout":          "0\n",
		"sys/devices/system/cpu/online":                  "0-1\n",
		"sys/kernel/mm/transparent_hugepage/enabled":     "[always] madvise never\n",
		"ethtool/edge0/features/rx-gro":                  "off\n",
		"ethtool/edge0/features/tx-generic-segmentation": "off\n",
		"ethtool/edge0/features/tx-tcp-segmentation":     "on\n",
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := host.OpenTree(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	return root, knob.System{Files: tree, Devices: knob.DryDevices{Files: tree}}
}

// texts are all files below a directory.
func texts(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path) //nolint:gosec // a test's own
		all[strings.TrimPrefix(path, root)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// edges are what a dry host's edge has of its own.
func edges(k knob.Knob) bool {
	return k.Path == "" || strings.HasPrefix(k.Path, netDevices) || strings.Contains(k.Path, "/ipv4/")
}

func dryTuned(t *testing.T, system knob.System, dir string, settings ...string) *tuned {
	t.Helper()
	tn, err := newTuned(system, edges, TuningConfig{}.withDefaults().wanted(), settings, dir)
	if err != nil {
		t.Fatal(err)
	}
	return tn
}

func TestOnlyTheSettingsOfATurnAreTurnedAndAllIsPutBack(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		want     []string // knobs that are others meanwhile
	}{
		{"none", nil, nil},
		{"of the edge", []string{"net.ipv4.tcp_fin_timeout", "napi_defer_hard_irqs"}, []string{"/proc/sys/net/ipv4/tcp_fin_timeout", "/sys/class/net/edge0/napi_defer_hard_irqs"}},
		{"of the host", []string{"vm.swappiness", "transparent_hugepage/enabled"}, []string{"/proc/sys/vm/swappiness", "/sys/kernel/mm/transparent_hugepage/enabled"}},
		{"of both, and a device's", []string{"net.core.netdev_budget", "rps_cpus", "features/rx-gro"}, []string{"/ethtool/edge0/features/rx-gro", "/proc/sys/net/core/netdev_budget", "/sys/class/net/edge0/queues/rx-0/rps_cpus"}},
		{"as it should be", []string{"vm.zone_reclaim_mode", "features/tx-tcp-segmentation"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, system := dryHost(t)
			before := texts(t, root)
			ran := false
			err := dryTuned(t, system, t.TempDir(), tt.settings...).during(io.Discard, func(changes []TuningChange) error {
				ran = true
				var others []string
				for path, text := range texts(t, root) {
					if before[path] != text {
						others = append(others, path)
					}
				}
				slices.Sort(others)
				if !slices.Equal(others, tt.want) || len(changes) != len(tt.want) {
					t.Errorf("turned %q, told %+v", others, changes)
				}
				for _, c := range changes {
					if !slices.Contains(tt.settings, c.Setting) || c.From == c.To || c.Note != "" {
						t.Errorf("%+v", c)
					}
				}
				return nil
			})
			if err != nil || !ran {
				t.Errorf("%v, ran %v", err, ran)
			}
			if after := texts(t, root); !maps.Equal(before, after) {
				t.Errorf("%v, were %v", after, before)
			}
		})
	}
}

func TestAHostIsPutBackHoweverATurnEnds(t *testing.T) {
	broken := errors.New("broken")
	for name, f := range map[string]func([]TuningChange) error{
		"error": func([]TuningChange) error { return broken },
		"panic": func([]TuningChange) error { panic(broken) },
	} {
		root, system := dryHost(t)
		before := texts(t, root)
		err := func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = broken
				}
			}()
			return dryTuned(t, system, t.TempDir(), "vm.swappiness", "rps_cpus").during(io.Discard, f)
		}()
		if !errors.Is(err, broken) || !maps.Equal(before, texts(t, root)) {
			t.Errorf("%s: %v, %v", name, err, texts(t, root))
		}
	}
}

func TestWhatAnotherOneChangesIsTold(t *testing.T) {
	root, system := dryHost(t)
	put := func(path, text string) {
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	// A setting of the turn: it is not what was measured.
	err := dryTuned(t, system, t.TempDir(), "vm.swappiness").during(io.Discard, func([]TuningChange) error {
		put("proc/sys/vm/swappiness", "33\n")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "vm.swappiness was applied as 10 and is 33") || errors.Is(err, errNotRestored) {
		t.Error(err)
	}
	// Another setting of the profile: it is not as it was.
	var told strings.Builder
	err = dryTuned(t, system, t.TempDir(), "vm.swappiness").during(&told, func([]TuningChange) error {
		put("proc/sys/net/core/netdev_budget", "333\n")
		return nil
	})
	if !errors.Is(err, errNotRestored) || !strings.Contains(err.Error(), `net.core.netdev_budget said "300\n", and says "333\n"`) || !strings.Contains(told.String(), "NOT RESTORED") {
		t.Errorf("%v, %s", err, &told)
	}
}

func TestARunBeginsOnAHostThatIsNotTuned(t *testing.T) {
	root, system := dryHost(t)
	before, dir, path := texts(t, root), t.TempDir(), filepath.Join(t.TempDir(), "tune.journal")
	here := &tuning.Tuner{System: system, Journal: journal.At(path), Now: "now"}
	// One that is killed leaves its settings, and the next one puts them back.
	if _, err := dryTuned(t, system, dir, "vm.swappiness", "rps_cpus").apply(); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	release, err := beginTuning(dir, here, &told)
	if err != nil {
		t.Fatal(err)
	}
	if told.String() != "a run that was killed had left vm.swappiness: 10 -> 60\n" || texts(t, root)["/proc/sys/vm/swappiness"] != before["/proc/sys/vm/swappiness"] {
		t.Errorf("%s, %v", &told, texts(t, root))
	}
	if _, err := beginTuning(dir, here, io.Discard); !errors.Is(err, journal.ErrBusy) {
		t.Errorf("two at once: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	// weir tune apply is in force, or was; or it cannot be told.
	wanted := catalog.Wanted{Profile: catalog.Edge, Conns: 1000}
	if _, err := here.Apply(wanted, func(*tuning.Plan) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := beginTuning(dir, here, io.Discard); err == nil || !strings.Contains(err.Error(), "weir tune rollback first") {
		t.Error(err)
	}
	if _, err := here.Rollback(); err != nil {
		t.Fatal(err)
	}
	if release, err = beginTuning(dir, here, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(release(), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := beginTuning(dir, here, io.Discard); !errors.Is(err, journal.ErrBroken) {
		t.Error(err)
	}
}

func TestASieveLetsOnlySomeKnobsBeTurned(t *testing.T) {
	_, system := dryHost(t)
	known := map[string]bool{"edge0 features/rx-gro": true, "edge0 features/tx-generic-segmentation": true}
	may := map[string]bool{"/proc/sys/vm/swappiness": true, "edge0 features/rx-gro": true}
	s := sieve(system, known, may)
	if err := s.Write(knob.Sysctl("vm.swappiness", knob.Number), "5"); err != nil {
		t.Error(err)
	}
	if err := s.Write(knob.Sysctl("vm.zone_reclaim_mode", knob.Number), "1"); !errors.Is(err, knob.ErrReadOnly) {
		t.Error(err)
	}
	all, err := s.Devices.All("edge0")
	if want := map[string]string{"features/rx-gro": "off\n", "features/tx-tcp-segmentation": "on\n"}; err != nil || !maps.Equal(all, want) {
		t.Errorf("%v, %v", all, err)
	}
}
