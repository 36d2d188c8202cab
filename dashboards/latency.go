package dashboards

import "slices"

const traced = "weir_trace_duration_seconds"

func latency() *Dashboard {
	panels := slices.Concat(
		[]*Panel{
			row("Where the time goes"),
			tracedPanel("Waiting for accept", "From the end of the handshake until the loop takes the connection.", "accept", "queued"),
			tracedPanel("Handshakes", "From the SYN-ACK until the client's ACK: the way to it and back.", "accept", "handshake"),
			tracedPanel("Waiting to be read", "From the first bytes that nobody has read until some are.", "read", "unread"),
			tracedPanel("Waiting for a CPU", "Of the threads: from when they could run until they do.", "runq", "runnable"),
			tracedPanel("Written, until acknowledged", "Of one write of each socket at a time: the way to the client and back is in it.", "write", "to_ack"),
			tracedPanel("Written, until the driver has it", "What the host itself takes to send.", "write", "to_driver"),
			tracedPanel("Between two polls of a loop", "All connections of a loop wait as long.", "stall", "busy"),
			tracedPanel("Softirq, until it begins", "From when packets were announced until a CPU turns to them.", "softirq", "raised"),
			tracedPanel("Softirq, its work", "A round of receiving: nothing else runs on that CPU meanwhile.", "softirq", "running"),
			tracedPanel("World stopped", "By the garbage collector of Go: no goroutine runs meanwhile.", "gc", "stopped"),
			row("Stalls and connections"),
			graph("Stalls", unitPerSecond, "Times that a loop stood for longer than trace.threshold, by what took most of that; the log has the code of the longest.",
				query(sumBy("instance, cause", rate("weir_trace_stalls_total")), "{{instance}} {{cause}}")),
			graph("Polls", unitPerSecond, "Of NAPI: all, and those that ended with packets left. Of loops: stalls, and those too many to be told.",
				query(sumBy("tracer, event", rate("weir_trace_events_total")), "{{tracer}} {{event}}")),
			graph("Accept queues", unitNumber, "Connections that wait to be accepted now, and how many may.", query(series("weir_trace_accept_queue"), "{{instance}} {{which}}")),
			graph("Round trips", unitSeconds, "Of the connections that are there, smoothed by TCP: at most this.",
				query(series("weir_trace_conns_rtt_seconds", `quantile=~"0.5|0.99"`), "{{instance}} {{direction}} {{quantile}}")),
			graph("Held in sockets", unitBytes, "Bytes that are not sent, not acknowledged or not read.", query(series("weir_trace_conns_held_bytes"), "{{instance}} {{direction}} {{which}}")),
			graph("Behind", unitNumber, "Connections of which something is sent again, and those whose peers take nothing; beside all.",
				query(series("weir_trace_conns_behind"), "{{instance}} {{direction}} {{why}}"), query(series("weir_trace_conns"), "{{instance}} {{direction}} all")),
		},
		[]*Panel{
			row("What tracing costs"),
			shares("Tracers", "Of one CPU, for each tracer's own programs, and the budget that it is kept in.",
				query(sumBy("instance, tracer", rate("weir_trace_seconds_total")), "{{instance}} {{tracer}}"), query(series("weir_trace_budget_ratio"), "{{instance}} budget")),
			graph("Runs", unitPerSecond, "Of each tracer's own programs.", query(sumBy("instance, tracer", rate("weir_trace_runs_total")), "{{instance}} {{tracer}}")),
			graph("Followed, one in", unitNumber, "Events of which each tracer follows one, which counts for as many: it would take more than its budget otherwise.",
				query(series("weir_trace_sample_every")+" > 0", "{{instance}} {{tracer}}")),
			graph("States", unitState, "1 for the state that a tracer is in; the log says why one is not attached.",
				query(series("weir_trace_state")+" == 1", "{{instance}} {{tracer}} {{state}}")),
			graph("XDP programs, a run", unitSeconds, "Of all XDP programs of the host.",
				query(share(rate("weir_trace_xdp_seconds_total"), rate("weir_trace_xdp_runs_total")), "{{instance}}")),
			graph("XDP programs, runs", unitPerSecond, "Of all XDP programs of the host: one for each packet.", query(rate("weir_trace_xdp_runs_total"), "{{instance}}")),
		},
	)
	for _, p := range panels {
		p.needing(NeedTracers)
	}
	chosen := variables("weir_trace_state")
	for _, v := range chosen {
		v.need = NeedTracers
	}
	return dashboard("latency", "weir / Latency", "Where the time between the network and weir goes, by what tracers in the kernel count: of processes with trace.tracers, and of weir trace --listen.",
		chosen, panels...)
}

// tracedPanel has quantiles of a duration that a tracer counts: the bounds of its buckets, which are powers of two.
func tracedPanel(title, description, tracer, what string) *Panel {
	matchers := []string{`tracer="` + tracer + `"`, `what="` + what + `"`}
	return graph(title, unitSeconds, description+" Tracer "+tracer+".",
		query(quantile(0.5, "instance", traced, matchers...), "{{instance}} p50"), query(quantile(0.99, "instance", traced, matchers...), "{{instance}} p99"))
}
