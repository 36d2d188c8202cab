package dashboards

// Units, as Grafana calls them.
const (
	unitSeconds   = "s"
	unitBytes     = "bytes"
	unitBytesRate = "Bps"
	unitNumber    = "short"
	unitShare     = "percentunit"
	unitPerSecond = "cps"
	unitRequests  = "reqps"
	unitPackets   = "pps"
	unitDate      = "dateTimeAsIso"
	unitState     = "none"
)

// Need is what a query's series need beside a weir that runs; "" is nothing.
type Need string

// The needs.
const (
	// NeedClassic: a Prometheus that stores classic buckets of histograms that have native ones.
	NeedClassic Need = "a server that stores classic buckets"
	// NeedNative: a Prometheus that stores native histograms.
	NeedNative Need = "a server that stores native histograms"
	// NeedNodeExporter: a node_exporter on the host.
	NeedNodeExporter Need = "node_exporter"
	// NeedWorkers: an edge with edge.workers.
	NeedWorkers Need = "edge.workers"
	// NeedHostNetwork: a weir in the host's own network namespace, which alone has the bound of TCP's memory.
	NeedHostNetwork Need = "the host's own network namespace"
	// NeedConntrack: a kernel that tracks connections.
	NeedConntrack Need = "connection tracking"
	// NeedTuned: a host that weir tune apply has changed, whose journal the process may read.
	NeedTuned Need = "weir tune apply"
	// NeedTracers: a weir that may trace itself, and is told to.
	NeedTracers Need = "trace.tracers"
	// NeedEnvoy: a gateway that answers Envoy's rate limit calls.
	NeedEnvoy Need = "rls in the file of routes"
)

func source() *Source { return &Source{Type: "prometheus", UID: "${datasource}"} }

// query is one of a panel, with what its series are called.
func query(expr, legend string) *Target {
	return &Target{Source: source(), Expr: expr, LegendFormat: legend, Format: "time_series", EditorMode: "code", Range: true}
}

// needing marks a panel's queries.
func (p *Panel) needing(n Need) *Panel {
	for _, t := range p.Targets {
		t.need = n
	}
	return p
}

// wide sets a panel's width, of 24 columns.
func (p *Panel) wide(columns int) *Panel {
	p.GridPos.W = columns
	return p
}

func panel(kind, title, unit, description string, options, custom any, targets []*Target) *Panel {
	for i, t := range targets {
		t.RefID = string(rune('A' + i))
	}
	return &Panel{
		Type: kind, Title: title, Description: description, Source: source(), Targets: targets, Options: options,
		GridPos:     GridPos{W: 8, H: 8},
		FieldConfig: &FieldConfig{Defaults: FieldDefaults{Unit: unit, Custom: custom}, Overrides: []struct{}{}},
	}
}

// graph is lines over time, from 0 on.
func graph(title, unit, description string, targets ...*Target) *Panel {
	p := panel("timeseries", title, unit, description, graphs(), style(false), targets)
	p.FieldConfig.Defaults.Min = new(0.0)
	return p
}

// stacked is a graph of amounts that add up.
func stacked(title, unit, description string, targets ...*Target) *Panel {
	p := graph(title, unit, description, targets...)
	p.FieldConfig.Defaults.Custom = style(true)
	return p
}

// shares is a graph of parts, 0 to 1.
func shares(title, description string, targets ...*Target) *Panel {
	return graph(title, unitShare, description, targets...)
}

// stat is one number, or one for each series.
func stat(title, unit, description string, targets ...*Target) *Panel {
	p := panel("stat", title, unit, description, stats(), nil, targets)
	p.GridPos = GridPos{W: 4, H: 4}
	return p
}

// colored gives a panel's numbers colors: green, then orange, then red from those values on.
func (p *Panel) colored(orange, red float64) *Panel {
	p.FieldConfig.Defaults.Thresholds = &Thresholds{Mode: "absolute", Steps: []Step{{Color: "green"}, {"orange", &orange}, {"red", &red}}}
	return p
}

// words shows values as words.
func (p *Panel) words(words map[string]Word) *Panel {
	p.FieldConfig.Defaults.Mappings = []Mapping{{Type: "value", Options: words}}
	return p
}

// heatmap is a histogram over time, of native buckets.
func heatmap(title, description, metric string, matchers ...string) *Panel {
	t := query(sumBy("", rate(metric, matchers...)), "")
	return panel("heatmap", title, unitSeconds, description, heatmaps(unitSeconds), nil, []*Target{t}).needing(NeedNative).wide(12)
}

// classicHeatmap is one of classic buckets.
func classicHeatmap(title, description, metric string, matchers ...string) *Panel {
	t := query(sumBy("le", rate(metric+"_bucket", matchers...)), "{{le}}")
	t.Format = "heatmap"
	return panel("heatmap", title, unitSeconds, description, heatmaps(unitSeconds), nil, []*Target{t}).wide(12)
}

// row begins a part of a dashboard.
func row(title string) *Panel {
	return &Panel{Type: "row", Title: title, GridPos: GridPos{W: 24, H: 1}, Collapsed: new(false)}
}

// hidden is a row that hides its panels until it is opened.
func hidden(title string, panels ...*Panel) *Panel {
	r := row(title)
	*r.Collapsed = true
	r.Panels = panels
	return r
}

// dashboard lays panels out from left to right, and gives them numbers.
func dashboard(name, title, description string, variables []*Variable, panels ...*Panel) *Dashboard {
	d := &Dashboard{
		name: name, UID: "weir-" + name, Title: title, Description: description, Tags: []string{"weir"}, GraphTooltip: 1,
		Links:       []Link{{Type: "dashboards", Title: "weir", Tags: []string{"weir"}, AsDropdown: true, IncludeVars: true, KeepTime: true}},
		Annotations: Annotations{List: []struct{}{}},
		Panels:      panels, Refresh: "30s", SchemaVersion: schemaVersion, Time: TimeRange{"now-1h", "now"}, Timezone: "browser", Version: 1,
	}
	d.Templating.List = variables
	number := 0
	place(panels, 0, &number)
	return d
}

// place puts panels on lines from y on, and returns where they end.
func place(panels []*Panel, y int, number *int) int {
	x, height := 0, 0
	for _, p := range panels {
		*number++
		p.ID = *number
		if x+p.GridPos.W > 24 {
			x, y, height = 0, y+height, 0
		}
		p.GridPos.X, p.GridPos.Y = x, y
		x, height = x+p.GridPos.W, max(height, p.GridPos.H)
		if len(p.Panels) > 0 {
			place(p.Panels, y+1, number)
		}
	}
	return y + height
}
