package tuning

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/internal/golden"
	"weir/tuning/catalog"
)

func preferring(w catalog.Wanted) catalog.Wanted {
	w.BusyPoll = true
	return w
}

func wantedOf(profile catalog.Profile, conns int) catalog.Wanted {
	return catalog.Wanted{Profile: profile, Conns: conns, QueuedBytes: 1024}
}

// byShape is what is wanted of each host.
func byShape() map[string]catalog.Wanted {
	return map[string]catalog.Wanted{
		"small": wantedOf(catalog.Edge, 100_000), "metal": wantedOf(catalog.Edge, 2_000_000), "container": wantedOf(catalog.Gateway, 20_000),
		"virtio": wantedOf(catalog.Gateway, 300_000), "plain": wantedOf(catalog.Bench, 50_000), "recent": preferring(wantedOf(catalog.Edge, 500_000)),
	}
}

func planOf(t *testing.T, name string) *Plan {
	t.Helper()
	p, err := tuner(t, plant(t, shapes()[name]), filepath.Join(t.TempDir(), "journal")).Plan(byShape()[name])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEachHostHasItsPlan(t *testing.T) {
	for name := range shapes() {
		t.Run(name, func(t *testing.T) {
			var text, sysctl, tuned bytes.Buffer
			p := planOf(t, name)
			for _, err := range []error{p.Text(&text), p.Sysctl(&sysctl), p.Tuned(&tuned)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			golden.Check(t, "testdata/"+name+".txt", text.String())
			golden.Check(t, "testdata/"+name+".sysctl", sysctl.String())
			golden.Check(t, "testdata/"+name+".tuned", tuned.String())
		})
	}
}

func TestPlanWritesNothing(t *testing.T) {
	for name, s := range shapes() {
		root, dir := plant(t, s), t.TempDir()
		before := snapshot(t, root)
		if _, err := tuner(t, root, filepath.Join(dir, "none", "journal")).Plan(byShape()[name]); err != nil {
			t.Fatal(err)
		}
		same(t, before, snapshot(t, root))
		if left := snapshot(t, dir); len(left) > 0 {
			t.Errorf("%s: %v", name, left)
		}
	}
}

// same fails for files that differ.
func same(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, text := range before {
		if after[name] != text {
			t.Errorf("%s is %q, was %q", name, after[name], text)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s was made", name)
		}
	}
}

// statusOf is that of a knob, with why.
func statusOf(p *Plan, knobName string) (Status, string) {
	for _, item := range p.Items {
		if item.Knob.Name == knobName {
			return item.Status, item.Is + "|" + item.Want + "|" + item.Why
		}
	}
	return "", ""
}

func TestWhatIsPlannedFollowsFromTheHost(t *testing.T) {
	plans := map[string]*Plan{}
	for name := range shapes() {
		plans[name] = planOf(t, name)
	}
	for _, tt := range []struct {
		name, shape, knob string
		status            Status
		says              string
	}{
		{"a value that suffices stays", "small", "net.core.somaxconn", Same, "4096|"},
		{"a value follows the conns", "metal", "net.core.somaxconn", Change, "4096|40000"},
		{"more is as good", "small", "fs.file-max", Same, "9223372036854775807"},
		{"pages that suffice stay", "metal", "net.ipv4.tcp_mem", Same, ""},
		{"bytes where pages are meant are found", "plain", "net.ipv4.tcp_mem", Change, "10000000 10000000 10000000|"},
		{"a choice is read by its brackets", "small", "/sys/kernel/mm/transparent_hugepage/enabled", Change, "always|madvise|"},
		{"a queue for each CPU needs no steering", "small", "/sys/class/net/eth0/queues/rx-0/rps_cpus", Same, ""},
		{"one queue is steered", "virtio", "/sys/class/net/eth0/queues/rx-0/rps_cpus", Change, "0|f"},
		{"a mask has words", "metal", "/sys/class/net/ens1f0/queues/rx-3/rps_cpus", Change, "0|80008,00080008"},
		{"a queue's CPUs", "metal", "/sys/class/net/ens1f0/queues/tx-3/xps_cpus", Change, "0|80008,00080008"},
		{"an interrupt's CPU", "metal", "/proc/irq/125/smp_affinity_list", Change, "0-63|5"},
		{"a setting of a device", "metal", "ens1f0 features/rx-lro", Change, "on|off"},
		{"adaptive, if the device can", "metal", "ens1f0 coalesce/adaptive-rx", Change, "0|1"},
		{"and then not by time", "metal", "ens1f0 coalesce/rx-usecs", "", ""},
		{"rings as long as they can be", "virtio", "eth0 rings/rx", Same, "256|256"},
		{"queues are the operator's", "metal", "ens1f0 channels/combined", Advice, "16|64"},
		{"a docker bridge is left alone", "metal", "/sys/class/net/docker0/gro_flush_timeout", "", ""},
		{"sysctls of a container's own, read-only", "container", "net.ipv4.tcp_fin_timeout", Refused, "60|15|it can only be read: it is on a read-only mount"},
		{"the host's, in a container", "container", "vm.swappiness", Refused, "it is the whole host's, and this is a container (docker: /run/systemd/container says so)"},
		{"the host's, not seen in a namespace", "container", "net.ipv4.tcp_mem", Absent, "set it in the initial one"},
		{"what an old kernel has not", "plain", "/sys/class/net/eth0/threaded", Absent, "Linux 5.4.0-200-generic here does not have it"},
		{"what the kernel lets nobody write, and is right", "virtio", "kernel.nmi_watchdog", Same, "0|0"},
		{"no module", "virtio", "net.core.default_qdisc", Refused, "sch_fq is not in this kernel"},
		{"no bbr", "virtio", "net.ipv4.tcp_congestion_control", Refused, "cubic|bbr|the kernel lists no bbr"},
		{"an instance of a queue", "recent", "eth0 napi-3/defer-hard-irqs", Change, "0|100"},
		{"somebody's value for one of them", "recent", "eth0 napi-2/gro-flush-timeout", Change, "90000|20000"},
		{"interrupts off while programs poll", "recent", "eth0 napi-0/irq-suspend-timeout", Change, "0|20000000"},
		{"a share for each queue", "recent", "eth0 rss/table", Change, "128: 0-1|128: 0-3"},
		{"a table of a kernel that has no order for it", "metal", "ens1f0 rss/table", Advice, "2048: 0-7|2048: 0-15"},
		{"a key that everybody knows", "metal", "ens1f0 rss/key", Advice, "published|own"},
		{"a key of its own", "recent", "eth0 rss/key", Same, "own"},
		{"a limit of a process", "small", "max open files of this process", Advice, "1024|109096"},
	} {
		if status, says := statusOf(plans[tt.shape], tt.knob); status != tt.status || !strings.Contains(says, tt.says) {
			t.Errorf("%s: %q, %q", tt.name, status, says)
		}
	}
	if a := plans["plain"].Of(Change); slices.ContainsFunc(a, func(i Item) bool { return i.Setting == "smp_affinity_list" }) {
		t.Error("an interrupt is planned against irqbalance")
	}
}

func TestIrqbalanceIsNotFought(t *testing.T) {
	s := shapes()["small"]
	s["proc/977/comm"] = "irqbalance\n"
	p, err := tuner(t, plant(t, s), "").Plan(byShape()["small"])
	if err != nil {
		t.Fatal(err)
	}
	if status, says := statusOf(p, "/proc/irq/38/smp_affinity_list"); status != Refused || !strings.Contains(says, "--banirq=38") {
		t.Errorf("%q %q", status, says)
	}
}

func TestInterruptsAreSuspendedOnlyForWhoPolls(t *testing.T) {
	const knob = "eth0 napi-0/irq-suspend-timeout"
	for _, tt := range []struct {
		name, shape string
		prefers     bool
		status      Status
		says        string
	}{
		{"nobody polls", "recent", false, Advice, "0|20000000"},
		{"somebody does", "recent", true, Change, "0|20000000"},
		{"on an older kernel", "small", true, Absent, "it came with Linux 6.13, and this is 6.12.48"},
		{"on an older kernel nobody does", "small", false, "", ""},
	} {
		wanted := byShape()[tt.shape]
		wanted.BusyPoll = tt.prefers
		p, err := tuner(t, plant(t, shapes()[tt.shape]), "").Plan(wanted)
		if err != nil {
			t.Fatal(err)
		}
		if status, says := statusOf(p, knob); status != tt.status || !strings.Contains(says, tt.says) {
			t.Errorf("%s: %q, %q", tt.name, status, says)
		}
	}
	s := shapes()["recent"]
	for name := range s {
		if strings.Contains(name, "napi-") {
			delete(s, name)
		}
	}
	p, err := tuner(t, plant(t, s), "").Plan(byShape()["recent"])
	if err != nil {
		t.Fatal(err)
	}
	if status, says := statusOf(p, knob); status != Absent || !strings.Contains(says, "its driver has none") {
		t.Errorf("a driver without: %q, %q", status, says)
	}
}

func TestWhatWasMeasuredIsTold(t *testing.T) {
	p := planOf(t, "small")
	for _, measured := range []string{"", "p99 of a delivery -12 % (bench/results/tuning)"} {
		for i := range p.Items {
			p.Items[i].Measured = measured
		}
		var b bytes.Buffer
		if err := p.Text(&b); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.String(), "      bench "+measured+"\n"); got != (measured != "") {
			t.Errorf("%q is told: %v", measured, got)
		}
	}
}

func TestPlanIsJSON(t *testing.T) {
	b, err := json.Marshal(planOf(t, "metal"))
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Host  struct{ NICs []struct{ IRQs []any } }
		Items []struct{ Setting, Status, Is, Want, Reason, Risk, Check string }
	}
	if err := json.Unmarshal(b, &back); err != nil || len(back.Items) < 100 || len(back.Host.NICs) != 2 || len(back.Host.NICs[1].IRQs) != 16 {
		t.Errorf("%+v, %v", back.Host, err)
	}
}

