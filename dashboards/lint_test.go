package dashboards

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// nodeExporter are metrics that node_exporter 1.5, Debian 12's, has by default. Runs of weir do not have them, so that they are listed.
var nodeExporter = []string{
	"node_cpu_seconds_total", "node_filefd_allocated", "node_filefd_maximum", "node_network_receive_drop_total", "node_uname_info",
}

var (
	ranges    = regexp.MustCompile(`\[[^\]]*\]`)
	literals  = regexp.MustCompile(`"[^"]*"`)
	names     = regexp.MustCompile(`\b(?:weir|go|process|node)_[a-zA-Z0-9_]+\b`)
	selectors = regexp.MustCompile(`\b(?:((?:weir|go|process|node)_[a-zA-Z0-9_]+)(\{[^}]*\})?|(up)(\{[^}]*\}))`)
	recorded  = regexp.MustCompile(`\b[a-z_]+:[a-z0-9_]+:[a-z0-9_]+\b`)
)

func TestDashboardsFollowTheHouseRules(t *testing.T) {
	for _, d := range All() {
		for _, problem := range lint(d) {
			t.Errorf("%s: %s", d.Title, problem)
		}
	}
}

// lint is what is wrong with a dashboard.
func lint(d *Dashboard) (problems []string) {
	wrong := func(words ...string) { problems = append(problems, strings.Join(words, " ")) }
	if d.Editable || d.ID != nil || d.Description == "" || !slices.Contains(d.Tags, "weir") || !strings.HasPrefix(d.UID, "weir-") {
		wrong("it is editable, or has no uid, description or tag of ours")
	}
	variables := d.Templating.List
	if len(variables) < 3 || variables[0].Name != "datasource" || variables[0].Type != "datasource" || variables[0].Query != "prometheus" || variables[1].Name != "job" || variables[2].Name != "instance" {
		wrong("it does not begin with the variables datasource, job, instance")
	}
	for _, v := range variables {
		if v.Type == "query" && (!v.Multi || !v.IncludeAll || v.AllValue != ".+" || !isVariable(v.Source)) {
			wrong("variable", v.Name, "is not multi with an allValue of .+, or has a data source of its own")
		}
	}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		for _, q := range append([]*Panel{p}, p.Panels...) {
			if ids[q.ID] {
				wrong("two panels have the number of", q.Title)
			}
			ids[q.ID] = true
		}
	}
	d.each(func(p *Panel) { problems = append(problems, lintPanel(p)...) })
	return append(append(problems, lintHeatmaps(d)...), lintGrid(d)...)
}

func isVariable(s *Source) bool {
	return s != nil && s.Type == "prometheus" && s.UID == "${datasource}"
}

func lintPanel(p *Panel) (problems []string) {
	wrong := func(words ...string) { problems = append(problems, "panel "+p.Title+": "+strings.Join(words, " ")) }
	if p.Title == "" || p.Description == "" || !strings.HasSuffix(p.Description, ".") {
		wrong("no title, or no description that is a sentence")
	}
	if p.FieldConfig == nil || p.FieldConfig.Defaults.Unit == "" {
		wrong("no unit")
	}
	if !isVariable(p.Source) || len(p.Targets) == 0 {
		wrong("no query, or a data source of its own")
	}
	for _, t := range p.Targets {
		if !isVariable(t.Source) || t.RefID == "" || len(p.Targets) > 1 && t.LegendFormat == "" {
			wrong("a query without a name or with a data source of its own:", t.Expr)
		}
		for _, r := range ranges.FindAllString(t.Expr, -1) {
			if r != "[$__rate_interval]" {
				wrong("a range of its own:", r)
			}
		}
		for _, m := range selectors.FindAllStringSubmatch(literals.ReplaceAllStringFunc(t.Expr, unbraced), -1) {
			m = []string{m[0], m[1] + m[3], m[2] + m[4]}
			want := `{job=~"$job", instance=~"$instance"`
			if strings.HasPrefix(m[1], "node_") {
				want = `{instance=~"$node"`
			}
			if !strings.HasPrefix(m[2], want) {
				wrong(m[1], "is not of the chosen instances")
			}
		}
	}
	return problems
}

// unbraced keeps braces in strings from looking like those of a selector.
func unbraced(s string) string { return strings.NewReplacer("{", "", "}", "").Replace(s) }

