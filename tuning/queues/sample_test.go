package queues

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// tree writes the files of a host with two CPUs, with some changed; an empty text removes one.
func tree(t *testing.T, changed map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"sys/class/net/eth0/ifindex": "2\n",
		"proc/net/softnet_stat": "00000010 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n" +
			"ffffffff 00000002 00000003 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003 00000000 00000000\n",
		"proc/stat":     "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 1 20 800 5 6 30 7 50 0\ncpu3 10 0 10 900 0 0 80 0 0 0\nintr 1 2 3\nctxt 5\n",
		"proc/softirqs": "                    CPU0       CPU1       CPU2       CPU3\n          HI:          1          0          0          0\n      NET_RX:        100          0          0        400\n",
	}
	for i, name := range linkCounters() {
		files["sys/class/net/eth0/statistics/"+name] = fmt.Sprintln(1000 * (i + 1))
	}
	maps.Copy(files, changed)
	for name, text := range files {
		if text == "" {
			continue
		}
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTreeIsRead(t *testing.T) {
	root := tree(t, nil)
	if err := os.MkdirAll(filepath.Join(root, "sys/class/net/eth0/device"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../bus/pci/drivers/ixgbe", filepath.Join(root, "sys/class/net/eth0/device/driver")); err != nil {
		t.Fatal(err)
	}
	s, err := Read(root, "eth0", now)
	if err != nil {
		t.Fatal(err)
	}
	if s.Index != 2 || s.Driver != "ixgbe" || !s.At.Equal(now) || s.Link["rx_packets"] != 1000 || s.Link["rx_missed_errors"] != 8000 {
		t.Errorf("%+v", s)
	}
	want := map[int]CPU{
		0: {Processed: 16, Squeezed: 1, Softirq: 30, Total: 962, NetRX: 100},
		3: {Processed: 0xffffffff, Dropped: 2, Squeezed: 3, Softirq: 80, Total: 1000, NetRX: 400},
	}
	if !maps.Equal(s.CPUs, want) {
		t.Errorf("CPUs %+v, want %+v", s.CPUs, want)
	}
	if len(s.Missing) != 1 || s.Missing[0] != "ethtool -S eth0" {
		t.Errorf("missing %q", s.Missing)
	}
}

func TestOldKernelsHaveNoCPUNumbers(t *testing.T) {
	s, err := Read(tree(t, map[string]string{"proc/net/softnet_stat": "a 0 0\nb 0 0\n", "proc/stat": "", "proc/softirqs": ""}), "eth0", now)
	if err != nil || s.CPUs[0].Processed != 10 || s.CPUs[1].Processed != 11 {
		t.Errorf("%+v, %v", s.CPUs, err)
	}
}

func TestWhatAHostLacksIsNamed(t *testing.T) {
	s, err := Read(tree(t, map[string]string{
		"proc/net/softnet_stat": "", "proc/stat": "", "proc/softirqs": "",
		"sys/class/net/eth0/statistics/rx_over_errors": "", "sys/class/net/eth0/ifindex": "",
	}), "eth0", now)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Missing, " "); got != "rx_over_errors ethtool -S eth0 /proc/net/softnet_stat /proc/stat /proc/softirqs" {
		t.Errorf("missing %s", got)
	}
}

func TestMalformedFilesAreNamed(t *testing.T) {
	for _, tt := range []struct{ path, text, want string }{
		{"proc/net/softnet_stat", "1 2\n", "line 1: 2 columns"},
		{"proc/net/softnet_stat", "0 0 0\n0 zz 0\n", "line 2, column 2"},
		{"proc/net/softnet_stat", "0 100000000 0\n", "out of range"},
		{"proc/stat", "cpu 1 2 3 4 5 6 7 8\n", "no line of a CPU"},
		{"proc/stat", "cpu0 1 2 3\n", "at least 7 times"},
		{"proc/stat", "cpux 1 2 3 4 5 6 7 8\n", "want cpuN"},
		{"proc/stat", "cpu0 1 2 3 4 5 6 -7 8\n", "cpu0, column 7"},
		{"proc/softirqs", "CPU0\nTIMER: 1\n", "no line NET_RX"},
		{"proc/softirqs", "CPU0 CPU1\nNET_RX: 1\n", "1 columns under 2 names"},
		{"proc/softirqs", "GPU0\nNET_RX: 1\n", "column 1"},
		{"proc/softirqs", "CPU0\nNET_RX: many\n", "NET_RX of CPU0"},
		{"sys/class/net/eth0/ifindex", "two\n", "two"},
		{"sys/class/net/eth0/statistics/rx_dropped", "-1\n", "-1"},
	} {
		_, err := Read(tree(t, map[string]string{tt.path: tt.text}), "eth0", now)
		if err == nil || !strings.Contains(err.Error(), tt.path) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s with %q: %v", tt.path, tt.text, err)
		}
	}
}

func TestInterfaceThatIsNotThereIsAnError(t *testing.T) {
	root := tree(t, nil)
	if _, err := Read(root, "eth1", now); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "no such interface") {
		t.Errorf("eth1: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../eth0"} {
		if _, err := Read(root, name, now); err == nil || !strings.Contains(err.Error(), "ip link") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestDriverMayHaveNoCountersOrFail(t *testing.T) {
	s := Source{Root: tree(t, nil)}
	s.Driver = func(iface string) (string, map[string]uint64, error) {
		return "dummy", nil, fmt.Errorf("ask %s: %w", iface, errors.ErrUnsupported)
	}
	got, err := s.Read("eth0", now)
	if err != nil || got.Driver != "dummy" || len(got.Missing) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	s.Driver = func(string) (string, map[string]uint64, error) { return "", nil, os.ErrPermission }
	if _, err := s.Read("eth0", now); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "counters of eth0") {
		t.Errorf("got %v", err)
	}
}

func TestTableIsSound(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range counters() {
		if _, err := path.Match(c.name, "x"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if key := c.driver + " " + c.name; seen[key] {
			t.Errorf("%s is there twice", key)
		} else {
			seen[key] = true
		}
		if c.port && c.fate != beforeXDP {
			t.Errorf("%s %s: a port is before XDP", c.driver, c.name)
		}
	}
}

func FuzzProcfs(f *testing.F) {
	f.Add("0 0 0\n", "cpu0 1 2 3 4 5 6 7 8\n", "CPU0\nNET_RX: 1\n")
	f.Add("", "cpu", "\n")
	f.Fuzz(func(t *testing.T, softnet, stat, softirqs string) {
		cpus := map[int]CPU{}
		_ = parseSoftnet(softnet, cpus) // whatever is in them, they return
		_ = parseStat(stat, cpus)
		_ = parseSoftirqs(softirqs, cpus)
		for id, c := range cpus {
			if id < 0 || c.Softirq > c.Total && c.Total > 0 && !overflows(stat) {
				t.Errorf("CPU %d: %+v", id, c)
			}
		}
	})
}

// overflows reports whether times in a text may add up to more than 64 bits.
func overflows(stat string) bool {
	for f := range strings.FieldsSeq(stat) {
		if len(f) > 17 {
			return true
		}
	}
	return false
}
