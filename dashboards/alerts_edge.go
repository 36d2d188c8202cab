package dashboards

import "time"

// ofWeir are the targets that are weir's: their jobs have weir in the name.
const ofWeir = `{job=~".*weir.*"}`

func processAlerts() Group {
	return Group{Name: "weir-process", Alerts: []Alert{
		{
			Name: "WeirDown", Severity: Critical, For: 2 * time.Minute, KeepFiringFor: 2 * time.Minute,
			Conditions:  []Condition{{Query: "up" + ofWeir, Compare: "== 0"}},
			Summary:     "{{ $labels.instance }} cannot be scraped",
			Description: "Prometheus gets no /metrics from {{ $labels.instance }}: the process is gone, the host is, or the admin address is not reached.",
			Action:      "`curl http://INSTANCE/healthz` from the Prometheus host. No answer: look at the host and at weir's last log lines; a start that fails says why and what to do. 401: Prometheus has to send `admin.api_key` as X-API-Key.",
		},
		{
			Name: "WeirRestarting", Severity: Warning, For: time.Minute, KeepFiringFor: 15 * time.Minute,
			Conditions:  []Condition{{Query: "changes(process_start_time_seconds" + ofWeir + "[30m])", Compare: "> 2"}},
			Summary:     "{{ $labels.instance }} restarts again and again",
			Description: "{{ $labels.instance }} started {{ $value | humanize }} times anew within 30 minutes.",
			Action:      "Read the log before each start: an error that ends weir says what to do. Nothing there: `dmesg` for the kernel's OOM killer. A deploy that goes on is no trouble.",
		},
		{
			Name: "WeirFileDescriptors", Severity: Critical, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance:process_open_fds:ratio", Compare: "> 0.8"}},
			Summary:     "{{ $labels.instance }} is short of file descriptors",
			Description: "{{ $labels.instance }} has {{ $value | humanizePercentage }} of the descriptors it may have. Each connection takes one; without one nobody is accepted.",
			Action:      "Raise LimitNOFILE of the unit and fs.nr_open (`weir doctor` says to what), set `edge.max_conns` to what the host can hold, or spread the connections with `edge.workers` or more hosts.",
		},
	}}
}

func edgeAlerts() Group {
	return Group{Name: "weir-edge", Alerts: append([]Alert{
		loopsLate("WeirEdgeLoopStalled", "edge"),
		loopStuck("WeirEdgeLoopStuck", "edge"),
		{
			Name: "WeirEdgeDeliverySlow", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance:weir_edge_delivery_seconds:p99_rate5m", Compare: "> 0.5"}},
			Summary:     "Events reach clients of {{ $labels.instance }} late",
			Description: "One of a hundred events is {{ $value | humanizeDuration }} old or older when {{ $labels.instance }} writes it.",
			Action:      "Compare with WeirEdgeLoopStalled (the edge is late), WeirBusPublishSlow (the bus is), WeirBusLinkLosses (the link is). One edge alone, and by a constant: its clock is off.",
		},
		{
			Name: "WeirEdgeSlowConsumers", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: "instance:weir_edge_slow_consumers:ratio_rate5m", Compare: "> 0.001"}},
			Summary:     "{{ $labels.instance }} cuts off many slow consumers",
			Description: "{{ $labels.instance }} closes {{ $value | humanizePercentage }} of its connections a second since they do not take what is sent to them.",
			Action:      "`weir why ADDRESS` tells of one. Many at once: too much for their links: fewer or smaller events, compression, topics in mode latest. From one network: that network. They come back by themselves, with `since=` without a loss.",
		},
		{
			Name: "WeirEdgeInboxStalls", Severity: Warning, For: 10 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: "rate(weir_edge_inbox_stalls_total[5m])", Compare: "> 1"}},
			Summary:     "Event loops of {{ $labels.instance }} do not keep up",
			Description: "The broker's reader of {{ $labels.instance }} waited {{ $value | humanize }} times a second for a loop that had not taken what it was given before.",
			Action:      "The edge writes more than its CPUs can: spread the connections over more of them or over more hosts; see Deliveries on the dashboard Edge for how much it is.",
		},
		{
			Name: "WeirEdgeNearlyFull", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance:weir_edge_conns:ratio", Compare: "> 0.9"}},
			Summary:     "{{ $labels.instance }} is nearly full",
			Description: "{{ $labels.instance }} holds {{ $value | humanizePercentage }} of the connections that it may.",
			Action:      "As at WeirEdgeFull, before clients are refused. With edge.workers the bound is that of all workers; the limit of descriptors is one for each.",
		},
		{
			Name: "WeirEdgeFull", Severity: Critical, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `rate(weir_edge_closed_total{reason="refused_full"}[5m])`, Compare: "> 0"}},
			Summary:     "{{ $labels.instance }} is full",
			Description: "{{ $labels.instance }} refuses {{ $value | humanize }} connections a second, as it holds as many as it may.",
			Action:      "Add an edge, or raise `edge.max_conns` if memory and descriptors allow it (`weir doctor`). A few addresses that hold very many: `edge` limits of a prefix.",
		},
	}, credentialAlerts()...)}
}

