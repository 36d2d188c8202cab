package dashboards

import "slices"

func edge() *Dashboard {
	return dashboard("edge", "weir / Edge", "Connections and fan-out: who comes and goes and why, how late events are, who is too slow, what a connection costs.",
		variables("weir_edge_conns"), slices.Concat(edgeConns(), edgeFanOut(), edgeSlow(), edgeTLS(), edgeMore())...)
}

func edgeConns() []*Panel {
	return []*Panel{
		row("Connections"),
		graph("Connections", unitNumber, "Held now, by instance.", query(sumBy("instance", series("weir_edge_conns")), "{{instance}}")),
		shares("Full", "Connections held, as a part of those that may be: edge.max_conns, or what the descriptor limit allows.",
			query(share(sumBy("instance", series("weir_edge_conns")), sumBy("instance", series("weir_edge_max_conns"))), "{{instance}}")),
		graph("Churn", unitPerSecond, "Handshakes answered with a subscription, connections taken over from another process, and connections that ended.",
			query(sumBy("", rate("weir_edge_accepted_total")), "accepted"),
			query(sumBy("", rate("weir_edge_adopted_total")), "taken over"),
			query(sumBy("", rate("weir_edge_closed_total")), "ended")),
		graph("Subscriptions and topics", unitNumber, "Subscriptions held, topics open for them, and those of the topics that are patterns.",
			query(sumBy("", series("weir_edge_subscriptions")), "subscriptions"),
			query(sumBy("", series("weir_edge_topics")), "topics"),
			query(sumBy("", series("weir_edge_patterns")), "patterns")),
		stacked("Ended, by reason", unitPerSecond, "Why connections ended. client_closed and peer_gone are the clients' own.",
			query(sumBy("reason", rate("weir_edge_closed_total")), "{{reason}}")).wide(12),
		stacked("Refused, by reason", unitPerSecond, "Connections that were not let in: limits, checks, tokens, malformed requests.",
			query(sumBy("reason", rate("weir_edge_closed_total",
				`reason=~"refused_.+|bad_.+|unauthorized|forbidden|not_allowed|no_token_keys|handshake_timeout|tls_error"`)), "{{reason}}")).wide(12),
	}
}

func edgeFanOut() []*Panel {
	return []*Panel{
		row("Fan-out"),
		graph("Deliveries", unitPerSecond, "Events written to connections, by instance.", query(sumBy("instance", rate("weir_edge_deliveries_total")), "{{instance}}")),
		graph("Age of events at the write", unitSeconds, "The fan-out's lag: from the publisher's weir to the write to a connection. Clocks of hosts that differ show here.",
			query(quantile(0.5, "", "weir_edge_delivery_seconds"), "p50"),
			query(quantile(0.9, "", "weir_edge_delivery_seconds"), "p90"),
			query(quantile(0.99, "", "weir_edge_delivery_seconds"), "p99"),
			query(quantile(0.999, "", "weir_edge_delivery_seconds"), "p99.9")),
		graph("Loop lag", unitSeconds, "How late event loops took a turn that each is asked for ten times a second, and how long one that is stuck now has taken none. All connections of a loop wait with it.",
			loopLag("edge")...),
		heatmap("Age of events", "How many events were how old at their write, of native buckets; those of classic ones are in the last row.", "weir_edge_delivery_seconds"),
		heatmap("Loop lag", "How many turns of event loops were how late, of native buckets; those of classic ones are in the last row.", "weir_edge_loop_lag_seconds"),
		graph("Work for an event", unitNumber, "Deliveries for each event that the edge was handed, and for each write: the first is the fan-out, the second what is written together.",
			query(share(sumBy("", rate("weir_edge_deliveries_total")), sumBy("", rate("weir_broker_events_total"))), "deliveries an event"),
			query(share(sumBy("", rate("weir_edge_deliveries_total")), sumBy("", rate("weir_edge_writes_total"))), "deliveries a write")).wide(6),
		graph("Sent", unitBytesRate, "Bytes of frames handed to the kernel or queued for it.", query(sumBy("instance", rate("weir_edge_sent_bytes_total")), "{{instance}}")).wide(6),
	}
}

// loopLag are the queries of how late the event loops of a part are.
func loopLag(part string) []*Target {
	lag := "weir_" + part + "_loop_lag_seconds"
	return []*Target{
		query(quantile(0.5, "", lag), "p50"), query(quantile(0.99, "", lag), "p99"), query(quantile(0.999, "", lag), "p99.9"),
		query("max("+series("weir_"+part+"_loop_stalled_seconds")+")", "stuck now"),
	}
}

