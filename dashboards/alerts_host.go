package dashboards

import "time"

// hostAlerts are on the host, as weir reads it.
func hostAlerts() Group {
	return Group{Name: "weir-host", Alerts: append(memoryAlerts(), []Alert{
		{
			Name: "WeirHostListenOverflows", Severity: Warning, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "rate(weir_host_listen_overflows_total[5m])", Compare: "> 0"}},
			Summary:     "Listen queues of {{ $labels.instance }} overflow",
			Description: "{{ $value | humanize }} connections a second at {{ $labels.instance }} were dropped since the queue of a listener was full: they are tried again a second later, or not.",
			Action:      "net.core.somaxconn is too small for a storm of connections, or the loops accept too late: WeirEdgeLoopStalled, WeirGatewayLoopStalled. `weir trace` on the host says how long connections wait to be accepted.",
		},
		{
			Name: "WeirHostSoftirqSqueezed", Severity: Warning, For: 10 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: "rate(weir_host_softnet_squeezed_total[5m])", Compare: "> 10"}},
			Summary:     "CPUs of {{ $labels.instance }} do not keep up with packets",
			Description: "{{ $value | humanize }} times a second a CPU of {{ $labels.instance }} ended its round of packets with some left.",
			Action:      "Spread the queues of the NIC over more CPUs (`weir doctor`), then raise net.core.netdev_budget and netdev_budget_usecs.",
		},
		{
			Name: "WeirHostRetransmits", Severity: Warning, For: 10 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: "rate(weir_host_tcp_retransmitted_segments_total[5m]) / clamp_min(rate(weir_host_tcp_sent_segments_total[5m]), 1)", Compare: "> 0.05"}},
			Summary:     "{{ $labels.instance }} sends much twice",
			Description: "{{ $value | humanizePercentage }} of the TCP segments of {{ $labels.instance }} are sent again.",
			Action:      "Loss between here and the clients: drops of the NIC and its switch port, a link that is full, a path MTU that is not discovered.",
		},
		{
			Name: "WeirHostConntrackFull", Severity: Critical, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "weir_host_conntrack_entries / weir_host_conntrack_max_entries", Compare: "> 0.8", Need: NeedConntrack}},
			Summary:     "Connection tracking of {{ $labels.instance }} is almost full",
			Description: "{{ $labels.instance }} tracks {{ $value | humanizePercentage }} of the connections it can; when it is full, new ones are dropped.",
			Action:      "Leave weir's ports out of tracking (a notrack rule), or raise net.netfilter.nf_conntrack_max.",
		},
		{
			Name: "WeirHostTuningDrift", Severity: Warning, For: 10 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: "weir_tuning_drifted_settings", Compare: "> 0", Need: NeedTuned}},
			Summary:     "Settings of the host of {{ $labels.instance }} have drifted",
			Description: "{{ $value | humanize }} settings of the host of {{ $labels.instance }} are no longer as `weir tune apply` made them.",
			Action:      "`weir tune verify` says which, and what they are now. After a reboot it is all of them: `weir tune plan --sysctl` prints a file that holds over that. Else something writes them too: tuned, irqbalance, another file of sysctl.d. Then `weir tune apply`, or `weir tune rollback` if they are not to hold.",
		},
	}...)}
}

// memoryAlerts are on the memory of TCP.
func memoryAlerts() []Alert {
	return []Alert{
		{
			Name: "WeirHostTCPMemory", Severity: Critical, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "weir_host_tcp_memory_bytes / weir_host_tcp_max_memory_bytes", Compare: "> 0.8", Need: NeedHostNetwork}},
			Summary:     "The host of {{ $labels.instance }} is short of memory for TCP",
			Description: "The TCP sockets of the host of {{ $labels.instance }} hold {{ $value | humanizePercentage }} of the memory that they may. At all of it connections are ended, whoever they are.",
			Action:      "A burst to many slow clients, or one that holds much: Slow consumers on the dashboard Edge. Raise the last number of net.ipv4.tcp_mem if the host has memory (`weir tune plan` says to what), lower net.ipv4.tcp_wmem, or spread the connections. The kernel's log says `TCP: out of memory` when it has come to that.",
		},
		{
			Name: "WeirHostTCPMemoryAborts", Severity: Critical, KeepFiringFor: 15 * time.Minute,
			Conditions:  []Condition{{Query: "increase(weir_host_tcp_memory_aborts_total[15m])", Compare: "> 0"}},
			Summary:     "Connections of {{ $labels.instance }} were ended for want of memory",
			Description: "The kernel ended {{ $value | humanize }} connections at {{ $labels.instance }} within 15 minutes for want of memory for TCP, or since too many had nobody left who has them open.",
			Action:      "As at WeirHostTCPMemory. Is that quiet: the orphans of TCP sockets on the dashboard Host against net.ipv4.tcp_max_orphans, which a mass disconnect fills.",
		},
	}
}
