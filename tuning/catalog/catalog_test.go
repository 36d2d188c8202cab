package catalog

import (
	"strings"
	"testing"

	"weir/tuning/host"
)

func TestEachSettingSaysWhatItIs(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		for name, text := range map[string]string{"formula": s.Formula, "reason": s.Reason, "source": s.Source, "risk": s.Risk, "check": s.Check, "scope": s.Scope.String()} {
			if text == "" {
				t.Errorf("%s has no %s", s.Key, name)
			}
		}
		if s.Targets == nil || len(s.Profiles) == 0 || seen[s.Key] {
			t.Errorf("%s: no targets, no profiles, or twice", s.Key)
		}
		seen[s.Key] = true
	}
	if len(seen) < 50 {
		t.Errorf("only %d settings", len(seen))
	}
}

// tree is a host of some CPUs and memory, without files of its own.
func tree(cpus int, memoryBytes int64) *host.Host {
	h := &host.Host{Kernel: "6.12.0", Major: 6, Minor: 12, MemoryBytes: memoryBytes, PageBytes: 4096, InitialNetwork: true}
	for i := range cpus {
		h.CPUs = append(h.CPUs, i)
	}
	return h
}

// wantOf is what a setting wants of its first knob, and whether it accepts a value there.
func wantOf(t *testing.T, in Input, key string, is string) (want string, accepts bool) {
	t.Helper()
	for _, s := range All() {
		if s.Key == key {
			for _, target := range s.Targets(in) {
				return target.Want, target.Accept != nil && target.Accept(is)
			}
		}
	}
	t.Fatalf("no %s", key)
	return "", false
}

func TestFormulas(t *testing.T) {
	in := func(conns, queued int, memoryBytes int64) Input {
		return Input{Host: tree(4, memoryBytes), Wanted: Wanted{Profile: Edge, Conns: conns, QueuedBytes: queued}}
	}
	for _, tt := range []struct {
		name, key string
		in        Input
		is, want  string
		accepts   bool
	}{
		{"descriptors", "fs.nr_open", in(1_000_000, 1024, 24<<30), "1048576", "1054096", false},
		{"descriptors that suffice", "fs.nr_open", in(100_000, 1024, 24<<30), "1048576", "109096", true},
		{"a limit that suffices", "nofile", in(100_000, 1024, 24<<30), "Max open files   200000   524288   files", "109096", true},
		{"no limit", "nofile", in(100_000, 1024, 24<<30), "Max open files   unlimited   unlimited   files", "109096", true},
		{"a soft limit below the hard one", "nofile", in(100_000, 1024, 24<<30), "Max open files   1024   524288   files", "109096", false},
		{"pages of tcp_mem: one a conn", "net.ipv4.tcp_mem", in(1_000_000, 1024, 24<<30), "280000 370000 575000", "650000 975000 1300000", false},
		{"what suffices stays", "net.ipv4.tcp_mem", in(400_000, 1024, 24<<30), "280000 370000 575000", "294912 442368 589824", true},
		{"half of the memory at most", "net.ipv4.tcp_mem", in(100_000_000, 65536, 1<<30), "1 2 3", "65536 98304 131072", false},
		{"inverted is not accepted", "net.ipv4.tcp_mem", in(1000, 1024, 24<<30), "900000 600000 900000", "294912 442368 589824", false},
		{"two are not accepted", "net.ipv4.tcp_mem", in(1000, 1024, 24<<30), "600000 900000", "294912 442368 589824", false},
		{"accept queue", "net.core.somaxconn", in(1_000_000, 0, 1<<30), "4096", "20000", false},
		{"accept queue, at most", "net.core.somaxconn", in(50_000_000, 0, 1<<30), "65535", "65535", true},
		{"accept queue, at least", "net.core.somaxconn", in(1, 0, 1<<30), "4095", "4096", false},
		{"cookies always are as good", "net.ipv4.tcp_syncookies", in(1, 0, 1<<30), "2", "1", true},
		{"what the kernel takes and nobody means", "net.ipv4.tcp_syncookies", in(1, 0, 1<<30), "7", "1", false},
		{"orphans: 0 means 8", "net.ipv4.tcp_orphan_retries", in(1, 0, 1<<30), "0", "3", false},
		{"free memory", "vm.min_free_kbytes", in(1, 0, 256<<30), "11264", "2097152", false},
		{"too much free memory", "vm.min_free_kbytes", in(1, 0, 1<<30), "900000", "10485", false},
		{"buckets of conns in a shared table", "thash_entries", in(100_000, 0, 1<<30), "-131072", "131072", true},
		{"the heap's part", "GOMEMLIMIT", in(1_000_000, 1024, 24<<30), "", "14305MiB", false},
		{"no heap fits", "GOMEMLIMIT", in(1_000_000, 1024, 4<<30), "", "none fits", false},
	} {
		if want, accepts := wantOf(t, tt.in, tt.key, tt.is); want != tt.want || accepts != tt.accepts {
			t.Errorf("%s: wants %q, accepts %v", tt.name, want, accepts)
		}
	}
}

// TestWhatIsWantedIsAccepted holds each formula to its own range.
func TestWhatIsWantedIsAccepted(t *testing.T) {
	for _, conns := range []int{1, 10_000, 1_000_000, 100_000_000} {
		for _, cpus := range []int{1, 4, 96} {
			h := tree(cpus, 64<<30)
			h.NICs = []host.NIC{{
				Name: "eth0", Driver: "ice", Up: true, RXQueues: 4, TXQueues: 4, IRQs: []host.IRQ{{Number: 7, Name: "x", Queue: 3}},
				Settings: map[string]string{
					"rings/rx": "1", "rings/rx-max": "512", "rings/tx": "1", "rings/tx-max": "9000", "channels/combined": "1", "channels/combined-max": "8",
					"coalesce/rx-usecs": "0", "features/rx-gro": "off",
				},
			}}
			in := Input{Host: h, Wanted: Wanted{Profile: Edge, Conns: conns, QueuedBytes: 1024}}
			for _, s := range All() {
				for _, target := range safely(s, in) {
					if target.Advice == "" && target.Refuse == "" && target.Accept != nil && !target.Accept(target.Want) {
						t.Errorf("%s of %d conns and %d CPUs does not accept %s", target.Knob.Name, conns, cpus, target.Want)
					}
					if strings.TrimSpace(target.Want) == "" || target.Knob.Name == "" {
						t.Errorf("%s: %+v", s.Key, target)
					}
				}
			}
		}
	}
}

// safely leaves out settings that look into files: the host here has none.
func safely(s Setting, in Input) []Target {
	switch s.Key {
	case "net.core.default_qdisc", "net.ipv4.tcp_congestion_control", "net.netfilter.nf_conntrack_max", "conntrack", "scaling_governor", "cpu_dma_latency", "kernel.io_uring_disabled":
		return nil
	}
	return s.Targets(in)
}