func edgeSlow() []*Panel {
	return []*Panel{
		row("Slow consumers"),
		graph("Behind", unitNumber, "Subscriptions that are not written to now, since their connections have bytes outstanding.",
			query(sumBy("instance", series("weir_edge_behind_subscriptions")), "{{instance}}")),
		stacked("Held for clients that are behind", unitBytes, "Bytes in the process and in the kernel's sockets.",
			query(sumBy("where", series("weir_edge_held_bytes")), "{{where}}")),
		graph("Cut off", unitPerSecond, "Connections closed as slow consumers or for a pong that did not come, events that slow subscribers of topics in mode latest were not sent, and waits of the broker's reader for a loop.",
			query(sumBy("", rate("weir_edge_closed_total", `reason="slow_consumer"`)), "slow consumers closed"),
			query(sumBy("", rate("weir_edge_closed_total", `reason="pong_timeout"`)), "pong timeouts"),
			query(sumBy("", rate("weir_edge_skipped_total")), "events skipped"),
			query(sumBy("", rate("weir_edge_inbox_stalls_total")), "inbox stalls")),
		row("Memory"),
		graph("Resident memory a connection", unitBytes, "All of the process over its connections: with few of them it says little. Sockets are the kernel's, and not in it.",
			query(series("process_resident_memory_bytes")+" / on (job, instance) clamp_min("+series("weir_edge_conns")+", 1)", "{{instance}}")),
		graph("Heap in use a connection", unitBytes, "Go's heap over the connections.",
			query(series("go_memstats_heap_inuse_bytes")+" / on (job, instance) clamp_min("+series("weir_edge_conns")+", 1)", "{{instance}}")),
		graph("Resident memory", unitBytes, "Of the process.",
			query(series("process_resident_memory_bytes")+" and on (job, instance) "+series("weir_edge_conns"), "{{instance}}")),
	}
}

func edgeTLS() []*Panel {
	return []*Panel{
		row("TLS and tokens"),
		stacked("TLS connections", unitNumber, "By where their records are made: in the kernel or in the process.", query(sumBy("layer", series("weir_edge_tls_conns")), "{{layer}}")),
		stacked("TLS handshakes", unitPerSecond, "By result; refused: too many were under way.", query(sumBy("result", rate("weir_edge_tls_handshakes_total")), "{{result}}")),
		graph("TLS troubles", unitPerSecond, "Connections that the kernel did not take though it has TLS, and changes of certificate files by what became of them.",
			query(sumBy("", rate("weir_edge_tls_kernel_failures_total")), "not taken by the kernel"),
			query(sumBy("result", rate("weir_edge_tls_reloads_total")), "certificates {{result}}")),
		stat("First certificate expires", unitDate, "When; none: there is no certificate.",
			query("1000 * "+series("weir_edge_tls_certificate_expires_seconds"), "{{instance}}")).words(map[string]Word{"0": {Text: "none"}}).wide(8),
		stat("Keys for tokens", unitNumber, "Keys of the JWK set that tokens are checked with; 0: there is no set, or it is too old.",
			query(series("weir_jwks_keys"), "{{instance}}")).wide(8),
		stat("Age of the keys", unitSeconds, "Time since the JWK set was fetched that holds; 0: there is none.", query(series("weir_jwks_age_seconds"), "{{instance}}")).wide(8),
		graph("JWK set", unitPerSecond, "Fetches of the JWK set by result, and tokens that name a key which is not known, forged ones among them.",
			query(sumBy("result", rate("weir_jwks_refreshes_total")), "{{result}}"),
			query(sumBy("", rate("weir_jwks_missed_total")), "tokens with an unknown key")).wide(12),
		graph("Keys left out", unitNumber, "Keys of the JWK set that cannot be used, by why.", query(sumBy("reason", series("weir_jwks_ignored_keys")), "{{reason}}")).wide(12),
	}
}

func edgeMore() []*Panel {
	return []*Panel{
		hidden("Compression, patterns, heartbeats",
			graph("Compressed", unitPerSecond, "Handshakes that agreed on permessage-deflate, and events compressed, once an encoding.",
				query(sumBy("", rate("weir_edge_accepted_deflate_total")), "handshakes"),
				query(sumBy("", rate("weir_edge_deflated_events_total")), "events")),
			graph("Saved by compression", unitBytesRate, "Bytes saved, once an encoding, however many connections they were written to.",
				query(sumBy("instance", rate("weir_edge_deflate_saved_bytes_total")), "{{instance}}")),
			shares("Pattern matches at hand", "Part of the events matched with patterns whose topic's answer was cached.",
				query(share(sumBy("instance", rate("weir_edge_pattern_matches_total", `answer="cached"`)), sumBy("instance", rate("weir_edge_pattern_matches_total"))), "{{instance}}")),
			graph("Heartbeats", unitPerSecond, "Pings and pongs from clients.",
				query(sumBy("", rate("weir_edge_pings_total")), "pings"), query(sumBy("", rate("weir_edge_pongs_total")), "pongs")),
			graph("Rate overflows", unitPerSecond, "Connections let in without a look at the rate of their prefix, whose place others that owe had taken.",
				query(sumBy("instance", rate("weir_edge_rate_overflows_total")), "{{instance}}")),
		),
		hidden("Classic buckets (where the server stores no native histograms)",
			classicHeatmap("Age of events", "How many events were how old at their write, of classic buckets.", "weir_edge_delivery_seconds").needing(NeedClassic),
			classicHeatmap("Loop lag", "How many turns of event loops were how late, of classic buckets.", "weir_edge_loop_lag_seconds").needing(NeedClassic),
		),
		hidden("Workers (edge.workers)",
			graph("Workers", unitNumber, "Processes that serve the edge now.", query(series("weir_edge_workers"), "{{instance}}")).needing(NeedWorkers).wide(12),
			graph("Worker troubles", unitPerSecond, "Workers that ended by themselves and were started again, and times that one did not answer within 1 s.",
				query(sumBy("instance", rate("weir_edge_worker_restarts_total")), "{{instance}} restarts"),
				query(sumBy("instance", rate("weir_edge_worker_unanswered_total")), "{{instance}} unanswered")).needing(NeedWorkers).wide(12),
		),
	}
}
