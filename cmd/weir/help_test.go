package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"weir/cmd/weir/config"
	"weir/internal/golden"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for _, command := range []string{"", "serve", "broker", "edge", "gateway", "publish", "subscribe", "why", "quota show", "quota top", "quota replay", "quota explain", "quota events", "quota set", "quota allow", "quota deny", "quota class", "quota unlist", "quota apply", "quota confirm", "quota unpin", "demo", "trace", "doctor", "tune plan", "tune apply", "tune verify", "tune rollback", "version", "bench fanout", "bench hold", "bench connect", "bench slow", "bench fairness", "bench flood", "bench gateway", "bench xdp"} {
		var out, errs bytes.Buffer
		code := run(append(strings.Fields(command), "--help"), &app{stdout: &out, stderr: &errs})
		if code != exitOK || errs.Len() > 0 {
			t.Errorf("%s: exit code %d, %s", command, code, &errs)
		}
		if command != "" && !strings.Contains(out.String(), "weir "+command) {
			t.Errorf("%s: no example in\n%s", command, &out)
		}
		name := strings.ReplaceAll("weir "+command, " ", "_")
		golden.Check(t, filepath.Join("testdata", strings.TrimSuffix(name, "_")+".txt"), out.String())
	}
}

// TestMetricsAreDocumented holds docs/METRICS.md to what a node exports.
func TestMetricsAreDocumented(t *testing.T) {
	cfg := config.Default()
	cfg.XDP.Enabled = "off"
	cfg.Admin.Listen = "127.0.0.1:0"
	n, err := newNode(t.Context(), roleServe, cfg, slog.New(slog.DiscardHandler), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	ctx, stop := context.WithCancel(t.Context())
	defer n.running.Wait()
	defer stop()
	n.behind, n.fail = ctx, func(err error) { t.Error(err) }
	if err := n.acquire(ctx); err != nil {
		t.Fatal(err)
	}
	defer n.endTenure()
	families, err := n.tenure.Load().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families = append(families, gatewayFamilies(t, cfg, families)...)
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	var b strings.Builder
	b.WriteString("# Metrics\n\nAll series are there from the start, at 0. Beside these, `/metrics` has those of the Go runtime and of\nthe process. This page is made by `go test ./cmd/weir -update`.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "weir_") {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labels(f), f.GetHelp())
		}
	}
	golden.Check(t, "../../docs/METRICS.md", b.String())
}

// gatewayFamilies are those that a gateway exports, and a node does not.
func gatewayFamilies(t *testing.T, cfg *config.Config, known []*dto.MetricFamily) (families []*dto.MetricFamily) {
	t.Helper()
	cfg.Gateway.Listen = "127.0.0.1:0"
	n, err := newGatewayNode(t.Context(), cfg, func() (*config.Plan, error) {
		return config.ParsePlan("f", []byte("upstreams: {u: {servers: [\"127.0.0.1:1\"]}}\npolicies: {p: {quota: 1/s}}\nroutes: {r: {upstream: u, policies: [p]}}\n"))
	}, slog.New(slog.DiscardHandler), &app{})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(n.server, &n.redis)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.server.Run(ctx) }() // it has pools then
	<-n.server.Ready()
	all, err := registry.Gather()
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if !slices.ContainsFunc(known, func(k *dto.MetricFamily) bool { return k.GetName() == f.GetName() }) {
			families = append(families, f)
		}
	}
	return families
}

// labels are a family's, with their values; of a gateway's routes, policies and upstreams those are names of the configuration's.
func labels(f *dto.MetricFamily) string {
	values := map[string][]string{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			values[l.GetName()] = append(values[l.GetName()], l.GetValue())
		}
	}
	var all []string
	for name, v := range values {
		sort.Strings(v)
		var unique []string
		for i, x := range v {
			if i == 0 || x != v[i-1] {
				unique = append(unique, x)
			}
		}
		text := strings.Join(unique, ", ")
		if named := map[string]string{"route": "its name, or none", "policy": "its name", "upstream": "its name"}[name]; named != "" && strings.HasPrefix(f.GetName(), "weir_gateway_") {
			text = named
		}
		all = append(all, fmt.Sprintf("`%s`: %s", name, text))
	}
	sort.Strings(all)
	return strings.Join(all, "; ")
}
