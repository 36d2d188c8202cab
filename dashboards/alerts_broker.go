package dashboards

import "time"

func brokerAlerts() Group {
	return Group{Name: "weir-broker", Alerts: []Alert{
		{
			Name: "WeirBusUnreachable", Severity: Critical, For: time.Minute, KeepFiringFor: time.Minute,
			Conditions:  []Condition{{Query: "weir_broker_link_up", Compare: "== 0"}},
			Summary:     "{{ $labels.instance }} does not reach the bus",
			Description: "{{ $labels.instance }} has no link to the bus: its clients stay connected and get nothing, and what is published there is refused.",
			Action:      "Is the broker up (WeirDown)? From the edge's host: `weir doctor --config weir.yaml` checks the address and the secret. When it is back, edges catch up by themselves; without files (`bus.data`) a broker that was restarted has nothing to catch up with, and subscribers are told so.",
		},
		{
			Name: "WeirBusPublishErrors", Severity: Critical, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `rate(weir_bus_publish_errors_total{reason="unavailable"}[5m])`, Compare: "> 0"}},
			Summary:     "Events published at {{ $labels.instance }} are not stored",
			Description: "{{ $value | humanize }} publishes a second at {{ $labels.instance }} fail, as the bus does not answer. Publishers are told, and have to try again.",
			Action:      "As at WeirBusUnreachable; if the link is up, the broker's disk is full or too slow: WeirBusPublishSlow, `df` there.",
		},
		{
			Name: "WeirBusPublishSlow", Severity: Warning, For: 10 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: "instance:weir_bus_publish_seconds:p99_rate5m", Compare: "> 0.25"}},
			Summary:     "Publishing at {{ $labels.instance }} is slow",
			Description: "One of a hundred publishes at {{ $labels.instance }} takes {{ $value | humanizeDuration }} or more until it is acknowledged.",
			Action:      "The broker's disk if it keeps files, its CPUs, or the network to it. Compare instances: all slow, the broker is; one slow, its way to it.",
		},
		{
			Name: "WeirBusStoreFull", Severity: Info, For: 30 * time.Minute, KeepFiringFor: 30 * time.Minute,
			Conditions:  []Condition{{Query: "instance:weir_bus_stored_bytes:ratio", Compare: "> 0.95"}},
			Summary:     "The store of {{ $labels.instance }} is full",
			Description: "The shards of {{ $labels.instance }} hold {{ $value | humanizePercentage }} of what they may: events go before they are as old as `bus.history_age` says.",
			Action:      "Who was away for long is told `recovered:false`. Raise `bus.max_bytes`, if memory or the disk has room; or lower `bus.history_events` and `bus.history_age` to what is meant.",
		},
		{
			Name: "WeirBrokerHoles", Severity: Warning, KeepFiringFor: 15 * time.Minute,
			Conditions:  []Condition{{Query: `increase(weir_broker_gaps_total{outcome="hole"}[15m])`, Compare: "> 0"}},
			Summary:     "Subscribers of {{ $labels.instance }} missed events",
			Description: "{{ $value | humanize }} gaps at {{ $labels.instance }} could not be repaired: the stream no longer has those events, or is another one. Subscribers were told `recovered:false`.",
			Action:      "A broker without files was restarted: expected; give it `bus.data`. Else the stream keeps too little for how long links are away: raise `bus.history_events`, `bus.history_age`, `bus.max_bytes`.",
		},
		{
			Name: "WeirBrokerLinkFlapping", Severity: Warning, For: time.Minute, KeepFiringFor: 15 * time.Minute,
			Conditions:  []Condition{{Query: "increase(weir_broker_link_reconnects_total[15m])", Compare: "> 3"}},
			Summary:     "The link of {{ $labels.instance }} to the bus comes and goes",
			Description: "{{ $labels.instance }} connected {{ $value | humanize }} times anew to the bus within 15 minutes.",
			Action:      "The network between them, a broker that restarts (WeirRestarting), or one that closes the link since the edge reads too slowly (WeirEdgeInboxStalls).",
		},
		{
			Name: "WeirBusLinkLosses", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 15 * time.Minute,
			Conditions:  []Condition{{Query: "increase(weir_bus_link_losses_total[15m])", Compare: "> 5"}},
			Summary:     "The link of {{ $labels.instance }} falls behind",
			Description: "{{ $value | humanize }} times within 15 minutes events may have been missing from the link of {{ $labels.instance }}; they are read from the stream, which costs time.",
			Action:      "Without reconnects: the node takes events more slowly than they come: WeirEdgeInboxStalls, WeirEdgeLoopStalled, its CPUs. With them: WeirBrokerLinkFlapping.",
		},
	}}
}

