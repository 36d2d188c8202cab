package catalog

import (
	"fmt"
	"slices"
	"strings"

	"weir/tuning/knob"
)

const (
	vmDoc     = "kernel: Documentation/admin-guide/sysctl/vm.rst"
	kernelDoc = "kernel: Documentation/admin-guide/sysctl/kernel.rst"
)

// machine are of memory, CPUs and the scheduler.
func machine() []Setting {
	return []Setting{
		{
			Key: "transparent_hugepage/enabled", Scope: Global, Profiles: every(),
			Formula: "madvise; never stays", Reason: "with always a sparse heap grows to whole huge pages, and is compacted while it is used",
			Source: "kernel: Documentation/admin-guide/mm/transhuge.rst; Go 1.21.1 release notes", Risk: "programs that gain by always have to ask by madvise(2)",
			Check: "AnonHugePages in /proc/PID/smaps_rollup",
			Targets: func(Input) []Target {
				return one(Target{
					Knob: knob.File("/sys/kernel/mm/transparent_hugepage/enabled", knob.Choice), Want: "madvise",
					Accept: anyOf(knob.Choice, "madvise", "never"),
				})
			},
		},
		{
			Key: "vm.swappiness", Scope: Global, Profiles: every(), Formula: "at most 10", Reason: "memory of conns that are idle is needed whole when a burst comes",
			Source: vmDoc, Risk: "less room for files in memory", Check: "si, so in vmstat", Targets: exact("vm.swappiness", 10, 0, 10),
		},
		{
			Key: "vm.min_free_kbytes", Scope: Global, Profiles: every(),
			Formula: "at least 1 % of the memory, at most 2 GiB; up to 5 % stays", Reason: "packets are taken in softirq from what is free right now, and lost if nothing is",
			Source: vmDoc, Risk: "so much memory is not used", Check: "allocstall in /proc/vmstat; page allocation failure in dmesg",
			Targets: func(in Input) []Target {
				total := in.Host.MemoryBytes >> 10
				want := min(total/100, 2<<20)
				t := Target{Knob: knob.Sysctl("vm.min_free_kbytes", knob.Number), Want: number(want), Accept: within(want, max(total/20, want))}
				if total == 0 {
					t.Refuse = "how much memory there is is not known: /proc/meminfo does not say"
				}
				return one(t)
			},
		},
		{
			Key: "vm.zone_reclaim_mode", Scope: Global, Profiles: every(), Formula: "0, which is the default", Reason: "memory of another node is nearer than none",
			Source: vmDoc, Risk: "none", Check: "numastat", Targets: exact("vm.zone_reclaim_mode", 0, 0, 0),
		},
		{
			Key: "vm.stat_interval", Scope: Global, Profiles: every(), Formula: "at least 10", Reason: "a round over all counters a second, on every CPU, is jitter",
			Source: vmDoc, Risk: "counters of memory are older", Check: "tracer runq", Targets: exact("vm.stat_interval", 10, 10, 120),
		},
		{
			Key: "kernel.timer_migration", Scope: Global, Profiles: every(), Formula: "0", Reason: "timers of a loop stay on its CPU",
			Source: kernelDoc, Risk: "idle CPUs sleep less", Check: "tracer stall", Targets: exact("kernel.timer_migration", 0, 0, 0),
		},
		{
			Key: "kernel.nmi_watchdog", Scope: Global, Profiles: every(), Formula: "0", Reason: "an interrupt a second on every CPU, and a hardware counter",
			Source: kernelDoc, Risk: "a CPU that hangs for good is not told", Check: "NMI in /proc/interrupts", Targets: exact("kernel.nmi_watchdog", 0, 0, 0),
		},
		{
			Key: "kernel.numa_balancing", Scope: Global, Profiles: every(), Formula: "0", Reason: "it takes pages away for a moment to see who uses them",
			Source: kernelDoc, Risk: "processes that are not pinned may stay far from their memory", Check: "numa_hint_faults in /proc/vmstat",
			Targets: exact("kernel.numa_balancing", 0, 0, 0),
		},
		{
			Key: "scaling_governor", Scope: Global, Profiles: every(), Formula: "performance, where there is one", Reason: "a CPU that has slowed down takes the first packets of a burst slowly",
			Source: "kernel: Documentation/admin-guide/pm/cpufreq.rst", Risk: "power; less room for turbo", Check: "cpupower frequency-info", Targets: governors,
		},
	}
}

// governors are those of each CPU that has one.
func governors(in Input) (all []Target) {
	for _, cpu := range in.Host.CPUs {
		dir := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/cpufreq/", cpu)
		if !in.Host.Exists(dir + "scaling_governor") {
			continue
		}
		t := Target{Knob: knob.File(dir+"scaling_governor", knob.Word), Want: "performance"}
		listed, ok := in.Host.Text(dir + "scaling_available_governors")
		if ok && !slices.Contains(strings.Fields(listed), "performance") {
			t.Refuse = "the kernel lists no such governor"
		}
		all = append(all, t)
	}
	return all
}
