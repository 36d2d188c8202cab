package dashboards

import "fmt"

// all is what a variable stands for if everything is chosen.
const all = ".+"

// variables are those of every dashboard: the data source, and of the targets that have a metric their jobs and instances.
func variables(metric string, more ...*Variable) []*Variable {
	return append([]*Variable{
		{Type: "datasource", Name: "datasource", Label: "Data source", Query: "prometheus", Refresh: 1, Current: Choice{}},
		labelValues("job", "Job", metric, "job"),
		labelValues("instance", "Instance", metric+`{job=~"$job"}`, "instance"),
	}, more...)
}

// labelValues is a variable of the values that a label has in some series. Any number may be chosen.
func labelValues(name, title, of, label string) *Variable {
	q := fmt.Sprintf("label_values(%s, %s)", of, label)
	return &Variable{
		Type: "query", Name: name, Label: title, Source: source(), Query: q, Definition: q, Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: all,
		Current: Choice{Selected: true, Text: []string{"All"}, Value: []string{"$__all"}},
	}
}