func TestWhatCannotBeWantedIsRefused(t *testing.T) {
	root := plant(t, shapes()["small"])
	for want, w := range map[string]catalog.Wanted{
		"want one of edge":      {Profile: "web", Conns: 1},
		"want 1 to 100,000,000": {Profile: catalog.Edge},
		"want 0 to 16 MiB":      {Profile: catalog.Edge, Conns: 1, QueuedBytes: -1},
		"ls /sys/class/net":     {Profile: catalog.Edge, Conns: 1, Interfaces: []string{"eth7"}},
	} {
		if _, err := tuner(t, root, "").Plan(w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := tuner(t, t.TempDir(), "").Plan(wantedOf(catalog.Edge, 1)); err == nil {
		t.Error("an empty directory is no host")
	}
}

func TestTuningIsDocumented(t *testing.T) {
	const begin, end = "<!-- begin: by go test ./tuning -update -->\n", "<!-- end -->"
	page := documentation(t)
	before, rest, ok := strings.Cut(page, begin)
	_, after, also := strings.Cut(rest, end)
	if !ok || !also {
		t.Fatal("no place for the table")
	}
	golden.Check(t, "../docs/TUNING.md", before+begin+Markdown()+end+after)
}

// TestThePlanOfTheDocumentationIsReal holds what the page shows of a plan to one: its lines, in order.
func TestThePlanOfTheDocumentationIsReal(t *testing.T) {
	_, shown, ok := strings.Cut(documentation(t), "    $ weir tune plan --conns 100000\n")
	if !ok {
		t.Fatal("it shows none")
	}
	var b bytes.Buffer
	if err := planOf(t, "small").Text(&b); err != nil {
		t.Fatal(err)
	}
	lines, n := strings.Split(b.String(), "\n"), 0
	for line := range strings.Lines(shown) {
		line = strings.TrimRight(strings.TrimPrefix(line, "    "), "\n")
		if strings.HasPrefix(line, "`--json`") {
			break
		}
		if line == "" || line == "..." {
			continue
		}
		i := slices.Index(lines, line)
		if i < 0 {
			t.Fatalf("no line %q, or not behind the one before", line)
		}
		lines, n = lines[i+1:], n+1
	}
	if n < 20 {
		t.Errorf("only %d lines", n)
	}
}
