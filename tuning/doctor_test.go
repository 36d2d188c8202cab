package tuning

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tree is a host on which all is well, with some files changed; an empty text removes one.
func tree(t *testing.T, changed map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"proc/sys/kernel/osrelease": "6.18.44",
		"sys/class/net/eth0/mtu":    "1500",
		"sys/devices/system/clocksource/clocksource0/current_clocksource":   "tsc",
		"sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm ",
	}
	maps.Copy(files, changed)
	for path, text := range files {
		if text == "" {
			continue
		}
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func wellHost(root string) Host {
	return Host{Root: root, MaxConns: 1000, Descriptors: 2000, Privileged: true, Interface: "eth0", Storage: "always", Clock: Clock{Synchronized: true, MaxError: time.Millisecond}}
}

func TestWellHostHasNothingToMend(t *testing.T) {
	for _, f := range wellHost(tree(t, nil)).Examine() {
		if f.Level != OK || f.Why != "" || f.Mend != "" {
			t.Errorf("%+v", f)
		}
	}
}

const (
	clocksource  = "sys/devices/system/clocksource/clocksource0/current_clocksource"
	clocksources = "sys/devices/system/clocksource/clocksource0/available_clocksource"
)

func TestEachTroubleIsFoundWithItsRemedy(t *testing.T) {
	for _, tt := range []struct {
		check   string
		changed map[string]string
		with    func(h *Host)
		level   Level
		mend    string
	}{
		{"kernel", map[string]string{"proc/sys/kernel/osrelease": ""}, nil, Warn, ""},
		{"privileges", nil, func(h *Host) { h.Privileged = false }, Warn, "cap_bpf"},
		{"interface", nil, func(h *Host) { h.Interface = "eth1" }, Fail, "ls /sys/class/net"},
		{"descriptors", nil, func(h *Host) { h.MaxConns = 5000 }, Fail, "ulimit -n 9346"},
		{"descriptors", nil, func(h *Host) { h.MaxConns = 1900 }, Warn, "LimitNOFILE=6091"},
		{"clock source", map[string]string{clocksource: "hpet"}, nil, Warn, "echo tsc >"},
		{"clock source", map[string]string{clocksource: "xen", clocksources: "xen tsc"}, nil, Warn, "clocksource=tsc"},
		{"clock source", map[string]string{clocksource: "hpet", clocksources: "hpet acpi_pm"}, nil, Warn, "dmesg | grep"},
		{"clock source", map[string]string{clocksource: "new", clocksources: "new kvm-clock"}, nil, Warn, "echo kvm-clock >"},
		{"clock source", map[string]string{clocksource: "hpet", clocksources: ""}, nil, Warn, ""},
		{"clock source", map[string]string{clocksource: ""}, nil, Warn, ""},
		{"clock's time", nil, func(h *Host) { h.Clock.Synchronized = false }, Warn, "chrony"},
		{"clock's time", nil, func(h *Host) { h.Clock.MaxError = time.Minute }, Warn, "chronyc tracking"},
		{"storage", nil, func(h *Host) { h.Storage = "interval" }, OK, "always"},
		{"storage", nil, func(h *Host) { h.Storage = "memory" }, OK, "--data"},
	} {
		h := wellHost(tree(t, tt.changed))
		if tt.with != nil {
			tt.with(&h)
		}
		all := h.Examine()
		for _, f := range all {
			if f.Check == tt.check && (f.Level != tt.level || !strings.Contains(f.Mend, tt.mend) || f.Why == "") {
				t.Errorf("%s: %+v", tt.check, f)
			}
			if f.Check != tt.check && f.Level != OK {
				t.Errorf("%s: %+v too", tt.check, f)
			}
		}
		if Failed(all) != (tt.level == Fail) {
			t.Errorf("%s: failed is %v", tt.check, Failed(all))
		}
	}
}
