package dashboards

import "slices"

// Matchers of the routes, policies and upstreams that are chosen.
const (
	ofRoute    = `route=~"$route"`
	ofPolicy   = `policy=~"$policy"`
	ofUpstream = `upstream=~"$upstream"`
)

func gateway() *Dashboard {
	return dashboard("gateway", "weir / Gateway", "Requests by route, refusals by policy, the latency that the gateway adds, errors, and how the upstreams are.",
		variables("weir_gateway_conns",
			labelValues("route", "Route", "weir_gateway_requests_total{"+chosen+"}", "route"),
			labelValues("policy", "Policy", "weir_gateway_decisions_total{"+chosen+"}", "policy"),
			labelValues("upstream", "Upstream", "weir_gateway_upstream_servers{"+chosen+"}", "upstream")),
		slices.Concat(gatewayRequests(), gatewayRefusals(), gatewayUpstreams(), gatewayItself())...)
}

func gatewayRequests() []*Panel {
	failed := sumBy("route", rate("weir_gateway_failures_total", ofRoute))
	admitted := sumBy("route", rate("weir_gateway_requests_total", ofRoute, `outcome="admitted"`))
	return []*Panel{
		row("Requests"),
		stacked("By route", unitRequests, "Requests by route; none: no route is for them.", query(sumBy("route", rate("weir_gateway_requests_total", ofRoute)), "{{route}}")),
		stacked("By what became of them", unitRequests, "admitted ones were sent to an upstream; limited were over a quota, shed ones more than the host has room for.",
			query(sumBy("outcome", rate("weir_gateway_requests_total", ofRoute)), "{{outcome}}")),
		stacked("Answers by class", unitRequests, "By class of status; aborted: not whole.", query(sumBy("class", rate("weir_gateway_responses_total", ofRoute)), "{{class}}")),
		shares("Failed", "Part of the admitted requests that were answered with 500 or above, not at all, or not whole; but for those whose client went.",
			query(share(failed, admitted), "{{route}}")),
		graph("Failed requests", unitRequests, "The same, in requests.", query(failed, "{{route}}")),
		graph("In flight", unitNumber, "Requests that are being served.", query(sumBy("instance", series("weir_gateway_requests_in_flight")), "{{instance}}")),
		row("Latency"),
		graph("Added", unitSeconds, "Time that the gateway took itself, until it sent the answer's head.",
			query(quantile(0.5, "", "weir_gateway_added_seconds", ofRoute), "p50"),
			query(quantile(0.9, "", "weir_gateway_added_seconds", ofRoute), "p90"),
			query(quantile(0.99, "", "weir_gateway_added_seconds", ofRoute), "p99"),
			query(quantile(0.999, "", "weir_gateway_added_seconds", ofRoute), "p99.9")),
		graph("Added, p99 by route", unitSeconds, "The same, by route.", query(quantile(0.99, "route", "weir_gateway_added_seconds", ofRoute), "{{route}}")),
		graph("Whole, p99 by route", unitSeconds, "From a request's head to the end of its answer: with the upstream's time and the client's.",
			query(quantile(0.99, "route", "weir_gateway_request_seconds", ofRoute), "{{route}}")),
		heatmap("Added", "How many requests had how much added, of native buckets; those of classic ones are in the last row.", "weir_gateway_added_seconds", ofRoute),
		heatmap("Whole", "How long requests took from head to end, of native buckets; those of classic ones are in the last row.", "weir_gateway_request_seconds", ofRoute),
	}
}

func gatewayRefusals() []*Panel {
	return []*Panel{
		row("Refusals"),
		stacked("Limited, by policy", unitRequests, "Decisions that a client was over its quota.", query(sumBy("policy", rate("weir_gateway_decisions_total", ofPolicy, `result="limited"`)), "{{policy}}")),
		stacked("Would be limited, by policy", unitRequests, "The same of policies in shadow, which refuse nothing.",
			query(sumBy("policy", rate("weir_gateway_decisions_total", ofPolicy, `result="shadow"`)), "{{policy}}")),
		shares("Limited, as a part of decisions", "By policy.",
			query(share(sumBy("policy", rate("weir_gateway_decisions_total", ofPolicy, `result="limited"`)), sumBy("policy", rate("weir_gateway_decisions_total", ofPolicy))), "{{policy}}")),
		stacked("Refused for other reasons", unitRequests, "Requests that no upstream was asked for: no route, malformed, without a valid credential, more than there is room for.",
			query(sumBy("outcome", rate("weir_gateway_requests_total", ofRoute, `outcome!~"admitted|limited"`)), "{{outcome}}")),
		stacked("Connections refused", unitPerSecond, "By reason.", query(sumBy("reason", rate("weir_gateway_conns_refused_total")), "{{reason}}")),
		graph("Quota pressure", unitPerSecond, "Decisions for clients that had no place of their own, and shared a budget.",
			query(sumBy("instance", rate("weir_gateway_quota_pressure_total")), "{{instance}}")),
	}
}

