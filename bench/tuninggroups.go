package bench

import (
	"slices"
	"strings"

	"weir/tuning"
	"weir/tuning/catalog"
)

// tuningGroup is some settings of the catalog that are measured as one: they are for the same thing.
type tuningGroup struct {
	name string
	// about is what they change of the figures, if anything.
	about    string
	settings []string
}

// tuningBacklog is the wall of which there is a test: see [TuningWall].
const tuningBacklog = "net.core.somaxconn"

// tuningRuntime is the group of what the Go runtime of an edge is told: advice, which its process is given.
const tuningRuntime = "runtime"

// tuningGroups are those whose settings can be seen in the figures of a turn.
func tuningGroups() []tuningGroup {
	return []tuningGroup{
		{"memory", "what sockets take", []string{"net.ipv4.tcp_mem", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_notsent_lowat"}},
		{"sending", "how a burst leaves", []string{
			"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_autocorking", "net.ipv4.tcp_timestamps", "net.core.default_qdisc", "net.ipv4.tcp_congestion_control",
		}},
		{"softirq", "how long a round of receiving may be", []string{"net.core.netdev_budget", "net.core.netdev_budget_usecs", "net.core.busy_poll", "net.core.busy_read"}},
		{"steering", "which CPU does it", []string{
			"net.core.netdev_max_backlog", "net.core.rps_sock_flow_entries", "rps_cpus", "rps_flow_cnt", "xps_cpus", "smp_affinity_list", "channels/combined", "rss/table",
		}},
		{"napi", "when interrupts are on again after a burst", []string{
			"napi_defer_hard_irqs", "gro_flush_timeout", "napi/defer-hard-irqs", "napi/gro-flush-timeout", "threaded",
		}},
		{"offloads", "what the device does", []string{
			"features/rx-gro", "features/tx-tcp-segmentation", "features/tx-generic-segmentation", "features/rx-lro", "features/rx-gro-list",
			"coalesce/adaptive-rx", "coalesce/rx-usecs", "rings/rx", "rings/tx",
		}},
		{"vm", "how memory is found", []string{"transparent_hugepage/enabled", "vm.swappiness", "vm.min_free_kbytes", "vm.zone_reclaim_mode", "kernel.numa_balancing"}},
		{"timers", "what else runs on a CPU", []string{"vm.stat_interval", "kernel.timer_migration", "kernel.nmi_watchdog", "scaling_governor"}},
		{tuningRuntime, "how often an edge collects its garbage", []string{"GOMEMLIMIT", "GOGC", "GOMAXPROCS"}},
	}
}

// tuningWalls are the settings that are bounds: below them they change nothing, and past them conns are lost. Each
// with what it bounds.
func tuningWalls() map[string]string {
	return map[string]string{
		"fs.nr_open":                     "descriptors of a process",
		"fs.file-max":                    "open files of the host",
		"nofile":                         "descriptors of this process",
		"fs.epoll.max_user_watches":      "descriptors that are watched",
		"net.core.somaxconn":             "conns that wait to be accepted",
		"net.ipv4.tcp_max_syn_backlog":   "half-open conns, without SYN cookies",
		"net.ipv4.tcp_syncookies":        "what a flood of SYNs takes",
		"net.ipv4.tcp_synack_retries":    "how long a half-open conn stays",
		"net.ipv4.tcp_abort_on_overflow": "what who finds the queue full is told",
		"net.ipv4.ip_local_port_range":   "conns that this host begins",
		"net.ipv4.tcp_fin_timeout":       "how long a conn half closed stays",
		"net.ipv4.tcp_orphan_retries":    "how long a conn that nobody has stays",
		"net.ipv4.tcp_max_orphans":       "conns that nobody has",
		"net.ipv4.tcp_max_tw_buckets":    "conns in TIME_WAIT",
		"net.ipv4.tcp_keepalive_time":    "how long a dead conn is not noticed",
		"net.netfilter.nf_conntrack_max": "entries of conntrack",
		"conntrack":                      "entries of conntrack",
		"thash_entries":                  "conns before chains get long",
	}
}

// tuningAdvice are the settings that are not weir's to set, so that no turn has them.
func tuningAdvice() []string {
	return []string{"isolcpus", "cpu_dma_latency", "kernel.io_uring_disabled", "napi/irq-suspend-timeout", "rss/key"}
}

// TuningGroups are the names that Only may have.
func TuningGroups() (names []string) {
	for _, g := range tuningGroups() {
		names = append(names, g.name)
	}
	return names
}

// profileGroup is all that a profile has, and weir tune apply sets.
func profileGroup(profile catalog.Profile) tuningGroup {
	g := tuningGroup{name: string(profile), about: "all of the profile"}
	for _, s := range catalog.All() {
		if s.Of(profile) && s.Scope != catalog.Process && s.Scope != catalog.Boot {
			g.settings = append(g.settings, s.Key)
		}
	}
	return g
}

// variables are what an edge's process is told by some settings of a plan.
func variables(plan *tuning.Plan, settings []string) (all []TuningChange) {
	for _, item := range plan.Of(tuning.Advice) {
		if strings.HasPrefix(item.Command, "Environment=") && slices.Contains(settings, item.Setting) {
			all = append(all, TuningChange{Setting: item.Setting, Knob: item.Knob.Name, From: "as weir has it", To: item.Want})
		}
	}
	return all
}
