package tuning

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree is a host on which all is well, with some files changed; an empty text removes one.
func tree(t *testing.T, changed map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"proc/sys/kernel/osrelease":                                       "6.18.44",
		"sys/kernel/btf/vmlinux":                                          "x",
		"sys/class/net/eth0/mtu":                                          "1500",
		"proc/sys/net/core/somaxconn":                                     "4096",
		"proc/sys/net/ipv4/tcp_max_syn_backlog":                           "8192",
		"proc/sys/net/ipv4/ip_local_port_range":                           "1024\t65535",
		"sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
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
	return Host{Root: root, MaxConns: 1000, Descriptors: 2000, Privileged: true, Interface: "eth0", Storage: "always", Synchronized: true}
}

func TestWellHostHasNothingToMend(t *testing.T) {
	for _, f := range wellHost(tree(t, nil)).Examine() {
		if f.Level != OK || f.Why != "" || f.Mend != "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestEachTroubleIsFoundWithItsRemedy(t *testing.T) {
	for _, tt := range []struct {
		check   string
		changed map[string]string
		with    func(h *Host)
		level   Level
		mend    string
	}{
		{"kernel", map[string]string{"proc/sys/kernel/osrelease": "5.10.0-28-amd64"}, nil, Fail, "5.12"},
		{"kernel", map[string]string{"proc/sys/kernel/osrelease": "odd"}, nil, Warn, ""},
		{"kernel types (BTF)", map[string]string{"sys/kernel/btf/vmlinux": ""}, nil, Warn, "CONFIG_DEBUG_INFO_BTF"},
		{"privileges", nil, func(h *Host) { h.Privileged = false }, Warn, "cap_bpf"},
		{"interface", nil, func(h *Host) { h.Interface = "eth1" }, Fail, "ls /sys/class/net"},
		{"interface", map[string]string{"sys/class/net/eth0/mtu": "9000"}, nil, Warn, "mtu 1500"},
		{"descriptors", nil, func(h *Host) { h.MaxConns = 5000 }, Fail, "ulimit -n 9096"},
		{"accept queue", map[string]string{"proc/sys/net/core/somaxconn": "128"}, nil, Warn, "net.core.somaxconn=4096"},
		{"SYN queue", map[string]string{"proc/sys/net/ipv4/tcp_max_syn_backlog": ""}, nil, Warn, ""},
		{"ephemeral ports", map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "32768 60999"}, nil, Warn, "ip_local_port_range"},
		{"clock", map[string]string{"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"}, nil, Warn, "tsc"},
		{"clock's time", nil, func(h *Host) { h.Synchronized = false }, Warn, "chrony"},
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
