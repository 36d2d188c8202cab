package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"weir/bpf/latency"
	"weir/cmd/weir/config"
	"weir/edge/workers"
	"weir/internal/golden"
	"weir/internal/hoststats"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

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
	families := gather(t, n.tenure.Load().registry)
	families = append(families, unknown(gatewayFamilies(t, cfg), families)...)
	families = append(families, unknown(optionalFamilies(t), families)...)
	families = append(families, traceFamilies(t)...)
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	var b strings.Builder
	b.WriteString("# Metrics\n\nA process has those of its role, and all of these from the start, at 0. There alone where it is used or can be read: " +
		"`weir_edge_worker*` (edge.workers),\n`weir_gateway_rls_*` (gateway.rls_listen), `weir_host_*` (`weir_host_source_readable` says what cannot be read), `weir_trace_*` (of what trace.tracers names),\n`weir_tuning_*` (`weir tune apply`). " +
		"Beside these, `/metrics` has those of the Go runtime and of the process. This page is made by `go test ./cmd/weir -update`.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "weir_") {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labels(f), f.GetHelp())
		}
	}
	golden.Check(t, "../../docs/METRICS.md", b.String())
}

func gather(t *testing.T, from prometheus.Gatherer) []*dto.MetricFamily {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// unknown are those of families that are not among others.
func unknown(families, known []*dto.MetricFamily) []*dto.MetricFamily {
	return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
		return slices.ContainsFunc(known, func(k *dto.MetricFamily) bool { return k.GetName() == f.GetName() })
	})
}

// optionalFamilies are those of a process with workers, on a host of which all can be read, and whose settings have drifted.
func optionalFamilies(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	group, err := workers.New(workers.Options{Workers: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := &drift{}
	d.note(&drifted{1, time.Now()}, nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(group, hoststats.New("../../internal/hoststats/testdata/proc"), d)
	return gather(t, registry)
}

// traceFamilies are those of all tracers, none of which is open.
func traceFamilies(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	cfg := config.Default().Trace
	for _, about := range latency.Tracers() {
		cfg.Tracers = append(cfg.Tracers, about.Name)
	}
	traces, err := newTraces(cfg, itself, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(traces)
	return gather(t, registry)
}

// gatewayFamilies are those of a gateway that answers Envoys too.
func gatewayFamilies(t *testing.T, cfg *config.Config) (families []*dto.MetricFamily) {
	t.Helper()
	cfg.Gateway.Listen, cfg.Gateway.RLSListen = "127.0.0.1:0", "127.0.0.1:0"
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
	families, err = registry.Gather()
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
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
		if f.GetName() == "weir_build_info" {
			text = map[string]string{"release": "as weir version says", "goversion": "of Go"}[name]
		}
		all = append(all, fmt.Sprintf("`%s`: %s", name, text))
	}
	sort.Strings(all)
	return strings.Join(all, "; ")
}