func gatewayUpstreams() []*Panel {
	return []*Panel{
		row("Upstreams"),
		graph("Time of an upstream", unitSeconds, "From when the first server was asked until the head of the last one's answer: apart from what the gateway adds.",
			query(quantile(0.5, "upstream", "weir_gateway_upstream_seconds", ofUpstream), "{{upstream}} p50"),
			query(quantile(0.99, "upstream", "weir_gateway_upstream_seconds", ofUpstream), "{{upstream}} p99")).wide(12),
		heatmap("Time of upstreams", "How many requests waited how long for their upstream, of native buckets; those of classic ones are in the last row.", "weir_gateway_upstream_seconds", ofUpstream),
		stacked("Requests by how they ended", unitRequests, "Each attempt counts.", query(sumBy("outcome", rate("weir_gateway_upstream_requests_total", ofUpstream)), "{{outcome}}")),
		shares("Attempts that failed", "By upstream: all but ok and canceled.",
			query(share(sumBy("upstream", rate("weir_gateway_upstream_requests_total", ofUpstream, `outcome!~"ok|canceled"`)), sumBy("upstream", rate("weir_gateway_upstream_requests_total", ofUpstream))), "{{upstream}}")),
		stacked("Servers by state", unitNumber, "half-open: back after an ejection, on trial.", query(sumBy("state", series("weir_gateway_upstream_servers", ofUpstream)), "{{state}}")),
		graph("Servers that are not up", unitNumber, "By upstream.", query(sumBy("upstream", series("weir_gateway_upstream_servers", ofUpstream, `state!="up"`)), "{{upstream}}")),
		graph("Ejections and panic", unitPerSecond, "Servers ejected by what requests met, and picks while more servers looked bad than can be believed.",
			query(sumBy("upstream", rate("weir_gateway_upstream_ejections_total", ofUpstream)), "{{upstream}} ejected"),
			query(sumBy("upstream", rate("weir_gateway_upstream_panic_picks_total", ofUpstream)), "{{upstream}} in panic")),
		graph("Retries", unitPerSecond, "By upstream and whether the budget allowed them, and requests that were tried again.",
			query(sumBy("upstream, result", rate("weir_gateway_upstream_retries_total", ofUpstream)), "{{upstream}} {{result}}"),
			query(sumBy("", rate("weir_gateway_retries_total", ofRoute)), "requests tried again")),
	}
}

func gatewayItself() []*Panel {
	return []*Panel{
		row("Connections and bytes"),
		graph("Connections", unitNumber, "Client connections held.", query(sumBy("instance", series("weir_gateway_conns")), "{{instance}}")),
		shares("Full", "Client connections held, as a part of those that may be: gateway.max_conns.",
			query(share(sumBy("instance", series("weir_gateway_conns")), sumBy("instance", series("weir_gateway_max_conns"))), "{{instance}}")),
		graph("Accepted", unitPerSecond, "Client connections accepted.", query(sumBy("instance", rate("weir_gateway_accepted_total")), "{{instance}}")),
		graph("Bodies", unitBytesRate, "Bytes of bodies, received from clients and sent to them.", query(sumBy("direction", rate("weir_gateway_body_bytes_total", ofRoute)), "{{direction}}")),
		row("The gateway itself"),
		graph("Loop lag", unitSeconds, "How late event loops took a turn that each is asked for ten times a second, and how long one that is stuck now has taken none. All connections of a loop wait with it.",
			loopLag("gateway")...),
		heatmap("Loop lag", "How many turns of event loops were how late, of native buckets; those of classic ones are in the last row.", "weir_gateway_loop_lag_seconds").wide(16),
		graph("Reloads", unitPerSecond, "Configurations read again, by whether they hold.", query(sumBy("result", rate("weir_gateway_reloads_total")), "{{result}}")),
		graph("Access log", unitPerSecond, "Lines; dropped: the file is too slow, or cannot be written.", query(sumBy("result", rate("weir_gateway_access_log_lines_total")), "{{result}}")),
		graph("Spans", unitPerSecond, "Spans of requests; dropped: too many waited; failed: no collector took them.", query(sumBy("result", rate("weir_gateway_trace_spans_total")), "{{result}}")),
		gatewayEnvoy(),
		gatewayRedis(),
		hidden("Classic buckets (where the server stores no native histograms)",
			classicHeatmap("Added", "How many requests had how much added, of classic buckets.", "weir_gateway_added_seconds", ofRoute).needing(NeedClassic),
			classicHeatmap("Whole", "How long requests took from head to end, of classic buckets.", "weir_gateway_request_seconds", ofRoute).needing(NeedClassic),
			classicHeatmap("Time of upstreams", "How many requests waited how long for their upstream, of classic buckets.", "weir_gateway_upstream_seconds", ofUpstream).needing(NeedClassic),
			classicHeatmap("Loop lag", "How many turns of event loops were how late, of classic buckets.", "weir_gateway_loop_lag_seconds").needing(NeedClassic),
		),
	}
}

// gatewayEnvoy is what a gateway has that answers Envoys.
func gatewayEnvoy() *Panel {
	return hidden("Envoy's rate limit calls (rls)",
		graph("Calls", unitRequests, "By answer; unavailable: refused without the shared store.", query(sumBy("code", rate("weir_gateway_rls_requests_total")), "{{code}}")).needing(NeedEnvoy),
		graph("Descriptors", unitPerSecond, "By what became of them.", query(sumBy("result", rate("weir_gateway_rls_descriptors_total")), "{{result}}")).needing(NeedEnvoy),
		graph("Time of a call", unitSeconds, "Inside the gateway.",
			query(quantile(0.5, "", "weir_gateway_rls_seconds"), "p50"), query(quantile(0.99, "", "weir_gateway_rls_seconds"), "p99")).needing(NeedEnvoy),
		graph("Connections", unitNumber, "Of Envoys.", query(series("weir_gateway_rls_conns"), "{{instance}}")).needing(NeedEnvoy),
		graph("Connections refused", unitPerSecond, "Closed, as there were too many.", query(sumBy("instance", rate("weir_gateway_rls_conns_refused_total")), "{{instance}}")).needing(NeedEnvoy),
		graph("Limits of descriptors", unitPerSecond, "Limits that descriptors had, by whether they held.", query(sumBy("result", rate("weir_gateway_rls_overrides_total")), "{{result}}")).needing(NeedEnvoy),
	)
}
