package dashboards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestRulesFollowTheConvention(t *testing.T) {
	seen := map[string]bool{}
	once := func(name string) {
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
	for _, g := range Groups() {
		for _, r := range g.Recordings {
			once(r.Name)
			if !regexp.MustCompile(`^[a-z_]+:[a-z_]+:[a-z0-9_]+$`).MatchString(r.Name) {
				t.Errorf("%s is not level:metric:operations", r.Name)
			}
		}
		for i := range g.Alerts {
			a := &g.Alerts[i]
			once(a.Name)
			if !strings.HasPrefix(a.Name, "Weir") || a.Summary == "" || a.Description == "" || a.Action == "" || len(a.Conditions) == 0 || a.KeepFiringFor == 0 {
				t.Errorf("%s lacks a part, or is not named Weir…", a.Name)
			}
			if a.Severity != Critical && a.Severity != Warning && a.Severity != Info {
				t.Errorf("%s has severity %q", a.Name, a.Severity)
			}
			// What says that something has happened fires at once; what says how something is waits.
			if a.For == 0 && !strings.HasPrefix(a.Conditions[0].Query, "increase(") {
				t.Errorf("%s fires at once", a.Name)
			}
		}
	}
}

func TestEveryAlertHasARunbook(t *testing.T) {
	page, err := os.ReadFile("../docs/ALERTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range Groups() {
		for i := range g.Alerts {
			a := &g.Alerts[i]
			_, anchor, _ := strings.Cut(a.Runbook(), "#")
			if anchor != strings.ToLower(a.Name) || !strings.Contains(string(page), "\n## "+a.Name+"\n") {
				t.Errorf("%s has no section in docs/ALERTS.md", a.Name)
			}
		}
	}
	if i := strings.Index(string(page), "{{"); i >= 0 {
		t.Errorf("a template is left in docs/ALERTS.md: %.60s", page[i:])
	}
}

func TestEveryDashboardAndFileOfRulesIsInTheGuide(t *testing.T) {
	page, err := os.ReadFile("../docs/DASHBOARDS.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	for path := range files {
		if name := filepath.Base(path); !strings.Contains(string(page), name) {
			t.Errorf("docs/DASHBOARDS.md does not tell of %s", name)
		}
	}
	for _, g := range Groups() {
		for _, r := range g.Recordings {
			if !strings.Contains(string(page), "`"+r.Name+"`") {
				t.Errorf("docs/DASHBOARDS.md does not tell of %s", r.Name)
			}
		}
		for i := range g.Alerts {
			a := &g.Alerts[i]
			if !strings.Contains(string(page), fmt.Sprintf("[%s](%s) | %s |", a.Name, strings.TrimPrefix(a.Runbook(), "docs/"), a.Severity)) {
				t.Errorf("docs/DASHBOARDS.md does not tell of %s, %s", a.Name, a.Severity)
			}
		}
	}
}

// promtool runs Prometheus' tool, which make deps installs.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatal("no promtool: run make deps")
		}
		t.Skip("no promtool: run make deps")
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", args[0], err, out)
	}
}

func TestPromtoolTakesTheRules(t *testing.T) {
	files, err := filepath.Glob("rules/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, append([]string{"check", "rules"}, files...)...)
}

// TestAlertsFireAndDoNot has promtool run each alert's two rows: what it fires at, though not before its time, and what it does not.
func TestAlertsFireAndDoNot(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{"test", "rules"}
	cases := alertCases()
	for _, g := range Groups() {
		for i := range g.Alerts {
			a := &g.Alerts[i]
			c, ok := cases[a.Name]
			if !ok {
				t.Errorf("%s has no row", a.Name)
				continue
			}
			delete(cases, a.Name)
			// It alone with what it is made of: promtool evaluates all that is in a file.
			alone := ruleFile{Groups: []Group{recordings(), {Name: g.Name, Alerts: g.Alerts[i : i+1]}}}
			args = append(args, write(a.Name+".test.yml", promtoolFile(write(a.Name+".yml", alone.yaml()), a, c)))
		}
	}
	for name := range cases {
		t.Errorf("a row is for %s, which is no alert", name)
	}
	promtool(t, args...)
}

// promtoolFile is a file of promtool's with an alert's tests. Samples are a minute apart.
func promtoolFile(rules string, a *Alert, c alertCase) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	every := time.Minute
	if a.For > 2*time.Hour {
		every = 10 * time.Minute
	}
	line("rule_files: ['%s']\nevaluation_interval: %s\ntests:", rules, duration(every))
	// warm is when the windows of rates are full.
	const warm = 10 * time.Minute
	end := warm + a.For
	for _, row := range []struct {
		series []string
		fires  int
	}{{c.fires, 1}, {c.quiet, 0}} {
		line("  - interval: 1m\n    input_series:")
		for _, s := range row.series {
			selector, value, _ := strings.Cut(s, " ")
			line("      - series: %s\n        values: '%sx%d'", quoted(withTarget(selector)), value, int(end/time.Minute)+10)
		}
		expect := func(at time.Duration, value int) {
			line("      - eval_time: %s\n        expr: %s\n        exp_samples: [{labels: '{}', value: %d}]", duration(at),
				quoted(fmt.Sprintf(`sgn(count(ALERTS{alertname=%q, alertstate="firing", severity=%q})) or vector(0)`, a.Name, a.Severity)), value)
		}
		line("    promql_expr_test:")
		expect(end, row.fires)
		if a.For >= 2*every {
			expect(a.For-every, 0)
		}
	}
	return b.String()
}

// withTarget gives a series the labels of a target.
func withTarget(selector string) string {
	name, labels, _ := strings.Cut(strings.TrimSuffix(selector, "}"), "{")
	if labels != "" {
		labels = ", " + labels
	}
	return name + `{job="weir", instance="edge-1:8001"` + labels + "}"
}

// TestAlertsEndWhenTheirTimeIsOver looks at one: it goes on for keep_firing_for, and then ends.
func TestAlertsEndWhenTheirTimeIsOver(t *testing.T) {
	rules, err := filepath.Abs("rules/weir-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	const firing = `count(ALERTS{alertname="WeirBusUnreachable", alertstate="firing"}) or vector(0)`
	text := fmt.Sprintf(`rule_files: ['%s']
evaluation_interval: 10s
tests:
  - interval: 10s
    input_series:
      - series: 'weir_broker_link_up{job="weir", instance="edge-1:8001"}'
        values: '0x30 1x60'
    promql_expr_test:
      - {eval_time: 5m, expr: '%[2]s', exp_samples: [{labels: '{}', value: 1}]}
      - {eval_time: 5m50s, expr: '%[2]s', exp_samples: [{labels: '{}', value: 1}]}
      - {eval_time: 6m30s, expr: '%[2]s', exp_samples: [{labels: '{}', value: 0}]}
`, rules, firing)
	path := filepath.Join(t.TempDir(), "ends.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", path)
}
