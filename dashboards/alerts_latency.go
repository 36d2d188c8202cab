package dashboards

import "time"

// latencyAlerts are on what tracers count, and on the tracers.
func latencyAlerts() Group {
	return Group{Name: "weir-latency", Alerts: []Alert{
		{
			Name: "WeirAcceptSlow", Severity: Warning, For: 2 * time.Minute, KeepFiringFor: 5 * time.Minute,
			Conditions:  []Condition{{Query: "instance:weir_trace_accept_seconds:p99_rate5m", Compare: "> 0.1", Need: NeedTracers}},
			Summary:     "Connections wait to be accepted at {{ $labels.instance }}",
			Description: "One of a hundred connections at {{ $labels.instance }} waits {{ $value | humanizeDuration }} or longer, established, until it is accepted.",
			Action:      "Dashboard Latency. Loops stall too (WeirTracedStalls): its cause. They wait for a CPU: fewer connections an instance, or more loops. Neither: a storm of new connections, which limits per prefix spread out.",
		},
		{
			Name: "WeirTracedStalls", Severity: Warning, For: 5 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: sumBy("job, instance, cause", over5m("weir_trace_stalls_total", "")), Compare: "> 0.1", Need: NeedTracers}},
			Summary:     "Event loops of {{ $labels.instance }} stall: {{ $labels.cause }}",
			Description: "Loops of {{ $labels.instance }} stood {{ $value | humanize }} times a second for longer than trace.threshold, for {{ $labels.cause }}.",
			Action:      "run_queue: CPUs are full, or somebody else has them. softirq: receiving takes them, see `weir tune plan`. stop_the_world: the garbage collector, see GOGC in `weir tune plan`. blocked, callback: the log names the code; `weir trace stall` shows it live.",
		},
		{
			Name: "WeirTracerOverBudget", Severity: Info, For: time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: `weir_trace_state{state="over_budget"}`, Compare: "== 1", Need: NeedTracers}},
			Summary:     "Tracer {{ $labels.tracer }} of {{ $labels.instance }} took too much",
			Description: "Tracer {{ $labels.tracer }} of {{ $labels.instance }} took more than trace.budget of a CPU though it followed as few events as it may, and is detached for ten minutes.",
			Action:      "It sees more events than it is worth: leave it out of trace.tracers, or raise trace.budget. `weir bench trace` says what each costs an event.",
		},
		{
			Name: "WeirTracerDegraded", Severity: Info, For: 10 * time.Minute, KeepFiringFor: 10 * time.Minute,
			Conditions:  []Condition{{Query: `weir_trace_state{state=~"not_permitted|no_hook|failed"}`, Compare: "== 1", Need: NeedTracers}},
			Summary:     "Tracer {{ $labels.tracer }} of {{ $labels.instance }} is not attached: {{ $labels.state }}",
			Description: "Tracer {{ $labels.tracer }} of {{ $labels.instance }} is to trace, and does not: {{ $labels.state }}.",
			Action:      "The log of the instance has the reason. not_permitted: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN in the unit. no_hook: the kernel is too old for it, see docs/TRACING.md; leave it out of trace.tracers.",
		},
	}}
}