// loopsLate is the alert on event loops of a part that take their turns late.
func loopsLate(name, part string) Alert {
	return Alert{
		Name: name, Severity: Warning, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
		Conditions:  []Condition{{Query: "instance:weir_" + part + "_loop_lag_seconds:p99_rate5m", Compare: "> 0.1"}},
		Summary:     "Event loops of {{ $labels.instance }} are late",
		Description: "One of a hundred turns of the event loops of {{ $labels.instance }} is {{ $value | humanizeDuration }} late or later; all connections of a loop wait as long.",
		Action:      "CPUs full: fewer connections an instance, or more CPUs. Not full: somebody else takes them (cgroup limits, steal, another process): dashboard Host. Neither: take a profile at /debug/pprof/profile while it lasts, or `weir trace` on the host.",
	}
}

// loopStuck is the alert on one that takes none.
func loopStuck(name, part string) Alert {
	return Alert{
		Name: name, Severity: Critical, For: time.Minute, KeepFiringFor: 2 * time.Minute,
		Conditions:  []Condition{{Query: "weir_" + part + "_loop_stalled_seconds", Compare: "> 10"}},
		Summary:     "An event loop of {{ $labels.instance }} is stuck",
		Description: "An event loop of {{ $labels.instance }} has not taken its turn for {{ $value | humanizeDuration }}: none of its connections is served.",
		Action:      "`curl http://ADMIN/debug/pprof/goroutine?debug=2` says what the loop is in: keep it for a report. Then restart the instance; as a service with WatchdogSec it is restarted by itself.",
	}
}

// credentialAlerts are on certificates and keys of tokens.
func credentialAlerts() []Alert {
	return []Alert{
		{
			Name: "WeirEdgeCertificateExpires", Severity: Warning, For: time.Hour, KeepFiringFor: time.Hour,
			Conditions: []Condition{
				{Query: "weir_edge_tls_certificate_expires_seconds - time()", Compare: "< 14 * 86400"},
				{Query: "weir_edge_tls_certificate_expires_seconds", Compare: "> 0"},
			},
			Summary:     "A certificate of {{ $labels.instance }} expires soon",
			Description: "The first certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}.",
			Action:      "Renew it and put the files where `edge.tls_certificates` says: they are read within 5 s, without a restart. If they were renewed: WeirEdgeCertificateRejected.",
		},
		{
			Name: "WeirEdgeCertificateExpiring", Severity: Critical, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions: []Condition{
				{Query: "weir_edge_tls_certificate_expires_seconds - time()", Compare: "< 2 * 86400"},
				{Query: "weir_edge_tls_certificate_expires_seconds", Compare: "> 0"},
			},
			Summary:     "A certificate of {{ $labels.instance }} is about to expire",
			Description: "The first certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}; clients refuse it then.",
			Action:      "As at WeirEdgeCertificateExpires, now.",
		},
		{
			Name: "WeirEdgeCertificateRejected", Severity: Warning, KeepFiringFor: 15 * time.Minute,
			Conditions:  []Condition{{Query: `increase(weir_edge_tls_reloads_total{result="rejected"}[15m])`, Compare: "> 0"}},
			Summary:     "{{ $labels.instance }} does not take a new certificate",
			Description: "Files of certificates of {{ $labels.instance }} changed to what cannot be served; it goes on with what it had.",
			Action:      "The log says which file and why: half a file, a key of another certificate, expired. Write both files anew; it looks every 5 s.",
		},
		{
			Name: "WeirTokenKeysMissing", Severity: Critical, For: 2 * time.Minute, KeepFiringFor: 2 * time.Minute,
			Conditions: []Condition{
				{Query: "weir_jwks_keys", Compare: "== 0"},
				{Query: "sum by (job, instance) (weir_jwks_refreshes_total)", Compare: "> 0"},
			},
			Summary:     "{{ $labels.instance }} has no keys for tokens",
			Description: "{{ $labels.instance }} has no key of its JWK set that is usable and not too old: every token is refused.",
			Action:      "`weir_jwks_refreshes_total` says what becomes of fetches, the log why. `curl` the address of `auth.jwks` from that host.",
		},
		{
			Name: "WeirTokenKeysStale", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "weir_jwks_age_seconds", Compare: "> 3600"}},
			Summary:     "{{ $labels.instance }} cannot refresh its keys for tokens",
			Description: "The JWK set of {{ $labels.instance }} is {{ $value | humanizeDuration }} old. Keys that were added since are not known; when it is too old, none is.",
			Action:      "As at WeirTokenKeysMissing, before it comes to that: `auth.jwks_max_stale` says when. If `auth.jwks_refresh` is near an hour or longer, raise the threshold.",
		},
	}
}
