package dashboards

import "fmt"

// alertCase has series at which an alert fires, and at which it does not: a selector without the labels of its target, and a value
// as promtool writes it: 1 stays, 0+6 grows by 6 each minute. Histograms are classic: promtool 2.42 knows no native ones.
type alertCase struct{ fires, quiet []string }

func one(fires, quiet string) alertCase { return alertCase{[]string{fires}, []string{quiet}} }

func alertCases() map[string]alertCase {
	return map[string]alertCase{
		"WeirDown":       one("up 0", "up 1"),
		"WeirRestarting": one("process_start_time_seconds 0+1", "process_start_time_seconds 5"),
		"WeirFileDescriptors": {
			[]string{"process_open_fds 900", "process_max_fds 1000"},
			[]string{"process_open_fds 700", "process_max_fds 1000"},
		},
		"WeirEdgeLoopStalled":    {histogram("weir_edge_loop_lag_seconds", "", 1), histogram("weir_edge_loop_lag_seconds", "", 1000)},
		"WeirEdgeLoopStuck":      one("weir_edge_loop_stalled_seconds 15", "weir_edge_loop_stalled_seconds 0.2"),
		"WeirGatewayLoopStalled": {histogram("weir_gateway_loop_lag_seconds", "", 1), histogram("weir_gateway_loop_lag_seconds", "", 1000)},
		"WeirGatewayLoopStuck":   one("weir_gateway_loop_stalled_seconds 15", "weir_gateway_loop_stalled_seconds 0.2"),
		"WeirEdgeDeliverySlow":   {histogram("weir_edge_delivery_seconds", "", 1), histogram("weir_edge_delivery_seconds", "", 1000)},
		"WeirEdgeSlowConsumers": {
			[]string{`weir_edge_closed_total{reason="slow_consumer"} 0+600`, "weir_edge_conns 1000"},
			[]string{`weir_edge_closed_total{reason="slow_consumer"} 0+6`, `weir_edge_closed_total{reason="client_closed"} 0+600`, "weir_edge_conns 1000"},
		},
		"WeirEdgeInboxStalls":   one("weir_edge_inbox_stalls_total 0+600", "weir_edge_inbox_stalls_total 0+6"),
		"WeirEdgeNearlyFull":    {[]string{"weir_edge_conns 950", "weir_edge_max_conns 1000"}, []string{"weir_edge_conns 850", "weir_edge_max_conns 1000"}},
		"WeirGatewayNearlyFull": {[]string{"weir_gateway_conns 950", "weir_gateway_max_conns 1000"}, []string{"weir_gateway_conns 850", "weir_gateway_max_conns 1000"}},
		"WeirBusStoreFull":      {stored(1, 99), stored(2, 99)},
		"WeirEdgeFull":          one(`weir_edge_closed_total{reason="refused_full"} 0+6`, `weir_edge_closed_total{reason="refused_rate"} 0+6`),
		"WeirEdgeCertificateExpires": { // it is the year 1970
			[]string{"weir_edge_tls_certificate_expires_seconds 864000"},
			[]string{"weir_edge_tls_certificate_expires_seconds 0"}, // there is none
		},
		"WeirEdgeCertificateExpiring": one("weir_edge_tls_certificate_expires_seconds 86400", "weir_edge_tls_certificate_expires_seconds 864000"),
		"WeirEdgeCertificateRejected": one(`weir_edge_tls_reloads_total{result="rejected"} 0+1`, `weir_edge_tls_reloads_total{result="taken"} 0+1`),
		"WeirTokenKeysMissing": {
			[]string{"weir_jwks_keys 0", `weir_jwks_refreshes_total{result="unreachable"} 7`, `weir_jwks_refreshes_total{result="updated"} 0`},
			[]string{"weir_jwks_keys 0", `weir_jwks_refreshes_total{result="unreachable"} 0`}, // there is no JWK set
		},
		"WeirTokenKeysStale":      one("weir_jwks_age_seconds 7200", "weir_jwks_age_seconds 300"),
		"WeirBusUnreachable":      one("weir_broker_link_up 0", "weir_broker_link_up 1"),
		"WeirBusPublishErrors":    one(`weir_bus_publish_errors_total{reason="unavailable"} 0+6`, `weir_bus_publish_errors_total{reason="too_large"} 0+6`),
		"WeirBusPublishSlow":      {histogram("weir_bus_publish_seconds", "", 1), histogram("weir_bus_publish_seconds", "", 1000)},
		"WeirBrokerHoles":         one(`weir_broker_gaps_total{outcome="hole"} 0+1`, `weir_broker_gaps_total{outcome="recovered"} 0+1`),
		"WeirBrokerLinkFlapping":  one("weir_broker_link_reconnects_total 0+1", "weir_broker_link_reconnects_total 3"),
		"WeirBusLinkLosses":       one("weir_bus_link_losses_total 0+1", "weir_bus_link_losses_total 9"),
		"WeirXDPDrops":            {packets("drop", "quota_packets", 50), packets("drop", "quota_packets", 1)},
		"WeirXDPFlood":            {packets("answer", "cookie_sent", 9000), packets("answer", "cookie_sent", 1)},
		"WeirXDPTablePressure":    one(`weir_xdp_table_events_total{event="slot_lost"} 0+600`, `weir_xdp_table_events_total{event="slot_taken"} 0+600`),
		"WeirXDPNoRoom":           one(`weir_xdp_refused_total{what="binding"} 0+1`, `weir_xdp_refused_total{what="binding"} 7`),
		"WeirXDPGeneric":          one(`weir_xdp_attached{attach="generic"} 1`, `weir_xdp_attached{attach="native"} 1`),
		"WeirXDPShadow":           one(`weir_xdp_mode{mode="shadow"} 1`, `weir_xdp_mode{mode="enforce"} 1`),
		"WeirGatewayErrors":       {failures(60), failures(1)},
		"WeirGatewaySlow":         {histogram("weir_gateway_added_seconds", `route="api"`, 1), histogram("weir_gateway_added_seconds", `route="api"`, 1000)},
		"WeirGatewayShedding":     one(`weir_gateway_requests_total{route="api",outcome="shed"} 0+6`, `weir_gateway_requests_total{route="api",outcome="limited"} 0+6`),
		"WeirGatewayConnsRefused": one(`weir_gateway_conns_refused_total{reason="full"} 0+6`, `weir_gateway_conns_refused_total{reason="tls"} 0+6`),
		"WeirGatewayReloadRejected": one(`weir_gateway_reloads_total{result="rejected"} 0+1`,
			`weir_gateway_reloads_total{result="taken"} 0+1`),
		"WeirGatewayQuotaPressure": one("weir_gateway_quota_pressure_total 0+600", "weir_gateway_quota_pressure_total 0+6"),
		"WeirGatewayLogLost": one(`weir_gateway_access_log_lines_total{result="dropped"} 0+6`,
			`weir_gateway_access_log_lines_total{result="written"} 0+6`),
		"WeirGatewaySpansLost":        one(`weir_gateway_trace_spans_total{result="failed"} 0+6`, `weir_gateway_trace_spans_total{result="sent"} 0+6`),
		"WeirGatewayUpstreamDown":     {servers(0, 2), servers(1, 1)},
		"WeirGatewayUpstreamDegraded": {servers(1, 1), servers(4, 1)},
		"WeirGatewayUpstreamPanic":    one(`weir_gateway_upstream_panic_picks_total{upstream="app"} 0+6`, `weir_gateway_upstream_panic_picks_total{upstream="app"} 6`),
		"WeirGatewayRetryBudget": one(`weir_gateway_upstream_retries_total{upstream="app",result="refused"} 0+6`,
			`weir_gateway_upstream_retries_total{upstream="app",result="allowed"} 0+6`),
		"WeirGatewayRedisFallbacks": one("weir_gateway_redis_fallbacks_total 0+6", "weir_gateway_redis_fallbacks_total 6"),
		"WeirGatewayEnvoyInvalid":   one(`weir_gateway_rls_requests_total{code="invalid"} 0+6`, `weir_gateway_rls_requests_total{code="over_limit"} 0+6`),
		"WeirAcceptSlow":            {histogram(traced, `tracer="accept",what="queued"`, 1), histogram(traced, `tracer="accept",what="queued"`, 1000)},
		"WeirTracedStalls":          one(`weir_trace_stalls_total{cause="run_queue"} 0+60`, `weir_trace_stalls_total{cause="run_queue"} 0+1`),
		"WeirTracerOverBudget":      one(`weir_trace_state{tracer="runq",state="over_budget"} 1`, `weir_trace_state{tracer="runq",state="over_budget"} 0`),
		"WeirTracerDegraded":        one(`weir_trace_state{tracer="write",state="no_hook"} 1`, `weir_trace_state{tracer="write",state="off"} 1`),
		"WeirHostListenOverflows":   one("weir_host_listen_overflows_total 0+6", "weir_host_listen_overflows_total 6"),
		"WeirHostSoftirqSqueezed":   one("weir_host_softnet_squeezed_total 0+6000", "weir_host_softnet_squeezed_total 0+60"),
		"WeirHostRetransmits": {
			[]string{"weir_host_tcp_retransmitted_segments_total 0+600", "weir_host_tcp_sent_segments_total 0+6000"},
			[]string{"weir_host_tcp_retransmitted_segments_total 0+6", "weir_host_tcp_sent_segments_total 0+6000"},
		},
		"WeirHostConntrackFull": {
			[]string{"weir_host_conntrack_entries 900", "weir_host_conntrack_max_entries 1000"},
			[]string{"weir_host_conntrack_entries 100", "weir_host_conntrack_max_entries 1000"},
		},
		"WeirHostTCPMemory": {
			[]string{"weir_host_tcp_memory_bytes 900", "weir_host_tcp_max_memory_bytes 1000"},
			[]string{"weir_host_tcp_memory_bytes 700", "weir_host_tcp_max_memory_bytes 1000"},
		},
		"WeirHostTCPMemoryAborts": one("weir_host_tcp_memory_aborts_total 0+1", "weir_host_tcp_memory_aborts_total 7"),
		"WeirHostTuningDrift":     one("weir_tuning_drifted_settings 1", "weir_tuning_drifted_settings 0"),
	}
}

