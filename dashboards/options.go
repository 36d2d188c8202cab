package dashboards

// Options and field settings of the kinds of panels that are used: graphs, single numbers, heatmaps.

type graphOptions struct {
	Legend  graphLegend  `json:"legend"`
	Tooltip graphTooltip `json:"tooltip"`
}

type graphLegend struct {
	Show        bool     `json:"showLegend"`
	DisplayMode string   `json:"displayMode"`
	Placement   string   `json:"placement"`
	Calcs       []string `json:"calcs"`
}

type graphTooltip struct {
	Mode string `json:"mode"`
	Sort string `json:"sort"`
}

type graphStyle struct {
	DrawStyle   string     `json:"drawStyle"`
	LineWidth   int        `json:"lineWidth"`
	FillOpacity int        `json:"fillOpacity"`
	ShowPoints  string     `json:"showPoints"`
	SpanNulls   bool       `json:"spanNulls"`
	Stacking    graphStack `json:"stacking"`
}

type graphStack struct {
	Mode  string `json:"mode"`
	Group string `json:"group"`
}

type statOptions struct {
	ReduceOptions statReduce `json:"reduceOptions"`
	ColorMode     string     `json:"colorMode"`
	GraphMode     string     `json:"graphMode"`
	JustifyMode   string     `json:"justifyMode"`
	TextMode      string     `json:"textMode"`
}

type statReduce struct {
	Calcs  []string `json:"calcs"`
	Fields string   `json:"fields"`
	Values bool     `json:"values"`
}

type heatmapOptions struct {
	Calculate    bool          `json:"calculate"`
	CellGap      int           `json:"cellGap"`
	Color        heatmapColor  `json:"color"`
	FilterValues heatmapFilter `json:"filterValues"`
	Legend       heatmapShow   `json:"legend"`
	RowsFrame    heatmapRows   `json:"rowsFrame"`
	ShowValue    string        `json:"showValue"`
	Tooltip      heatmapTip    `json:"tooltip"`
	YAxis        heatmapAxis   `json:"yAxis"`
}

type heatmapColor struct {
	Mode     string  `json:"mode"`
	Scheme   string  `json:"scheme"`
	Scale    string  `json:"scale"`
	Exponent float64 `json:"exponent"`
	Steps    int     `json:"steps"`
	Reverse  bool    `json:"reverse"`
}

type heatmapFilter struct {
	Above float64 `json:"le"`
}

type heatmapShow struct {
	Show bool `json:"show"`
}

type heatmapRows struct {
	Layout string `json:"layout"`
}

type heatmapTip struct {
	Mode       string `json:"mode"`
	YHistogram bool   `json:"yHistogram"`
}

type heatmapAxis struct {
	Placement string `json:"axisPlacement"`
	Reverse   bool   `json:"reverse"`
	Unit      string `json:"unit"`
}

func graphs() graphOptions {
	return graphOptions{
		Legend:  graphLegend{Show: true, DisplayMode: "table", Placement: "bottom", Calcs: []string{"lastNotNull", "max"}},
		Tooltip: graphTooltip{Mode: "multi", Sort: "desc"},
	}
}

func style(stack bool) graphStyle {
	s := graphStyle{DrawStyle: "line", LineWidth: 1, FillOpacity: 8, ShowPoints: "never", Stacking: graphStack{"none", "A"}}
	if stack {
		s.FillOpacity, s.Stacking.Mode = 40, "normal"
	}
	return s
}

func stats() statOptions {
	return statOptions{
		ReduceOptions: statReduce{Calcs: []string{"lastNotNull"}}, ColorMode: "value", GraphMode: "area", JustifyMode: "auto", TextMode: "auto",
	}
}

func heatmaps(unit string) heatmapOptions {
	return heatmapOptions{
		CellGap:      1,
		Color:        heatmapColor{Mode: "scheme", Scheme: "Oranges", Scale: "exponential", Exponent: 0.5, Steps: 64},
		FilterValues: heatmapFilter{Above: 1e-9},
		Legend:       heatmapShow{true},
		RowsFrame:    heatmapRows{"auto"},
		ShowValue:    "never",
		Tooltip:      heatmapTip{Mode: "single", YHistogram: true},
		YAxis:        heatmapAxis{Placement: "left", Unit: unit},
	}
}
