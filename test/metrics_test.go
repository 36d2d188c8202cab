package test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ofMetrics finds the families of a page of metrics, and those of docs/METRICS.md.
var (
	ofMetrics = regexp.MustCompile(`(?m)^# TYPE (weir_[a-z0-9_]+) `)
	inGuide   = regexp.MustCompile("(?m)^\\| `(weir_[a-z0-9_]+)` \\|")
)

// exposed adds the families of a process to those of all.
func (p *process) exposed(all map[string]bool) {
	p.tb.Helper()
	found := ofMetrics.FindAllStringSubmatch(p.get("/metrics"), -1)
	if len(found) < 20 {
		p.tb.Errorf("only %d families", len(found))
	}
	for _, m := range found {
		all[m[1]] = true
	}
}

// hostsDiffer are the families that a host may have, and another one not, with the reason.
var hostsDiffer = map[string]string{
	"weir_host_tcp_max_memory_bytes":        "a network namespace of its own does not have tcp_mem",
	"weir_host_conntrack_entries":           "nf_conntrack is a module that may not be loaded",
	"weir_host_conntrack_max_entries":       "the same",
	"weir_tuning_drifted_settings":          "no test tunes the host that it runs on",
	"weir_tuning_applied_timestamp_seconds": "the same",
}

// TestE2EEveryMetricIsInTheGuide compares what processes of every role expose, with workers and Envoy's service among it, with
// docs/METRICS.md: neither has more than the other.
func TestE2EEveryMetricIsInTheGuide(t *testing.T) {
	text, err := os.ReadFile("../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := map[string]bool{}
	for _, m := range inGuide.FindAllStringSubmatch(string(text), -1) {
		guide[m[1]] = true
	}
	server, _ := app(t, "app")
	routes := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(routes, []byte(routesFile(server, "100/s")), 0o600); err != nil {
		t.Fatal(err)
	}
	pair := newPair(t, 1)
	all := map[string]bool{}
	for name, p := range map[string]*process{
		"serve": serve(t), "workers": serve(t, "--workers", "2"), "broker": pair.broker, "edge": pair.edges[0],
		"gateway": gateway(t, nil, "--routes", routes), "rls": gateway(t, []string{"WEIR_GATEWAY_RLS_LISTEN=" + freePort(t), allTracers()}, "--routes", routes),
	} {
		of := map[string]bool{}
		p.exposed(of)
		for family := range of {
			if !guide[family] {
				t.Errorf("%s exposes %s, which docs/METRICS.md does not have: go test ./cmd/weir -update", name, family)
			}
		}
		if !of["weir_build_info"] || !of["weir_host_listen_overflows_total"] {
			t.Errorf("%s does not say of which release it is, or nothing of its host", name)
		}
		maps.Copy(all, of)
	}
	var missing []string
	for family := range guide {
		if !all[family] && hostsDiffer[family] == "" {
			missing = append(missing, family)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("docs/METRICS.md has what no process exposes:\n%s", strings.Join(missing, "\n"))
	}
}
