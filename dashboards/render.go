package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// All are the dashboards.
func All() []*Dashboard {
	return []*Dashboard{overview(), edge(), xdp(), broker(), gateway(), latency(), host()}
}

// Files are what is committed, by paths from this package's directory.
func Files() (map[string][]byte, error) {
	files := map[string][]byte{"../docs/ALERTS.md": []byte(alertsPage())}
	for _, d := range All() {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(d); err != nil {
			return nil, fmt.Errorf("render dashboard %s: %w", d.name, err)
		}
		files["grafana/weir-"+d.name+".json"] = b.Bytes()
	}
	for _, f := range ruleFiles() {
		files["rules/"+f.Name] = []byte(f.yaml())
	}
	return files, nil
}

// Query is one that a panel, a variable or a rule asks. That of an alert is a condition without its comparison.
type Query struct {
	// Where it is asked, for people.
	Where string
	Expr  string
	// Variable: it is Grafana's label_values(SERIES, LABEL), and no PromQL.
	Variable bool
	Need     Need
}

// Queries are all of them.
func Queries() (all []Query) {
	for _, d := range All() {
		for _, v := range d.Templating.List {
			if v.Type == "query" {
				all = append(all, Query{Where: d.Title + ", variable " + v.Name, Expr: v.Query, Variable: true, Need: v.need})
			}
		}
		d.each(func(p *Panel) {
			for _, t := range p.Targets {
				all = append(all, Query{Where: d.Title + ", panel " + p.Title, Expr: t.Expr, Need: t.need})
			}
		})
	}
	for _, g := range Groups() {
		for _, r := range g.Recordings {
			all = append(all, Query{Where: "rule " + r.Name, Expr: r.Expr, Need: r.Need})
		}
		for i := range g.Alerts {
			for _, c := range g.Alerts[i].Conditions {
				all = append(all, Query{Where: "alert " + g.Alerts[i].Name, Expr: c.Query, Need: c.Need})
			}
		}
	}
	return all
}

// each calls f for all panels, those in rows too, but not for rows.
func (d *Dashboard) each(f func(*Panel)) {
	for _, p := range d.Panels {
		if p.Type != "row" {
			f(p)
		}
		for _, q := range p.Panels {
			f(q)
		}
	}
}
