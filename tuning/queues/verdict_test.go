package queues

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// host is what changes between two samples of a tree, two seconds apart.
type host struct {
	driver         string
	link, counters map[string]uint64
	// softirq and dropped are CPU 3's: percent of its 200 ticks, and packets of its backlog.
	softirq, dropped uint64
}

// pair reads a tree before and after, the second time with what changed added.
func pair(t *testing.T, h host) (before, after Sample) {
	t.Helper()
	base := uint64(1 << 40) // as a host that has been up for long
	driver := func(add uint64) func(string) (string, map[string]uint64, error) {
		return func(string) (string, map[string]uint64, error) {
			all := map[string]uint64{}
			for name, n := range h.counters {
				all[name] = base + add*n
			}
			return h.driver, all, nil
		}
	}
	sample := func(add uint64, at time.Time) Sample {
		files := map[string]string{
			"proc/net/softnet_stat": fmt.Sprintf("0 0 0 0 0 0 0 0 0 0 0 0 0\n%x %x 0 0 0 0 0 0 0 0 0 0 3\n", uint32(0xfffffff0+add*100), uint32(0xfffffffe+add*h.dropped)),
			"proc/stat":             fmt.Sprintf("cpu0 100 0 0 %d 0 0 %d 0\ncpu3 100 0 0 %d 0 0 %d 0\n", 1000+add*192, 500+add*8, 1000+add*(200-2*h.softirq), 500+add*2*h.softirq),
		}
		for name, n := range h.link {
			files["sys/class/net/eth0/statistics/"+name] = fmt.Sprintln(base + add*n)
		}
		for _, name := range linkCounters() {
			if _, ok := h.link[name]; !ok {
				files["sys/class/net/eth0/statistics/"+name] = "77\n"
			}
		}
		s, err := Source{Root: tree(t, files), Driver: driver(add)}.Read("eth0", at)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return sample(0, now), sample(1, now.Add(2*time.Second))
}

func TestEachVerdict(t *testing.T) {
	flood := XDPCounts{Seen: 4_200_000, Dropped: 4_000_000}
	for _, tt := range []struct {
		name string
		h    host
		x    XDPCounts
		want State
		says string // parts of the text, between bars
	}{
		{"no traffic", host{driver: "ixgbe"}, XDPCounts{}, Idle, "nothing to absorb: XDP dropped 0 of the 0 packets/s|CPU 0 spends 4 %"},
		{"traffic within quotas", host{driver: "ixgbe", softirq: 20}, XDPCounts{Seen: 2000}, Idle, "0 of the 1,000|20 %"},
		{"a flood that XDP holds", host{driver: "mlx5_core", counters: map[string]uint64{"rx_discards_phy": 0}, softirq: 45}, flood, XDPAbsorbs, "XDP absorbs it: XDP dropped 2,000,000 of the 2,100,000 packets/s it saw on eth0, nothing is known to be lost elsewhere, and CPU 3 spends 45 % in softirq, the others at most 4 %"},
		{"losses that are noise", host{driver: "mlx5_core", counters: map[string]uint64{"rx_out_of_buffer": 100}}, flood, XDPAbsorbs, "only 50/s were lost elsewhere"},
		{"one packet an hour", host{driver: "ixgbe"}, XDPCounts{Seen: 1, Dropped: 1}, XDPAbsorbs, "0.5 of the 0.5"},
		{
			"mlx5's port",
			host{driver: "mlx5_core", counters: map[string]uint64{"rx_discards_phy": 2_469_134, "rx_xdp_drop": 4_000_000}, link: map[string]uint64{"rx_dropped": 2_469_134}},
			flood,
			QueueOverflows, "eth0 lost 1,234,567 packets/s before XDP could see them (rx_discards_phy), while XDP dropped 2,000,000|before a queue was chosen|ethtool -L eth0 combined N",
		},
		{
			"mlx5's queue and port",
			host{driver: "mlx5_core", counters: map[string]uint64{"rx_discards_phy": 2000, "rx_out_of_buffer": 20_000}, softirq: 97},
			flood,
			QueueOverflows, "lost 11,000 packets/s|(rx_out_of_buffer, rx_discards_phy)|CPU 3 spends 97 %|ethtool -G eth0 rx N",
		},
		{"ixgbe", host{driver: "ixgbe", counters: map[string]uint64{"rx_no_dma_resources": 20_000, "rx_missed_errors": 0}}, flood, QueueOverflows, "(rx_no_dma_resources)"},
		{"i40e's queue is a counter of the kernel's", host{driver: "i40e", counters: map[string]uint64{"port.rx_discards": 2000}, link: map[string]uint64{"rx_missed_errors": 20_000}}, flood, QueueOverflows, "11,000|(rx_missed_errors, port.rx_discards)"},
		{"ice counts the port once", host{driver: "ice", counters: map[string]uint64{"rx_dropped.nic": 20_000, "rx_dropped": 10_000}, link: map[string]uint64{"rx_missed_errors": 20_000, "rx_dropped": 10_000}}, flood, QueueOverflows, "15,000|(rx_dropped.nic, rx_dropped)"},
		{"ena", host{driver: "ena", counters: map[string]uint64{"rx_drops": 20_000, "queue_0_rx_xdp_drop": 4_000_000}}, flood, QueueOverflows, "10,000|(rx_drops)"},
		{"virtio's device", host{driver: "virtio_net", counters: map[string]uint64{"rx0_hw_drops": 20_000, "rx1_hw_drops": 2000, "rx0_drops": 4_000_000}}, flood, QueueOverflows, "11,000|(rx0_hw_drops, rx1_hw_drops)"},
		{
			"virtio counts XDP's drops as its own",
			host{driver: "virtio_net", counters: map[string]uint64{"rx_queue_0_drops": 4_000_000, "rx_queue_0_xdp_drops": 4_000_000}, link: map[string]uint64{"rx_dropped": 4_000_000}},
			flood,
			XDPAbsorbs, "nothing is known to be lost elsewhere",
		},
		{"veth", host{driver: "veth", counters: map[string]uint64{"rx_queue_0_xdp_drops": 4_000_000, "rx_queue_0_drops": 1000}}, flood, XDPAbsorbs, "nothing is known"},
		{"a driver of which nothing is known", host{driver: "new", link: map[string]uint64{"rx_missed_errors": 20_000, "rx_fifo_errors": 2000, "rx_over_errors": 4000, "rx_dropped": 9_000_000}}, flood, QueueOverflows, "12,000|(rx_missed_errors, rx_over_errors)"},
		{"four counters and more", host{driver: "virtio_net", counters: map[string]uint64{"rx0_hw_drops": 9000, "rx1_hw_drops": 8000, "rx2_hw_drops": 7000, "rx3_hw_drops": 6000}}, flood, QueueOverflows, "(rx0_hw_drops, rx1_hw_drops, rx2_hw_drops, ...)"},
		{"backlog, across a wrap of 32 bits", host{driver: "veth", dropped: 20_000}, flood, BacklogOverflows, "10,000 packets/s were lost between driver and stack|10,000/s of CPU 3|net.core.netdev_max_backlog"},
		{"more lost in the backlog than in the queue", host{driver: "ixgbe", counters: map[string]uint64{"rx_missed_errors": 19_000}, dropped: 20_000}, flood, BacklogOverflows, "XDP is not the bottleneck"},
		{"a CPU without time left", host{driver: "ixgbe", softirq: 97}, flood, SoftirqSaturated, "XDP is not the bottleneck, a CPU is|CPU 3 spends 97 % in softirq, the others at most 4 %; spread over more RX queues"},
		{"a CPU busy with what passes", host{driver: "ixgbe", softirq: 97}, XDPCounts{Seen: 4_000_000, Dropped: 1000}, SoftirqSaturated, "most packets pass XDP"},
	} {
		before, after := pair(t, tt.h)
		f := Verdict(Diff(before, after), tt.x)
		if f.State != tt.want {
			t.Errorf("%s: %s, want %s: %s", tt.name, f.State, tt.want, f.Text)
		}
		for part := range strings.SplitSeq(tt.says, "|") {
			if !strings.Contains(f.Text, part) {
				t.Errorf("%s: %q does not say %q", tt.name, f.Text, part)
			}
		}
	}
}

func TestRatesArePerSecond(t *testing.T) {
	before, after := pair(t, host{
		driver: "ena", link: map[string]uint64{"rx_packets": 500}, softirq: 50, dropped: 6,
		counters: map[string]uint64{"queue_1_rx_xdp_drop": 8, "queue_12_rx_xdp_drop": 20, "queue_0_rx_skb_alloc_fail": 2, "rx_drops": 0},
	})
	r := Diff(before, after)
	if r.Elapsed != 2*time.Second || r.Restarted || r.Link["rx_packets"] != 250 || r.Link["rx_dropped"] != 0 {
		t.Errorf("%+v", r)
	}
	if len(r.Before) != 0 || len(r.After) != 1 || r.After[0].PerSecond != 1 || len(r.ByXDP) != 2 || r.ByXDP[0] != (Loss{"queue_12_rx_xdp_drop", 10, false}) {
		t.Errorf("losses %+v, %+v, %+v", r.Before, r.ByXDP, r.After)
	}
	want := []CPURates{{CPU: 0, Softirq: 0.04}, {CPU: 3, Processed: 50, Dropped: 3, Softirq: 0.5}}
	if len(r.CPUs) != 2 || r.CPUs[0] != want[0] || r.CPUs[1] != want[1] {
		t.Errorf("CPUs %+v, want %+v", r.CPUs, want)
	}
}

func TestCountersThatBeganAgainAreNoFlood(t *testing.T) {
	h := host{driver: "mlx5_core", counters: map[string]uint64{"rx_out_of_buffer": 0}, link: map[string]uint64{"rx_packets": 0}}
	before, after := pair(t, h)
	after.Counters = maps.Clone(after.Counters)
	after.Counters["rx_out_of_buffer"] = 5000
	r := Diff(before, after)
	if f := Verdict(r, XDPCounts{}); !r.Restarted || f.State != Idle || !strings.Contains(f.Note, "sample again") {
		t.Errorf("a counter that went back: %+v, %+v", r, f)
	}
	after.Index++
	r = Diff(before, after)
	if !r.Restarted || r.Counters["rx_out_of_buffer"] != 2500 {
		t.Errorf("an interface made anew: %+v", r)
	}
	before, after = pair(t, h)
	after.Counters["rx_out_of_buffer_new"] = 1 << 50
	if r := Diff(before, after); r.Counters["rx_out_of_buffer_new"] != 0 || r.Restarted {
		t.Errorf("a counter that was not there before: %+v", r)
	}
}

func TestCPUsThatCameOrBootedAreLeftOut(t *testing.T) {
	before, after := pair(t, host{driver: "ixgbe", softirq: 97})
	delete(before.CPUs, 0)
	c := after.CPUs[3]
	c.Total = 10
	after.CPUs[3] = c
	if r := Diff(before, after); len(r.CPUs) != 0 {
		t.Errorf("%+v", r.CPUs)
	}
}

func TestTooFewTicksMakeNoShare(t *testing.T) {
	before, after := pair(t, host{driver: "ixgbe"})
	b := before.CPUs[3]
	b.Softirq, b.Total = b.Softirq+49, b.Total+49
	after.CPUs[3] = b
	if r := Diff(before, after); r.CPUs[1].Softirq != 0 {
		t.Errorf("%+v", r.CPUs)
	}
}

func TestSamplesOfOneMomentSayNothing(t *testing.T) {
	before, after := pair(t, host{driver: "mlx5_core", counters: map[string]uint64{"rx_out_of_buffer": 1 << 30}})
	after.At = before.At
	if f := Verdict(Diff(before, after), XDPCounts{1, 1}); f.State != Idle || !strings.Contains(f.Text, "a second apart") {
		t.Errorf("%+v", f)
	}
}

func TestNotesSayWhatCannotBeSeen(t *testing.T) {
	for driver, want := range map[string]string{"veth": "tx_dropped there", "virtio_net": "hypervisor", "i40e": "rx_dropped", "ena": "allowance", "ixgbe": ""} {
		before, after := pair(t, host{driver: driver})
		if f := Verdict(Diff(before, after), XDPCounts{}); !strings.Contains(f.Note, want) || (f.Note == "") != (want == "") {
			t.Errorf("%s: %q", driver, f.Note)
		}
	}
	before, after := pair(t, host{driver: "ixgbe"})
	after.Missing = []string{"/proc/stat"}
	if f := Verdict(Diff(before, after), XDPCounts{}); f.Note != "this host does not show /proc/stat" {
		t.Errorf("%q", f.Note)
	}
}

func TestFiguresAreReadable(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.31: "0.3", 0.96: "1", 999.4: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}
