package dashboards

// The types below are the part of Grafana's dashboard JSON, of [schemaVersion], that the dashboards use.

// schemaVersion is that of Grafana 10.4; later ones read it.
const schemaVersion = 39

// Dashboard is a file of Grafana's.
type Dashboard struct {
	ID            *int        `json:"id"` // null: Grafana gives one at the import
	UID           string      `json:"uid"`
	Title         string      `json:"title"`
	Description   string      `json:"description"`
	Tags          []string    `json:"tags"`
	Editable      bool        `json:"editable"`
	GraphTooltip  int         `json:"graphTooltip"` // 1: panels share the crosshair
	Links         []Link      `json:"links"`
	Annotations   Annotations `json:"annotations"`
	Templating    Templating  `json:"templating"`
	Panels        []*Panel    `json:"panels"`
	Refresh       string      `json:"refresh"`
	SchemaVersion int         `json:"schemaVersion"`
	Time          TimeRange   `json:"time"`
	Timezone      string      `json:"timezone"`
	Version       int         `json:"version"`

	name string // of its file
}

// Link leads to the dashboards that have all of its tags.
type Link struct {
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Tags        []string `json:"tags"`
	AsDropdown  bool     `json:"asDropdown"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
}

// Annotations are none of ours; Grafana wants the list.
type Annotations struct {
	List []struct{} `json:"list"`
}

// TimeRange is what is shown at first.
type TimeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Templating has the variables.
type Templating struct {
	List []*Variable `json:"list"`
}

// Variable is one of a dashboard's, chosen at its top. Query is Grafana's: label_values(SERIES, LABEL), or of a data source its kind.
type Variable struct {
	Type       string  `json:"type"`
	Name       string  `json:"name"`
	Label      string  `json:"label"`
	Source     *Source `json:"datasource,omitempty"`
	Query      string  `json:"query"`
	Definition string  `json:"definition,omitempty"`
	Refresh    int     `json:"refresh"` // 2: when the time range changes
	Sort       int     `json:"sort"`    // 1: by name
	Multi      bool    `json:"multi"`
	IncludeAll bool    `json:"includeAll"`
	AllValue   string  `json:"allValue,omitempty"`
	Current    Choice  `json:"current"`

	need Need
}

// Choice is what a variable is at first.
type Choice struct {
	Selected bool `json:"selected"`
	Text     any  `json:"text,omitempty"`
	Value    any  `json:"value,omitempty"`
}

// Source is a data source.
type Source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Panel is one on a dashboard. A row has those that it hides, if it is collapsed.
type Panel struct {
	ID          int          `json:"id"`
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Description string       `json:"description,omitempty"`
	GridPos     GridPos      `json:"gridPos"`
	Source      *Source      `json:"datasource,omitempty"`
	Targets     []*Target    `json:"targets,omitempty"`
	FieldConfig *FieldConfig `json:"fieldConfig,omitempty"`
	Options     any          `json:"options,omitempty"`
	Collapsed   *bool        `json:"collapsed,omitempty"`
	Panels      []*Panel     `json:"panels,omitempty"`
}

// GridPos is where a panel is: the grid has 24 columns.
type GridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// Target is a query of a panel.
type Target struct {
	RefID        string  `json:"refId"`
	Source       *Source `json:"datasource"`
	Expr         string  `json:"expr"`
	LegendFormat string  `json:"legendFormat"`
	Format       string  `json:"format"`
	EditorMode   string  `json:"editorMode"`
	Range        bool    `json:"range"`
	Instant      bool    `json:"instant"`

	need Need
}

// FieldConfig is how values are shown.
type FieldConfig struct {
	Defaults  FieldDefaults `json:"defaults"`
	Overrides []struct{}    `json:"overrides"`
}

// FieldDefaults holds for all series of a panel.
type FieldDefaults struct {
	Unit       string      `json:"unit"`
	Min        *float64    `json:"min,omitempty"`
	Max        *float64    `json:"max,omitempty"`
	Custom     any         `json:"custom,omitempty"`
	Mappings   []Mapping   `json:"mappings,omitempty"`
	Thresholds *Thresholds `json:"thresholds,omitempty"`
}

// Mapping shows values as words.
type Mapping struct {
	Type    string          `json:"type"`
	Options map[string]Word `json:"options"`
}

// Word is what is shown for a value.
type Word struct {
	Text  string `json:"text"`
	Color string `json:"color,omitempty"`
	Index int    `json:"index"`
}

// Thresholds color values: each step from its value on.
type Thresholds struct {
	Mode  string `json:"mode"`
	Steps []Step `json:"steps"`
}

// Step is one; the first has no value.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}
