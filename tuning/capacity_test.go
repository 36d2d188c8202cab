package tuning

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"weir/tuning/catalog"
	"weir/tuning/host"
)

// wallOf is one of a plan's by its name.
func wallOf(p *Plan, name string) (Wall, bool) {
	for _, w := range p.Capacity.Walls {
		if w.Name == name {
			return w, true
		}
	}
	return Wall{}, false
}

func TestCapacityFollowsFromTheHost(t *testing.T) {
	plans := map[string]*Plan{}
	for name := range shapes() {
		plans[name] = planOf(t, name)
	}
	for _, tt := range []struct {
		name, shape, wall string
		want              Wall
	}{
		{"1024 descriptors less 128 and 64", "small", "descriptors of this process", Wall{Now: 832, Applied: 832, Advised: 106_984}},
		{"a process may have more once the plan is applied", "metal", "descriptors a process may have", Wall{Now: 1_046_464, Applied: 2_101_984, Advised: 2_101_984}},
		{"files less those that are open", "small", "open files of the host", Wall{Now: math.MaxInt64 - 1984, Applied: math.MaxInt64 - 1984, Advised: math.MaxInt64 - 1984}},
		{"a watch each", "small", "watches of epoll", Wall{Now: 464_320, Applied: 464_320, Advised: 464_320}},
		{"two watches of a conn that goes upstream", "virtio", "watches of epoll", Wall{Now: 464_320, Applied: 464_320, Advised: 464_320}},
		{"a page each", "small", "memory of TCP", Wall{Now: 49_152, Applied: 130_000, Advised: 130_000}},
		{"entries that are left", "metal", "table of conntrack", Wall{Now: 191_141, Applied: 3_928_997, Advised: 3_928_997}},
		{"ports of a gateway are no wall of its clients", "virtio", "ports", Wall{Now: 28_232, Applied: 55_296, Advised: 55_296, Each: "to each address and port upstream"}},
		{"ports of a load are", "plain", "ports", Wall{Now: 28_232, Applied: 55_296, Advised: 55_296}},
		{"the cgroup's memory", "container", "memory", Wall{Now: 412_148, Applied: 412_148, Advised: 412_148}},
	} {
		tt.want.Name = tt.wall
		if got, ok := wallOf(plans[tt.shape], tt.wall); !ok || got != tt.want {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	for _, tt := range []struct{ shape, wall string }{{"container", "memory of TCP"}, {"small", "ports"}, {"small", "table of conntrack"}} {
		if got, ok := wallOf(plans[tt.shape], tt.wall); ok {
			t.Errorf("%s has no such wall: %+v", tt.shape, got)
		}
	}
}

func TestTheKernelsCachesAreRead(t *testing.T) {
	for shape, want := range map[string]int64{"small": 4020, "plain": 3704, "container": 4096} {
		c := planOf(t, shape).Capacity
		if c.KernelBytes != want || (len(c.Kernel) == 0) != (shape == "container") {
			t.Errorf("%s: %d bytes, %+v", shape, c.KernelBytes, c.Kernel)
		}
	}
	s := shapes()["small"]
	s["sys/kernel/slab/TCPv6/objs_per_slab"] = "12\n"
	for file, text := range map[string]string{"filp/objs_per_slab": "many\n", "dentry/order": "99\n"} {
		broken := shapes()["small"]
		broken["sys/kernel/slab/"+file] = text
		p, err := tuner(t, plant(t, broken), "").Plan(byShape()["small"])
		if err != nil || p.Capacity.KernelBytes != 4096 {
			t.Errorf("%s: %+v, %v", file, p.Capacity, err)
		}
	}
	p, err := tuner(t, plant(t, s), "").Plan(byShape()["small"])
	if err != nil || p.Capacity.Kernel[0] != (host.Cache{Name: "TCPv6", Bytes: 2730}) {
		t.Errorf("%+v, %v", p.Capacity.Kernel, err)
	}
}

func TestTheFirstWallIsNamed(t *testing.T) {
	const descriptors, tcp = "descriptors of this process", "memory of TCP"
	unlimited := shape{"proc/self/limits": "Max open files unlimited unlimited files\n"}
	for _, tt := range []struct {
		name                  string
		changed               shape
		conns                 int
		now, applied, advised string
		says                  string
	}{
		{"descriptors, whatever else", nil, 100_000, descriptors, descriptors, descriptors, "with the advice  descriptors of this process, at 106,984"},
		{"memory of TCP", unlimited, 150_000, tcp, tcp, tcp, "now              memory of TCP, at 49,152\n    applied          memory of TCP, at 195,000"},
		{"no setting gives memory", unlimited, 300_000, tcp, "memory", "memory", "300,000 conns are wanted, and no setting gives more memory"},
		{"memory is not known", shape{"proc/meminfo": "x\n"}, 1000, descriptors, descriptors, descriptors, "first:\n    now "},
		{"junk is no wall", shape{"proc/self/limits": "junk\n", "proc/sys/fs/nr_open": "junk\n"}, 300_000, tcp, "memory", "memory", "first:\n    now "},
	} {
		s := shapes()["small"]
		maps.Copy(s, tt.changed)
		p, err := tuner(t, plant(t, s), "").Plan(wantedOf(catalog.Edge, tt.conns))
		if err != nil {
			t.Fatal(err)
		}
		first := p.Capacity.First
		var text bytes.Buffer
		if err := p.Text(&text); err != nil {
			t.Fatal(err)
		}
		if first.Now != tt.now || first.Applied != tt.applied || first.Advised != tt.advised || !strings.Contains(text.String(), tt.says) {
			t.Errorf("%s: %+v, %s", tt.name, first, text.String()[:1500])
		}
	}
	if w := least(nil, now); w != (Wall{}) {
		t.Errorf("of no walls: %+v", w)
	}
}

func TestCapacityIsJSON(t *testing.T) {
	b, err := json.Marshal(planOf(t, "metal"))
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Capacity struct {
			KernelBytes int64 `json:"kernel_bytes"`
			Walls       []struct {
				Wall                  string
				Now, Applied, Advised int64
			}
			First map[string]string
		}
	}
	if err := json.Unmarshal(b, &back); err != nil || back.Capacity.KernelBytes != 4020 || len(back.Capacity.Walls) != 7 || back.Capacity.First["advised"] == "" {
		t.Errorf("%+v, %v", back, err)
	}
}

// TestKernelTellsItsCaches reads those of the host that runs the test.
func TestKernelTellsItsCaches(t *testing.T) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("Linux tells root alone")
	}
	h, err := host.Read(host.Live{})
	if err != nil {
		t.Fatal(err)
	}
	all := h.Socket()
	if all == nil {
		if _, err := os.Stat("/proc/slabinfo"); err == nil {
			t.Fatal("/proc/slabinfo is there, and not understood")
		}
		t.Skip("neither sysfs nor /proc/slabinfo tells")
	}
	if n := catalog.SocketBytes(h); n < 2500 || n > 8000 {
		t.Errorf("%d bytes: %+v", n, all)
	}
}
