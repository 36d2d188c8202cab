package dashboards

import (
	"slices"
	"time"
)

func gatewayAlerts() Group {
	return Group{Name: "weir-gateway", Alerts: slices.Concat(upstreamAlerts(), roomAlerts(), redisAlerts(), []Alert{
		{
			Name: "WeirGatewayErrors", Severity: Critical, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance_route:weir_gateway_failures:ratio_rate5m", Compare: "> 0.05"}},
			Summary:     "Route {{ $labels.route }} of {{ $labels.instance }} fails",
			Description: "{{ $value | humanizePercentage }} of the admitted requests of route {{ $labels.route }} at {{ $labels.instance }} are answered with 500 or above, not at all, or not whole.",
			Action:      "Requests by how they ended, on the dashboard Gateway: 5xx is the service's own, connect_failed and timed_out that it is not there or too slow. The access log has each.",
		},
		{
			Name: "WeirGatewaySlow", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance_route:weir_gateway_added_seconds:p99_rate5m", Compare: "> 0.05"}},
			Summary:     "{{ $labels.instance }} adds much time to route {{ $labels.route }}",
			Description: "One of a hundred requests of route {{ $labels.route }} waits {{ $value | humanizeDuration }} or more for the gateway {{ $labels.instance }} itself.",
			Action:      "Its CPUs are full (dashboard Host), or the shared store of quotas is slow: Redis' own latency, and `redis.timeout` as the bound of it.",
		},
		{
			Name: "WeirGatewayReloadRejected", Severity: Warning, KeepFiringFor: 15 * time.Minute,
			Conditions:  []Condition{{Query: `increase(weir_gateway_reloads_total{result="rejected"}[15m])`, Compare: "> 0"}},
			Summary:     "{{ $labels.instance }} does not take its new routes",
			Description: "The file of routes of {{ $labels.instance }} was changed to what is wrong; it goes on with what it had.",
			Action:      "`weir gateway --routes FILE --check` says every mistake with its line and what would be right.",
		},
		{
			Name: "WeirGatewayQuotaPressure", Severity: Warning, For: 10 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: "rate(weir_gateway_quota_pressure_total[5m])", Compare: "> 1"}},
			Summary:     "{{ $labels.instance }} has more clients than places for quotas",
			Description: "{{ $value | humanize }} decisions a second at {{ $labels.instance }} were for clients without a place of their own, which share a budget: some are refused too early.",
			Action:      "Charge larger prefixes or identities instead of addresses, or raise `gateway.clients`. A flood of addresses: quotas in XDP.",
		},
		{
			Name: "WeirGatewayLogLost", Severity: Info, For: 5 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: `rate(weir_gateway_access_log_lines_total{result="dropped"}[5m])`, Compare: "> 0"}},
			Summary:     "{{ $labels.instance }} loses lines of its access log",
			Description: "{{ $value | humanize }} lines a second of the access log of {{ $labels.instance }} are dropped: its file is too slow, or cannot be written.",
			Action:      "Space and speed of the disk it is on; write it to a faster one, or lower `gateway.access_log_sample`.",
		},
		{
			Name: "WeirGatewaySpansLost", Severity: Info, For: 10 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: `sum by (job, instance) (rate(weir_gateway_trace_spans_total{result=~"dropped|failed"}[5m]))`, Compare: "> 0"}},
			Summary:     "{{ $labels.instance }} loses spans",
			Description: "{{ $value | humanize }} spans a second of {{ $labels.instance }} reach no collector.",
			Action:      "failed: the collector's address, and whether it is up. dropped: it is too slow: trace fewer requests.",
		},
		{
			Name: "WeirGatewayEnvoyInvalid", Severity: Warning, For: 2 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: `rate(weir_gateway_rls_requests_total{code="invalid"}[5m])`, Compare: "> 0", Need: NeedEnvoy}},
			Summary:     "{{ $labels.instance }} cannot decide about calls of an Envoy",
			Description: "{{ $value | humanize }} rate limit calls a second at {{ $labels.instance }} are answered with an error: Envoy lets those requests in, or refuses all, by its failure_mode_deny.",
			Action:      "Descriptors of an Envoy's configuration that are malformed, or too many in a call: the log has the first ones.",
		},
	})}
}