// lintHeatmaps wants native buckets, and classic ones in a row that is hidden.
func lintHeatmaps(d *Dashboard) (problems []string) {
	shown, hidden := map[string]bool{}, map[string]bool{}
	collect := func(p *Panel, in map[string]bool, need Need) {
		if p.Type == "heatmap" && p.Targets[0].need == need {
			in[strings.TrimSuffix(names.FindString(p.Targets[0].Expr), "_bucket")] = true
		}
	}
	for _, p := range d.Panels {
		collect(p, shown, NeedNative)
		for _, q := range p.Panels {
			collect(q, hidden, NeedClassic)
		}
		if p.Type == "heatmap" && p.Targets[0].need == "" {
			problems = append(problems, "heatmap "+p.Title+" is not of native buckets")
		}
	}
	for metric := range shown {
		if !hidden[metric] {
			problems = append(problems, "no classic heatmap of "+metric+" in a hidden row")
		}
	}
	return problems
}

// lintGrid wants panels that do not overlap.
func lintGrid(d *Dashboard) (problems []string) {
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		g := p.GridPos
		if g.X+g.W > 24 {
			problems = append(problems, p.Title+" is out of the grid")
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					return append(problems, p.Title+" is over "+other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	return problems
}

func TestLintFindsWhatItIsFor(t *testing.T) {
	for name, spoil := range map[string]func(*Dashboard){
		"editable":              func(d *Dashboard) { d.Editable = true },
		"a hard-coded source":   func(d *Dashboard) { d.Panels[1].Source.UID = "abc" },
		"a source of a query":   func(d *Dashboard) { d.Panels[1].Targets[0].Source.UID = "abc" },
		"an allValue":           func(d *Dashboard) { d.Templating.List[1].AllValue = "" },
		"no instance":           func(d *Dashboard) { d.Templating.List = d.Templating.List[:2] },
		"a range":               func(d *Dashboard) { d.Panels[1].Targets[0].Expr = `rate(weir_x_total{` + chosen + `}[5m])` },
		"an unselected metric":  func(d *Dashboard) { d.Panels[1].Targets[0].Expr = `sum(weir_x)` },
		"no unit":               func(d *Dashboard) { d.Panels[1].FieldConfig.Defaults.Unit = "" },
		"no description":        func(d *Dashboard) { d.Panels[1].Description = "" },
		"an overlap":            func(d *Dashboard) { d.Panels[2].GridPos = d.Panels[1].GridPos },
		"a number twice":        func(d *Dashboard) { d.Panels[2].ID = d.Panels[1].ID },
		"no classic heatmap":    func(d *Dashboard) { d.Panels = d.Panels[:len(d.Panels)-1] },
		"a classic one instead": func(d *Dashboard) { d.Panels[1] = classicHeatmap("T", "D.", "weir_bus_publish_seconds") },
	} {
		d := broker()
		if found := lint(d); len(found) > 0 {
			t.Fatal(found)
		}
		spoil(d)
		if len(lint(d)) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
}

// TestEveryMetricExists holds the queries to docs/METRICS.md.
func TestEveryMetricExists(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	known := map[string]bool{}
	for _, name := range names.FindAllString(read("../docs/METRICS.md"), -1) {
		known[name] = true
	}
	for _, name := range nodeExporter {
		known[name] = true
	}
	for _, g := range Groups() {
		for _, r := range g.Recordings {
			known[r.Name] = true
		}
	}
	for _, q := range Queries() {
		expr := literals.ReplaceAllString(q.Expr, "")
		rules := recorded.FindAllString(expr, -1)
		plain := names.FindAllString(recorded.ReplaceAllString(expr, ""), -1)
		for _, name := range append(rules, plain...) {
			// Those of Go and of the process are asked for end to end.
			of := strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
			if !of && !known[name] && !known[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s asks for %s, which nobody exports", q.Where, name)
			}
		}
		if len(rules)+len(plain) == 0 && !strings.Contains(expr, "ALERTS") && !strings.HasPrefix(expr, "up{") && !strings.HasPrefix(expr, "sum(up{") {
			t.Errorf("%s asks for no metric: %s", q.Where, q.Expr)
		}
	}
}

// TestEveryMetricIsShown wants each metric of docs/METRICS.md in a panel or an alert.
func TestEveryMetricIsShown(t *testing.T) {
	page, err := os.ReadFile("../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, q := range Queries() {
		for _, name := range names.FindAllString(q.Expr, -1) {
			asked[strings.TrimSuffix(name, "_bucket")] = true
		}
	}
	listed := regexp.MustCompile("(?m)^\\| `(weir_[a-z0-9_]+)` \\|").FindAllStringSubmatch(string(page), -1)
	if len(listed) < 100 {
		t.Fatalf("only %d metrics", len(listed))
	}
	for _, m := range listed {
		if !asked[m[1]] {
			t.Errorf("nobody looks at %s: give it a panel or an alert", m[1])
		}
	}
}