// histogram has a hundred values a minute of 10 ms to 1 s, and fast times as many of at most 10 ms.
func histogram(name, labels string, fast int) []string {
	if labels != "" {
		labels += ","
	}
	return []string{
		growing(name+`_bucket{`+labels+`le="0.01"}`, 100*fast),
		growing(name+`_bucket{`+labels+`le="1"}`, 100*fast+100),
		growing(name+`_bucket{`+labels+`le="+Inf"}`, 100*fast+100),
	}
}

func growing(selector string, perMinute int) string {
	return fmt.Sprintf("%s 0+%d", selector, perMinute)
}

func constant(selector string, value int) string { return fmt.Sprintf("%s %d", selector, value) }

// packets are a hundred a minute that pass, and others.
func packets(action, reason string, perMinute int) []string {
	return []string{`weir_xdp_packets_total{action="pass",reason="pass_quota"} 0+100`, growing(`weir_xdp_packets_total{action="`+action+`",reason="`+reason+`"}`, perMinute)}
}

// stored are so many bytes in memory, of shards that may hold a hundred each.
func stored(shards, bytes int) []string {
	return []string{
		constant(`weir_bus_stored_bytes{storage="memory"}`, bytes), `weir_bus_stored_bytes{storage="file"} 0`,
		constant("weir_bus_shards", shards), "weir_bus_shard_max_bytes 100",
	}
}

func failures(perMinute int) []string {
	return []string{`weir_gateway_requests_total{route="api",outcome="admitted"} 0+600`, `weir_gateway_requests_total{route="api",outcome="limited"} 0+600`, growing(`weir_gateway_failures_total{route="api"}`, perMinute)}
}

func servers(up, ejected int) []string {
	return []string{constant(`weir_gateway_upstream_servers{upstream="app",state="up"}`, up), constant(`weir_gateway_upstream_servers{upstream="app",state="ejected"}`, ejected)}
}