// roomAlerts are on loops that do not keep up, and on what there is no room for.
func roomAlerts() []Alert {
	return []Alert{
		loopsLate("WeirGatewayLoopStalled", "gateway"),
		loopStuck("WeirGatewayLoopStuck", "gateway"),
		{
			Name: "WeirGatewayShedding", Severity: Critical, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `sum by (job, instance) (rate(weir_gateway_requests_total{outcome="shed"}[5m]))`, Compare: "> 0"}},
			Summary:     "{{ $labels.instance }} refuses requests for want of room",
			Description: "{{ $labels.instance }} answers {{ $value | humanize }} requests a second with 503, the least urgent first, as there are more in flight than `max_in_flight` or the upstreams' bounds allow.",
			Action:      "In flight grows since the upstreams are slow: mend those. Else raise `max_in_flight`, or add a gateway.",
		},
		{
			Name: "WeirGatewayNearlyFull", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance:weir_gateway_conns:ratio", Compare: "> 0.9"}},
			Summary:     "{{ $labels.instance }} is nearly full",
			Description: "{{ $labels.instance }} holds {{ $value | humanizePercentage }} of the connections that it may.",
			Action:      "As at WeirGatewayConnsRefused, before clients are refused.",
		},
		{
			Name: "WeirGatewayConnsRefused", Severity: Warning, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `rate(weir_gateway_conns_refused_total{reason="full"}[5m])`, Compare: "> 0"}},
			Summary:     "{{ $labels.instance }} has no room for connections",
			Description: "{{ $labels.instance }} refuses {{ $value | humanize }} connections a second, as it holds as many as it may.",
			Action:      "Raise `gateway.max_conns` if memory and descriptors allow it, shorten the time that idle ones are kept, or add a gateway.",
		},
	}
}

func upstreamAlerts() []Alert {
	return []Alert{
		{
			Name: "WeirGatewayUpstreamDown", Severity: Critical, For: time.Minute, KeepFiringFor: 2 * time.Minute,
			Conditions:  []Condition{{Query: "instance_upstream:weir_gateway_upstream_servers_up:ratio", Compare: "== 0"}},
			Summary:     "No server of upstream {{ $labels.upstream }} is up",
			Description: "{{ $labels.instance }} sees no server of {{ $labels.upstream }} that is up: its requests are answered with 502 or 503.",
			Action:      "`curl http://ADMIN/api/gateway` has each server's state and why. Does the name resolve, is the port open from that host, what does the health check get?",
		},
		{
			Name: "WeirGatewayUpstreamDegraded", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance_upstream:weir_gateway_upstream_servers_up:ratio", Compare: "< 0.75"}},
			Summary:     "Servers of upstream {{ $labels.upstream }} are out",
			Description: "{{ $labels.instance }} sees {{ $value | humanizePercentage }} of the servers of {{ $labels.upstream }} up.",
			Action:      "As at WeirGatewayUpstreamDown, for those that are out. Draining ones are meant to be.",
		},
		{
			Name: "WeirGatewayUpstreamPanic", Severity: Critical, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "rate(weir_gateway_upstream_panic_picks_total[5m])", Compare: "> 0"}},
			Summary:     "So many servers of {{ $labels.upstream }} look bad that all are used",
			Description: "{{ $labels.instance }} picks {{ $value | humanize }} times a second among all servers of {{ $labels.upstream }}, as more look bad than can be believed (`panic_percent`).",
			Action:      "Either the service is down as a whole, or the check is wrong: `health.path` and `health.expect`.",
		},
		{
			Name: "WeirGatewayRetryBudget", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: `rate(weir_gateway_upstream_retries_total{result="refused"}[5m])`, Compare: "> 0"}},
			Summary:     "The budget of retries to {{ $labels.upstream }} is used up",
			Description: "{{ $value | humanize }} requests a second to {{ $labels.upstream }} at {{ $labels.instance }} were not tried again, as too many are.",
			Action:      "The budget does what it is for: the upstream fails more than retries can hide. Look at that; do not raise the budget in an outage.",
		},
	}
}
