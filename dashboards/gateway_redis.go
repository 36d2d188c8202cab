package dashboards

import "time"

// gatewayRedis is what a gateway has that shares quotas with others. All of it is 0 where none are.
func gatewayRedis() *Panel {
	redis := func(name string) string { return "weir_gateway_redis_" + name }
	return hidden("Shared quotas (redis)",
		graph("Redis", unitState, "connected: there is a connection, and it answered what it was asked last; breaker open: requests do not wait for it, but for one now and then.",
			query(series(redis("connected")), "{{instance}} connected"), query(series(redis("breaker_open")), "{{instance}} breaker open")),
		graph("Requests to Redis", unitRequests, "Round trips.", query(sumBy("instance", rate(redis("requests_total"))), "{{instance}}")),
		graph("Without Redis", unitPerSecond, "Decisions that were made without it, as the policies say, and requests to it that decided nothing, by why.",
			query(sumBy("", rate(redis("fallbacks_total"))), "decided without it"), query(sumBy("reason", rate(redis("errors_total"))), "{{reason}}")),
		graph("Leases", unitNumber, "Clients that have a lease, and units of leases that nobody has spent.",
			query(series(redis("leases")), "{{instance}} clients"), query(series(redis("lease_units_held")), "{{instance}} units held")),
		graph("Units of leases", unitPerSecond, "By what became of them; lost: charged late, and Redis may not have heard.", query(sumBy("result", rate(redis("lease_units_total"))), "{{result}}")),
		graph("Refills and misses", unitPerSecond, "Refills asked for, requests refused without asking as Redis had refused the like, and requests that asked Redis since there was no room for a lease.",
			query(sumBy("", rate(redis("lease_refills_total"))), "refills"), query(sumBy("", rate(redis("lease_refusals_total"))), "refused without asking"),
			query(sumBy("reason", rate(redis("lease_misses_total"))), "no lease: {{reason}}")),
	)
}

func redisAlerts() []Alert {
	return []Alert{{
		Name: "WeirGatewayRedisFallbacks", Severity: Warning, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
		Conditions:  []Condition{{Query: "rate(weir_gateway_redis_fallbacks_total[5m])", Compare: "> 0"}},
		Summary:     "{{ $labels.instance }} decides without its shared store of quotas",
		Description: "{{ $value | humanize }} decisions a second at {{ $labels.instance }} are made without Redis, as the policies say: by what this gateway alone knows, or all let in, or all refused.",
		Action:      "`weir_gateway_redis_errors_total` says why: connect (the address, the password, the network), timeout (Redis is slow, or `redis.timeout` too short), broken, answer (what it says is no answer: memory, a script that it refuses).",
	}}
}
