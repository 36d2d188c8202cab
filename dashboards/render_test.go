package dashboards

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCommittedFilesAreRendered(t *testing.T) {
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what is rendered: run go generate ./dashboards (%v)", path, err)
		}
	}
	for _, pattern := range []string{"grafana/*", "rules/*"} {
		there, err := filepath.Glob(pattern)
		if err != nil || len(there) == 0 {
			t.Errorf("%s: %d files, %v", pattern, len(there), err)
		}
		for _, path := range there {
			if files[path] == nil {
				t.Errorf("%s is rendered no more: remove it", path)
			}
		}
	}
}

// TestDashboardsAreWhatGrafanaReads looks at the files as Grafana does, without our types.
func TestDashboardsAreWhatGrafanaReads(t *testing.T) {
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	dashboards := 0
	for path, text := range files {
		if filepath.Ext(path) != ".json" {
			continue
		}
		dashboards++
		var d map[string]any
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if d["id"] != nil || d["editable"] != false || d["schemaVersion"] != float64(schemaVersion) || d["uid"] == "" || d["title"] == "" || d["refresh"] == "" {
			t.Errorf("%s: id %v, editable %v, schemaVersion %v, uid %v", path, d["id"], d["editable"], d["schemaVersion"], d["uid"])
		}
		kinds := map[string]int{}
		panels, _ := d["panels"].([]any)
		for _, p := range panels {
			kind, _ := p.(map[string]any)["type"].(string)
			kinds[kind]++
		}
		for kind := range kinds {
			if !slices.Contains([]string{"row", "timeseries", "stat", "heatmap"}, kind) {
				t.Errorf("%s has a panel of type %q", path, kind)
			}
		}
		if kinds["row"] == 0 || kinds["timeseries"] == 0 {
			t.Errorf("%s: %v", path, kinds)
		}
	}
	if dashboards != len(All()) {
		t.Errorf("%d dashboards of %d", dashboards, len(All()))
	}
}

// TestUIDsAreStable has the names that links and bookmarks have: they do not change.
func TestUIDsAreStable(t *testing.T) {
	var uids []string
	for _, d := range All() {
		uids = append(uids, d.UID)
	}
	want := []string{"weir-overview", "weir-edge", "weir-xdp", "weir-broker", "weir-gateway", "weir-latency", "weir-host"}
	if !slices.Equal(uids, want) {
		t.Errorf("%v, want %v", uids, want)
	}
}
