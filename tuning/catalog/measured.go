package catalog

// measured is what weir bench tuning has shown of settings: 2 CPUs, a veth of one queue, which has no interrupts, 4,000 subscribers,
// 10 events/s, four pairs of turns of each group, eight of those of steering, napi, vm and timers; see bench/results/tuning. Ratios are with /
// without: below 1 is a gain.
func measured() map[string]string {
	const (
		none    = "no gain seen in its group: "
		memory  = none + "conns per GB 0.98x, p99 1.05x, CPU a delivery 1.09x, all within twice the noise; a wall, and none of the turns came near it"
		sending = none + "p99 0.95x, CPU a delivery 0.99x"
		budget  = none + "p99 0.99x, CPU a delivery 1.04x"
		steer   = "a loss on a veth: p50 1.25x, p99 1.28x, CPU a delivery 1.28x; not measured on a device with interrupts"
		napi    = "a loss on a veth, which has no interrupts to defer: p50 1.65x, p99 3.5x, CPU a delivery 1.87x; not measured on a device that has some"
		swaps   = "no gain seen alone, with memory to spare: p99 0.98x, CPU a delivery 0.96x; for hosts that have none"
		reserve = "no gain seen alone, with memory to spare: p99 0.95x, CPU a delivery 0.95x, within twice the noise; for hosts that have none"
		timers  = none + "p99 0.91x, CPU a delivery 0.92x, within twice the noise"
		goes    = "a loss in its group, where memory is not short: conns per GB 0.96x, CPU a delivery 1.03x"
		backlog = "8,000 conns at once to a loop that stands: all wait with 20000, with 4096 3,903 were dropped; the last was in after 0.25 s, and after 3.9 s"
	)
	all := map[string]string{"net.core.somaxconn": backlog}
	for text, keys := range map[string][]string{
		memory:  {"net.ipv4.tcp_mem", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"},
		sending: {"net.ipv4.tcp_slow_start_after_idle"},
		budget:  {"net.core.netdev_budget"},
		steer:   {"net.core.netdev_max_backlog", "net.core.rps_sock_flow_entries", "rps_cpus", "rps_flow_cnt"},
		napi:    {"napi_defer_hard_irqs", "gro_flush_timeout"},
		swaps:   {"vm.swappiness"},
		reserve: {"vm.min_free_kbytes"},
		timers:  {"kernel.timer_migration", "vm.stat_interval"},
		goes:    {"GOGC", "GOMAXPROCS", "GOMEMLIMIT"},
	} {
		for _, key := range keys {
			all[key] = text
		}
	}
	return all
}
