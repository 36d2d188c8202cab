package dashboards

import (
	"fmt"
	"strings"
	"time"
)

// Severity says how soon somebody has to look.
type Severity string

// The severities.
const (
	Critical Severity = "critical" // now: clients are refused, or lose events
	Warning  Severity = "warning"  // today: it gets worse, or a part is lost
	Info     Severity = "info"     // some time: it is not as it should be
)

// Recording is a rule that stores a query's result. Its name is level:metric:operations.
type Recording struct {
	Name, Expr string
	// Need is as with queries of panels.
	Need Need
}

// Condition is a query whose values are compared.
type Condition struct {
	Query, Compare string // the latter is an operator and a number
	Need           Need
}

// Alert is a rule that tells somebody. Its conditions hold for the same job and instance, if they are several.
type Alert struct {
	Name       string
	Severity   Severity
	Conditions []Condition
	// For is how long they hold before it fires, KeepFiringFor how long it goes on when they no longer do.
	For, KeepFiringFor time.Duration
	// Summary and Description are its annotations: Prometheus templates.
	Summary, Description string
	// Action is what to do, in docs/ALERTS.md.
	Action string
}

// Expr is the alert's expression.
func (a *Alert) Expr() string {
	parts := make([]string, len(a.Conditions))
	for i, c := range a.Conditions {
		parts[i] = c.Query + " " + c.Compare
	}
	return strings.Join(parts, " and on (job, instance) ")
}

// Runbook is where docs/ALERTS.md says what to do.
func (a *Alert) Runbook() string { return "docs/ALERTS.md#" + strings.ToLower(a.Name) }

// Group is evaluated in order.
type Group struct {
	Name       string
	Recordings []Recording
	Alerts     []Alert
}

// ruleFile is a file of Prometheus rules.
type ruleFile struct {
	Name   string
	Says   string // a comment at its top
	Groups []Group
}

// RuleFiles are the files of rules, by name.
func ruleFiles() []ruleFile {
	return []ruleFile{
		{"weir-recording.yml", "What the alerts and whoever asks often need.", []Group{recordings()}},
		{"weir-alerts.yml", "Alerts on what weir itself exports. They need weir-recording.yml.", []Group{processAlerts(), edgeAlerts(), brokerAlerts(), xdpAlerts(), gatewayAlerts(), latencyAlerts()}},
		{"weir-host-alerts.yml", "Alerts on the host beside weir, by what weir reads of it: each process of a host tells the same.", []Group{hostAlerts()}},
	}
}

// Groups are all groups of rules.
func Groups() (all []Group) {
	for _, f := range ruleFiles() {
		all = append(all, f.Groups...)
	}
	return all
}

// quoted is a YAML scalar.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// duration is one as Prometheus writes it.
func duration(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// yaml is the file's text.
func (f *ruleFile) yaml() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# %s\n# Made by go generate ./dashboards: change dashboards/*.go instead.", f.Says)
	line("groups:")
	for _, g := range f.Groups {
		line("  - name: %s\n    rules:", g.Name)
		for _, r := range g.Recordings {
			line("      - record: %s\n        expr: %s", r.Name, quoted(r.Expr))
		}
		for i := range g.Alerts {
			g.Alerts[i].yaml(line)
		}
	}
	return b.String()
}

func (a *Alert) yaml(line func(string, ...any)) {
	line("      - alert: %s\n        expr: %s", a.Name, quoted(a.Expr()))
	if a.For > 0 {
		line("        for: %s", duration(a.For))
	}
	line("        keep_firing_for: %s", duration(a.KeepFiringFor))
	line("        labels:\n          severity: %s", a.Severity)
	line("        annotations:\n          summary: %s\n          description: %s\n          runbook: %s", quoted(a.Summary), quoted(a.Description), quoted(a.Runbook()))
}

// alertsPage is docs/ALERTS.md.
func alertsPage() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Alerts\n\nWhat each alert of [dashboards/rules](../dashboards/rules) means, and what to do. DASHBOARDS.md says how to load them.")
	line("critical: look now, clients are refused or lose events; warning: today; info: some time.\nThis page is made by `go generate ./dashboards`.")
	for _, f := range ruleFiles() {
		for _, g := range f.Groups {
			for i := range g.Alerts {
				a := &g.Alerts[i]
				line("\n## %s\n", a.Name)
				line("%s, after %s. %s\n", a.Severity, duration(a.For), templateWords.Replace(a.Description))
				line("    %s\n", a.Expr())
				line("%s", a.Action)
			}
		}
	}
	return b.String()
}

// templateWords are for what a description takes of the alert's series.
var templateWords = strings.NewReplacer(
	"{{ $labels.instance }}", "INSTANCE", "{{ $labels.reason }}", "REASON", "{{ $labels.route }}", "ROUTE", "{{ $labels.upstream }}", "UPSTREAM", "{{ $labels.what }}", "WHAT",
	"{{ $labels.cause }}", "CAUSE", "{{ $labels.tracer }}", "TRACER", "{{ $labels.state }}", "STATE",
	"{{ $value | humanizePercentage }}", "N %", "{{ $value | humanizeDuration }}", "N s", "{{ $value | humanize }}", "N",
)
