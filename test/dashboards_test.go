package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/bpf/latency"
	"weir/dashboards"
	"weir/internal/testlog"
)

// maybeEmpty are the needs of queries that a healthy host may have no series for, with the reason. They must be without error all
// the same, and a test of the package dashboards holds them to metrics that exist.
var maybeEmpty = map[dashboards.Need]string{
	dashboards.NeedNodeExporter: "the metrics are node_exporter's, which is optional",
	dashboards.NeedWorkers:      "they are there with edge.workers alone",
	dashboards.NeedHostNetwork:  "a network namespace of its own does not have tcp_mem",
	dashboards.NeedConntrack:    "nf_conntrack is a module that may not be loaded",
	dashboards.NeedTuned:        "no test tunes the host that it runs on",
}

// prometheus is one that scrapes weirs. native: it stores native histograms in place of classic buckets that a metric has beside them.
type prometheus struct {
	tb     testing.TB
	native bool
	at     string
	out    *testlog.Buffer
}

func startPrometheus(tb testing.TB, native bool, targets ...string) *prometheus {
	tb.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		tb.Fatal("no prometheus: run make deps")
	}
	rules, err := filepath.Abs("../dashboards/rules/*.yml")
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	config := fmt.Sprintf(`global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs: [{job_name: weir, static_configs: [{targets: ["%s"]}]}]
`, rules, strings.Join(targets, `", "`))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	p := &prometheus{tb: tb, native: native, at: freePort(tb)}
	args := []string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + p.at, "--log.level=warn"}
	if native {
		args = append(args, "--enable-feature=native-histograms")
	}
	p.out = client(tb, path, args...)
	return p
}

// ask is a request to the API: how many elements its answer has.
func (p *prometheus) ask(path string, arguments url.Values) (int, error) {
	res, err := http.Get("http://" + p.at + path + "?" + arguments.Encode())
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s: %s", res.Status, answer.Error)
	}
	var list []any
	if json.Unmarshal(answer.Data, &list) == nil {
		return len(list), nil
	}
	var vector struct {
		ResultType string
		Result     []any
	}
	if err := json.Unmarshal(answer.Data, &vector); err != nil {
		return 0, err
	}
	return len(vector.Result), nil
}

// series is how many a query has, with variables as Grafana puts them in when all is chosen.
func (p *prometheus) series(q dashboards.Query) (int, error) {
	expr := strings.NewReplacer(
		"$job", ".+", "$instance", ".+", "$route", ".+", "$policy", ".+", "$upstream", ".+", "$node", ".+", "$__rate_interval", "10s",
	).Replace(q.Expr)
	if strings.Contains(expr, "$") {
		return 0, fmt.Errorf("a variable is left in %s", expr)
	}
	if !q.Variable {
		return p.ask("/api/v1/query", url.Values{"query": {expr}})
	}
	// label_values(SERIES, LABEL): the label is behind the last comma.
	inside := strings.TrimSuffix(strings.TrimPrefix(expr, "label_values("), ")")
	i := strings.LastIndex(inside, ", ")
	return p.ask("/api/v1/label/"+inside[i+2:]+"/values", url.Values{"match[]": {inside[:i]}})
}

// mustHave reports whether a query has to have series there.
func (p *prometheus) mustHave(q dashboards.Query) bool {
	switch q.Need {
	case dashboards.NeedNative:
		return p.native
	case dashboards.NeedClassic:
		return !p.native
	}
	if q.Need == dashboards.NeedTracers {
		return os.Geteuid() == 0
	}
	return maybeEmpty[q.Need] == ""
}

// rulesAreWell waits until each rule was evaluated, and the alert on the upstream that is gone waits, with its words filled in.
func (p *prometheus) rulesAreWell() {
	p.tb.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(200 * time.Millisecond) {
		problems := p.rules()
		if len(problems) == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("native %v: %s", p.native, strings.Join(problems, "\n"))
		}
	}
}

