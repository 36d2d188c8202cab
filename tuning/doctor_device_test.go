package tuning

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"weir/tuning/catalog"
)

// TestDevicesAreExamined looks at the five hosts, with some files changed, as the doctor does.
func TestDevicesAreExamined(t *testing.T) {
	for _, tt := range []struct {
		name, shape, iface string
		changed            shape
		check              string
		level              Level
		found, mend        string
	}{
		{"defaults", "small", "eth0", nil, "settings", Warn, "profile edge: ", "weir tune plan --profile edge --conns 20000"},
		{"no room", "small", "eth0", nil, "capacity", Warn, "832 conns, bounded by descriptors of this process", "weir tune plan --profile edge --conns 20000 shows each wall"},
		{"room", "small", "eth0", shape{"proc/self/limits": "Max open files 30000 30000 files\n"}, "capacity", OK, "27,888 conns, bounded by descriptors of this process", ""},
		{"an accept queue that suffices", "small", "eth0", nil, "accept queue", OK, "net.core.somaxconn = 4096", ""},
		{"an accept queue that does not", "small", "eth0", shape{"proc/sys/net/core/somaxconn": "128\n"}, "accept queue", Warn, "128, 4096 would be right", "sysctl -w net.core.somaxconn=\"4096\""},
		{"a queue of SYNs", "small", "eth0", nil, "SYN queue", Warn, "1024, 4096 would be right", "sysctl -w net.ipv4.tcp_max_syn_backlog"},
		{"a sysctl that is not there", "small", "eth0", shape{"proc/sys/net/ipv4/tcp_max_syn_backlog": "->nowhere"}, "SYN queue", OK, "is not there", ""},
		{"the host's, in a container", "container", "eth0", shape{"proc/sys/fs/nr_open": "1024\n"}, "descriptors of a process", Warn, "would be right", "set it on the host"},
		{"ports of a gateway", "virtio", "eth0", nil, "ephemeral ports", Warn, "32768 60999", "ip_local_port_range=\"10240 65535\""},
		{"a driver", "small", "eth0", nil, "driver", OK, "eth0: virtio_net", ""},
		{"no device", "metal", "docker0", nil, "driver", OK, "docker0: no device", ""},
		{"a queue a CPU", "small", "eth0", nil, "queues", OK, "eth0: 2 to receive, 2 to send, 2 CPUs", ""},
		{"fewer queues than CPUs", "metal", "ens1f0", nil, "queues", Warn, "16 to receive", "ethtool -L ens1f0 combined 64"},
		{"interrupts whose CPUs are not known", "small", "eth0", nil, "interrupts", OK, "eth0: 4 of queues", ""},
		{"interrupts spread", "small", "eth0", effective(0, 1, 0, 1), "interrupts", OK, "eth0: 4 of queues, on 2 CPUs", ""},
		{"interrupts on one CPU", "small", "eth0", effective(1, 1, 1, 0), "interrupts", Warn, "CPU 1 has 3: virtio2-input.0 virtio2-output.0 virtio2-input.1", "weir tune apply"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := shapes()[tt.shape]
			maps.Copy(s, tt.changed)
			tn, closer, err := Open(plant(t, s), filepath.Join(t.TempDir(), "journal"), "")
			if err != nil {
				t.Fatal(err)
			}
			defer closer.Close() //nolint:errcheck // it was read
			wanted := catalog.Wanted{Profile: catalog.Edge, Conns: 20_000}
			if tt.shape == "virtio" {
				wanted.Profile = catalog.Gateway
			}
			all, err := tn.Examine(wanted, tt.iface)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				if f.Check != tt.check {
					continue
				}
				if f.Level != tt.level || !strings.Contains(f.Found, tt.found) || !strings.Contains(f.Mend, tt.mend) || (f.Mend == "") != (tt.mend == "") || f.Level != OK && f.Why == "" {
					t.Errorf("%+v", f)
				}
				return
			}
			t.Errorf("no finding %s: %+v", tt.check, all)
		})
	}
}

// effective has the four interrupts of the small host's queues on CPUs.
func effective(cpus ...int) shape {
	s := shape{}
	for i, cpu := range cpus {
		s[fmt.Sprintf("proc/irq/%d/effective_affinity_list", 38+i)] = fmt.Sprint(cpu)
	}
	return s
}
