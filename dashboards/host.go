package dashboards

import (
	"slices"
	"strings"
)

// ofNode is the matcher of the hosts that are chosen: those of node_exporter, whose instances have another port.
const ofNode = `instance=~"$node"`

func nodeSeries(metric string, matchers ...string) string {
	return metric + "{" + strings.Join(append([]string{ofNode}, matchers...), ", ") + "}"
}

func nodeRate(metric string, matchers ...string) string {
	return "rate(" + nodeSeries(metric, matchers...) + "[$__rate_interval])"
}

func host() *Dashboard {
	node := labelValues("node", "Host (node_exporter)", "node_uname_info", "instance")
	node.need = NeedNodeExporter
	return dashboard("host", "weir / Host", "The processes and their Go runtime: CPU, memory, descriptors, garbage collection; what of the host's network decides over connections; and of the rest of the host what node_exporter tells, where there is one.",
		variables("process_start_time_seconds", node),
		slices.Concat(processPanels(), networkPanels(), runtimePanels(), []*Panel{hidden("The rest of the host, by node_exporter (optional)", nodePanels()...)})...,
	)
}

func processPanels() []*Panel {
	return []*Panel{
		row("Process"),
		graph("CPU", unitNumber, "CPUs that each process uses.", query(rate("process_cpu_seconds_total"), "{{instance}}")),
		graph("Resident memory", unitBytes, "By process.", query(series("process_resident_memory_bytes"), "{{instance}}")),
		graph("Network", unitBytesRate, "Bytes in and out of the process's network namespace, without loopback: of the whole host, in most cases.",
			query(rate("process_network_receive_bytes_total"), "{{instance}} in"),
			query(rate("process_network_transmit_bytes_total"), "{{instance}} out")),
		shares("Descriptors in use", "Part of those that the process may have; each connection takes one.",
			query(series("process_open_fds")+" / "+series("process_max_fds"), "{{instance}}")),
		graph("Descriptors", unitNumber, "Open ones.", query(series("process_open_fds"), "{{instance}}")),
		graph("Releases", unitNumber, "Processes of each release, and the version of Go that it was built with: more than one for longer than a rollout is one that stopped half way.",
			query("count by (release, goversion) ("+series("weir_build_info")+")", "{{release}}, {{goversion}}")),
		graph("Up for", unitSeconds, "Time since the process started: a step down is a restart.", query("time() - "+series("process_start_time_seconds"), "{{instance}}")),
	}
}

func runtimePanels() []*Panel {
	return []*Panel{
		row("Go runtime"),
		graph("Heap", unitBytes, "What is allocated, what spans in use take, and what is idle.",
			query(sumBy("instance", series("go_memstats_heap_alloc_bytes")), "{{instance}} allocated"),
			query(sumBy("instance", series("go_memstats_heap_inuse_bytes")), "{{instance}} in use"),
			query(sumBy("instance", series("go_memstats_heap_idle_bytes")), "{{instance}} idle")),
		graph("Allocated", unitBytesRate, "Bytes allocated. The hot path allocates nothing: this is of connections, not of events.", query(rate("go_memstats_alloc_bytes_total"), "{{instance}}")),
		graph("Goroutines and threads", unitNumber, "They do not grow with connections.",
			query(series("go_goroutines"), "{{instance}} goroutines"), query(series("go_threads"), "{{instance}} threads")),
		graph("Garbage collections", unitPerSecond, "Cycles.", query(rate("go_gc_duration_seconds_count"), "{{instance}}")),
		// A server that scrapes by protobuf calls the quantile 1.0.
		graph("Longest pause", unitSeconds, "Of the garbage collector, among the last ones that the runtime remembers.", query(series("go_gc_duration_seconds", `quantile=~"1|1.0"`), "{{instance}}")),
		graph("Memory limit", unitBytes, "GOMEMLIMIT; a very large number: there is none.", query(series("go_gc_gomemlimit_bytes"), "{{instance}}")),
		row("Admin server"),
		graph("Requests", unitRequests, "To the admin server, by route and class of status.", query(sumBy("route, class", rate("weir_admin_requests_total")), "{{route}} {{class}}")).wide(12),
		graph("Errors", unitRequests, "Those answered with 4xx and 5xx.", query(sumBy("instance, class", rate("weir_admin_requests_total", `class=~"4xx|5xx"`)), "{{instance}} {{class}}")).wide(12),
	}
}

