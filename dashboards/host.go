package dashboards

import "strings"

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
	return dashboard("host", "weir / Host", "The processes and their Go runtime: CPU, memory, descriptors, garbage collection; and of the host itself what node_exporter tells, where there is one.",
		variables("process_start_time_seconds", node),
		row("Process"),
		graph("CPU", unitNumber, "CPUs that each process uses.", query(rate("process_cpu_seconds_total"), "{{instance}}")),
		graph("Resident memory", unitBytes, "By process.", query(series("process_resident_memory_bytes"), "{{instance}}")),
		graph("Network", unitBytesRate, "Bytes in and out of the process's network namespace, without loopback: of the whole host, in most cases.",
			query(rate("process_network_receive_bytes_total"), "{{instance}} in"),
			query(rate("process_network_transmit_bytes_total"), "{{instance}} out")),
		shares("Descriptors in use", "Part of those that the process may have; each connection takes one.",
			query(series("process_open_fds")+" / "+series("process_max_fds"), "{{instance}}")),
		graph("Descriptors", unitNumber, "Open ones.", query(series("process_open_fds"), "{{instance}}")),
		graph("Up for", unitSeconds, "Time since the process started: a step down is a restart.", query("time() - "+series("process_start_time_seconds"), "{{instance}}")),
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
		hidden("The host, by node_exporter (optional)", nodePanels()...),
	)
}

func nodePanels() []*Panel {
	panels := []*Panel{
		stacked("CPU by mode", unitNumber, "CPUs; softirq is the network's.", query("sum by (mode) ("+nodeRate("node_cpu_seconds_total", `mode!="idle"`)+")", "{{mode}}")),
		graph("Listen queues", unitPerSecond, "Connections dropped since the queue of a listener was full, and SYNs dropped for that and other reasons.",
			query(nodeRate("node_netstat_TcpExt_ListenOverflows"), "{{instance}} overflows"), query(nodeRate("node_netstat_TcpExt_ListenDrops"), "{{instance}} drops")),
		shares("Retransmitted", "Part of the TCP segments sent.",
			query(nodeRate("node_netstat_Tcp_RetransSegs")+" / clamp_min("+nodeRate("node_netstat_Tcp_OutSegs")+", 1e-9)", "{{instance}}")),
		graph("Softirq squeezed", unitPerSecond, "Times that a CPU ended its round of packets with some left: net.core.netdev_budget.",
			query("sum by (instance) ("+nodeRate("node_softnet_times_squeezed_total")+")", "{{instance}}")),
		graph("Dropped before the stack", unitPackets, "Packets dropped since a CPU's backlog was full: net.core.netdev_max_backlog.",
			query("sum by (instance) ("+nodeRate("node_softnet_dropped_total")+")", "{{instance}}")),
		graph("Dropped by devices", unitPackets, "Received packets that network devices dropped.", query("sum by (instance, device) ("+nodeRate("node_network_receive_drop_total")+")", "{{instance}} {{device}}")),
		graph("TCP memory", unitBytes, "Memory of all TCP sockets, bounded by net.ipv4.tcp_mem.", query(nodeSeries("node_sockstat_TCP_mem_bytes"), "{{instance}}")),
		graph("TCP sockets", unitNumber, "In use, and waiting for their end.",
			query(nodeSeries("node_sockstat_TCP_inuse"), "{{instance}} in use"), query(nodeSeries("node_sockstat_TCP_tw"), "{{instance}} time-wait")),
		shares("Descriptors of the host", "Part of fs.file-max.", query(nodeSeries("node_filefd_allocated")+" / "+nodeSeries("node_filefd_maximum"), "{{instance}}")),
		shares("Connection tracking", "Part of net.netfilter.nf_conntrack_max, where it is loaded.",
			query(nodeSeries("node_nf_conntrack_entries")+" / "+nodeSeries("node_nf_conntrack_entries_limit"), "{{instance}}")),
	}
	for _, p := range panels {
		p.needing(NeedNodeExporter)
	}
	return panels
}