func xdpAlerts() Group {
	return Group{Name: "weir-xdp", Alerts: []Alert{
		{
			Name: "WeirXDPDrops", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance_reason:weir_xdp_drops:ratio_rate5m", Compare: "> 0.1"}},
			Summary:     "{{ $labels.instance }} drops many packets: {{ $labels.reason }}",
			Description: "{{ $value | humanizePercentage }} of the packets of {{ $labels.instance }} are dropped for {{ $labels.reason }}.",
			Action:      "An attack that is held off, or a quota that is too small: `weir quota top` names who, `weir quota explain CLIENT` says why. Too small: raise it, in mode shadow first; an attack: nothing, as long as WeirEdgeLoopStalled is quiet.",
		},
		{
			Name: "WeirXDPFlood", Severity: Warning, For: time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `rate(weir_xdp_packets_total{action="answer", reason="cookie_sent"}[5m])`, Compare: "> 100"}},
			Summary:     "A flood of SYNs at {{ $labels.instance }}",
			Description: "{{ $labels.instance }} answers {{ $value | humanize }} SYNs a second with cookies: more come than end in connections.",
			Action:      "It is held off by itself. See that honest clients get through (Accepted on the dashboard Edge). If they do not: `weir quota set mode=under-attack`, and talk to who is upstream.",
		},
		{
			Name: "WeirXDPTablePressure", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `rate(weir_xdp_table_events_total{event="slot_lost"}[5m])`, Compare: "> 1"}},
			Summary:     "The table of clients of {{ $labels.instance }} is full",
			Description: "{{ $value | humanize }} times a second there was no place for a client in the table of {{ $labels.instance }}: those share what is left of a quota.",
			Action:      "Raise `xdp.slots`, or charge larger prefixes (`xdp.ipv6_prefix`). With a flood of made-up addresses it is that: WeirXDPFlood.",
		},
		{
			Name: "WeirXDPNoRoom", Severity: Warning, KeepFiringFor: 15 * time.Minute,
			Conditions:  []Condition{{Query: "increase(weir_xdp_refused_total[15m])", Compare: "> 0"}},
			Summary:     "XDP at {{ $labels.instance }} has no room for a {{ $labels.what }}",
			Description: "{{ $value | humanize }} times within 15 minutes {{ $labels.instance }} could not note a {{ $labels.what }}: such a connection is charged to its address, such a client is not cut in the kernel.",
			Action:      "Bindings: the host holds more connections with identities than the map; fewer a host. Escalations: raise `gateway.escalate_threshold`, so that fewer are cut, or deny their networks as a whole (`weir quota deny`).",
		},
		{
			Name: "WeirXDPGeneric", Severity: Info, For: time.Hour, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `weir_xdp_attached{attach="generic"}`, Compare: "== 1"}},
			Summary:     "XDP at {{ $labels.instance }} runs behind the driver",
			Description: "The program of {{ $labels.instance }} is attached in generic mode, which costs several times as much a packet as in the driver.",
			Action:      "`weir doctor` says whether the driver has native XDP and what keeps it from it (MTU, rings, LRO); docs/HOSTS.md lists devices. On loopback and some virtual devices there is no other way: silence it.",
		},
		{
			Name: "WeirXDPShadow", Severity: Info, For: 24 * time.Hour, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `weir_xdp_mode{mode="shadow"}`, Compare: "== 1"}},
			Summary:     "Quotas of {{ $labels.instance }} have been in shadow for a day",
			Description: "{{ $labels.instance }} counts what it would drop and drops nothing, for a day or longer.",
			Action:      "Look at Passed, by reason, on the dashboard XDP: is it whom you want to drop? Then `weir quota set mode=enforce`.",
		},
	}}
}
