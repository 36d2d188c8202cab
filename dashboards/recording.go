package dashboards

import "fmt"

// over5m is a counter's rate over five minutes.
func over5m(metric string, matchers string) string {
	return fmt.Sprintf("rate(%s%s[5m])", metric, matchers)
}

// p99 is that of a histogram by labels; both kinds of buckets do.
func p99(by, metric string) string {
	return quantileOf(0.99, by, over5m(metric+"_bucket", ""), over5m(metric, ""))
}

// recordings have one group: what they use of each other is above them.
func recordings() Group {
	return Group{Name: "weir-recording", Recordings: []Recording{
		{Name: "instance:weir_edge_deliveries:rate5m", Expr: sumBy("job, instance", over5m("weir_edge_deliveries_total", ""))},
		{Name: "instance:weir_edge_delivery_seconds:p99_rate5m", Expr: p99("job, instance", "weir_edge_delivery_seconds")},
		{Name: "instance:weir_edge_loop_lag_seconds:p99_rate5m", Expr: p99("job, instance", "weir_edge_loop_lag_seconds")},
		{Name: "instance:weir_edge_conns:ratio", Expr: share(sumBy("job, instance", "weir_edge_conns"), sumBy("job, instance", "weir_edge_max_conns"))},
		{Name: "instance_reason:weir_edge_closed:rate5m", Expr: sumBy("job, instance, reason", over5m("weir_edge_closed_total", ""))},
		{Name: "instance:weir_edge_slow_consumers:ratio_rate5m", Expr: sumBy("job, instance", over5m("weir_edge_closed_total", `{reason="slow_consumer"}`)) +
			" / on (job, instance) clamp_min(" + sumBy("job, instance", "weir_edge_conns") + ", 1)"},
		{Name: "instance:weir_bus_publish_seconds:p99_rate5m", Expr: p99("job, instance", "weir_bus_publish_seconds")},
		{Name: "instance:weir_bus_stored_bytes:ratio", Expr: share(sumBy("job, instance", "weir_bus_stored_bytes"), sumBy("job, instance", "weir_bus_shard_max_bytes * on (job, instance) weir_bus_shards"))},
		{Name: "instance_action:weir_xdp_packets:rate5m", Expr: sumBy("job, instance, action", over5m("weir_xdp_packets_total", ""))},
		{Name: "instance_reason:weir_xdp_drops:rate5m", Expr: sumBy("job, instance, reason", over5m("weir_xdp_packets_total", `{action="drop"}`))},
		{Name: "instance_reason:weir_xdp_drops:ratio_rate5m", Expr: "instance_reason:weir_xdp_drops:rate5m / on (job, instance) group_left () clamp_min(" +
			sumBy("job, instance", "instance_action:weir_xdp_packets:rate5m") + ", 1e-9)"},
		{Name: "job_route:weir_gateway_requests:rate5m", Expr: sumBy("job, route", over5m("weir_gateway_requests_total", ""))},
		{Name: "instance_route:weir_gateway_failures:ratio_rate5m", Expr: sumBy("job, instance, route", over5m("weir_gateway_failures_total", "")) +
			" / clamp_min(" + sumBy("job, instance, route", over5m("weir_gateway_requests_total", `{outcome="admitted"}`)) + ", 1e-9)"},
		{Name: "instance_route:weir_gateway_added_seconds:p99_rate5m", Expr: p99("job, instance, route", "weir_gateway_added_seconds")},
		{Name: "instance:weir_gateway_conns:ratio", Expr: share(sumBy("job, instance", "weir_gateway_conns"), sumBy("job, instance", "weir_gateway_max_conns"))},
		{Name: "instance:weir_gateway_loop_lag_seconds:p99_rate5m", Expr: p99("job, instance", "weir_gateway_loop_lag_seconds")},
		{Name: "instance_upstream:weir_gateway_upstream_servers_up:ratio", Expr: sumBy("job, instance, upstream", `weir_gateway_upstream_servers{state=~"up|half-open"}`) +
			" / clamp_min(" + sumBy("job, instance, upstream", "weir_gateway_upstream_servers") + ", 1)"},
		{Name: "instance:weir_trace_accept_seconds:p99_rate5m", Need: NeedTracers, Expr: quantileOf(0.99, "job, instance",
			over5m(traced+"_bucket", `{tracer="accept", what="queued"}`), over5m(traced, `{tracer="accept", what="queued"}`))},
		{Name: "instance:process_open_fds:ratio", Expr: `process_open_fds{job=~".*weir.*"} / process_max_fds{job=~".*weir.*"}`},
	}}
}