// networkPanels are of what each weir reads of the host: in a container, of the container's network.
func networkPanels() []*Panel {
	tracked := share(series("weir_host_conntrack_entries"), series("weir_host_conntrack_max_entries"))
	return []*Panel{
		row("The network beside it"),
		graph("Listen queues", unitPerSecond, "Connections dropped since the queue of a listener was full, and those dropped before they were accepted for that and other reasons.",
			query(rate("weir_host_listen_overflows_total"), "{{instance}} overflows"), query(rate("weir_host_listen_drops_total"), "{{instance}} drops")),
		shares("Retransmitted", "Part of the TCP segments sent.", query(share(rate("weir_host_tcp_retransmitted_segments_total"), rate("weir_host_tcp_sent_segments_total")), "{{instance}}")),
		graph("TCP sockets", unitNumber, "In use and waiting for their end, of the network namespace; orphans, which nobody has open any more, of the host.",
			query(series("weir_host_tcp_sockets"), "{{instance}} {{state}}")),
		graph("TCP memory", unitBytes, "Memory of all TCP sockets of the host; connections are ended where it reaches the last number of net.ipv4.tcp_mem.", query(series("weir_host_tcp_memory_bytes"), "{{instance}}")),
		shares("TCP memory, of what may be", "Part of the last number of net.ipv4.tcp_mem. A container does not see that one.",
			query(share(series("weir_host_tcp_memory_bytes"), series("weir_host_tcp_max_memory_bytes")), "{{instance}}")).needing(NeedHostNetwork),
		graph("Short of TCP memory", unitPerSecond, "Times that it came under pressure, and connections ended for want of it.",
			query(rate("weir_host_tcp_memory_pressures_total"), "{{instance}} pressures"), query(rate("weir_host_tcp_memory_aborts_total"), "{{instance}} ended")),
		graph("Softirq", unitPerSecond, "Times that a CPU ended its round of packets with some left (net.core.netdev_budget), and packets dropped since a CPU's backlog was full (net.core.netdev_max_backlog).",
			query(rate("weir_host_softnet_squeezed_total"), "{{instance}} squeezed"), query(rate("weir_host_softnet_dropped_total"), "{{instance}} dropped")),
		shares("Connection tracking", "Part of net.netfilter.nf_conntrack_max, where connections are tracked.", query(tracked, "{{instance}}")).needing(NeedConntrack),
		graph("Drifted settings", unitNumber, "Settings of the host that are no longer as weir tune apply made them; none without its journal, or if the process may not read that.",
			query(series("weir_tuning_drifted_settings"), "{{instance}}")).needing(NeedTuned),
		stat("Settings applied", unitDate, "When weir tune apply made them.", query("1000 * "+series("weir_tuning_applied_timestamp_seconds"), "{{instance}}")).needing(NeedTuned).wide(8),
		stat("Read of the host", unitNumber, "Of the six sources of these panels, how many can be read: a container does not see tcp_mem, nf_conntrack is a module.",
			query(sumBy("instance", series("weir_host_source_readable")), "{{instance}}")).wide(8),
	}
}

func nodePanels() []*Panel {
	panels := []*Panel{
		stacked("CPU by mode", unitNumber, "CPUs; softirq is the network's.", query("sum by (mode) ("+nodeRate("node_cpu_seconds_total", `mode!="idle"`)+")", "{{mode}}")),
		graph("Dropped by devices", unitPackets, "Received packets that network devices dropped.", query("sum by (instance, device) ("+nodeRate("node_network_receive_drop_total")+")", "{{instance}} {{device}}")),
		shares("Descriptors of the host", "Part of fs.file-max.", query(nodeSeries("node_filefd_allocated")+" / "+nodeSeries("node_filefd_maximum"), "{{instance}}")),
	}
	for _, p := range panels {
		p.needing(NeedNodeExporter)
	}
	return panels
}