// rules says what is not as it should be of the rules.
func (p *prometheus) rules() (problems []string) {
	p.tb.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name, Health, LastError string
					Alerts                  []struct{ Annotations map[string]string }
				}
			}
		}
	}
	res, err := http.Get("http://" + p.at + "/api/v1/rules")
	if err != nil {
		p.tb.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		p.tb.Fatal(err)
	}
	rules, says := 0, ""
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			rules++
			if r.Health != "ok" {
				problems = append(problems, fmt.Sprintf("rule %s is %s: %s", r.Name, r.Health, r.LastError))
			}
			for _, a := range r.Alerts {
				if r.Name == "WeirGatewayErrors" {
					says = a.Annotations["summary"]
				}
				if text := fmt.Sprint(a.Annotations); strings.Contains(text, "error expanding") || strings.Contains(text, "<no value>") {
					problems = append(problems, fmt.Sprintf("%s says %s", r.Name, text))
				}
			}
		}
	}
	want := 0
	for _, g := range dashboards.Groups() {
		want += len(g.Recordings) + len(g.Alerts)
	}
	if rules != want || !strings.HasPrefix(says, "Route gone of 127.0.0.1:") {
		problems = append(problems, fmt.Sprintf("%d rules of %d; the alert on the route whose upstream is gone says %q", rules, want, says))
	}
	return problems
}

// dashboardRoutes has what the gateway's dashboard shows: policies that refuse and one in shadow, an upstream that is there and one that is not.
const dashboardRoutes = `
upstreams:
  app: {servers: [%q]}
  gone: {servers: [%q]}
policies:
  burst: {quota: 3/min}
  hidden: {quota: 1/min, shadow: true}
routes:
  api: {path: /api, upstream: app, policies: [burst, hidden]}
  open: {path: /open, upstream: app}
  gone: {path: /gone, upstream: gone}
rls:
  domains:
    edge: [{match: {remote_address: ""}, policies: [burst]}]
`

// allTracers has a weir trace itself by all there are.
func allTracers() string {
	var names []string
	for _, about := range latency.Tracers() {
		names = append(names, about.Name)
	}
	return "WEIR_TRACE_TRACERS=" + strings.Join(names, ",")
}

// TestE2EDashboardsHaveNoDeadPanel asks every query of every panel, variable and rule of a real Prometheus that scrapes a node with
// subscribers and a gateway with refusals: none has an error, and each has series.
func TestE2EDashboardsHaveNoDeadPanel(t *testing.T) {
	node := serve(t, "--feed", "ticks")
	server, _ := app(t, "app")
	file := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, dashboardRoutes, server, freePort(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := gateway(t, []string{"WEIR_GATEWAY_RLS_LISTEN=" + freePort(t), allTracers()}, "--routes", file)
	servers := []*prometheus{startPrometheus(t, false, node.admin, gate.admin), startPrometheus(t, true, node.admin, gate.admin)}

	var load sync.WaitGroup
	stop := make(chan struct{})
	load.Go(func() { generate(t, node, gate, stop) })
	defer load.Wait()
	defer close(stop)
	for range 2 {
		client(t, binary(t), "subscribe", "--url", "ws://"+node.edge, "ticks.*")
	}

	queries := dashboards.Queries()
	if len(queries) < 150 {
		t.Fatalf("only %d queries", len(queries))
	}
	deadline := time.Now().Add(40 * time.Second)
	for _, p := range servers {
		left := queries
		for len(left) > 0 {
			var missing []dashboards.Query
			var problems []string
			for _, q := range left {
				n, err := p.series(q)
				if err != nil || n == 0 && p.mustHave(q) {
					missing = append(missing, q)
					problems = append(problems, fmt.Sprintf("%s: %d series, %v: %s", q.Where, n, err, q.Expr))
				}
			}
			if left = missing; len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("native %v: %d queries are dead:\n%s\n%s", p.native, len(left), strings.Join(problems, "\n"), p.out.String())
			}
			<-time.After(200 * time.Millisecond)
		}
		p.rulesAreWell()
	}
	t.Logf("%d queries at each of two Prometheuses", len(queries))
}

// generate has clients come: some of the edge that stay and some that go, and requests that are served, refused and fail.
func generate(t *testing.T, node, gate *process, stop <-chan struct{}) {
	t.Helper()
	c := &http.Client{Timeout: 5 * time.Second}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for _, path := range []string{"/api/x", "/open/x", "/gone/x", "/nowhere"} {
			if _, _, err := gate.ask(c, path, ""); err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
		}
		res, err := c.Get("http://" + node.edge + "/nowhere")
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
	}
}
