package test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/bpf/bpftest"
)

// gateway starts `weir gateway` on free ports, without XDP unless args say so.
func gateway(tb testing.TB, env []string, args ...string) *process {
	tb.Helper()
	p := &process{tb: tb, edge: freePort(tb), admin: freePort(tb)}
	p.cmd = exec.Command(binary(tb), append([]string{"gateway", "--listen", p.edge, "--admin", p.admin, "--xdp", "off"}, args...)...)
	p.cmd.Env = append(os.Environ(), env...)
	p.start()
	return p
}

// app is an upstream that says what it is asked for.
func app(tb testing.TB, says string) (address string, served *atomic.Int64) {
	tb.Helper()
	served = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		fmt.Fprintf(w, "%s %s %s", says, r.Header.Get("X-Weir-Identity"), r.URL.Path)
	}))
	tb.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), served
}

// ask is a GET, with a key unless it is empty.
func (p *process) ask(c *http.Client, path, key string) (status int, body string, err error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+p.edge+path, nil)
	if err != nil {
		return 0, "", err
	}
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

const (
	shopKey = "shop-key-0123456789"
	bankKey = "bank-key-0123456789"
)

func routesFile(server, quota string) string {
	return fmt.Sprintf(`
upstreams:
  app: {servers: [%q]}
policies:
  burst: {quota: %s, key: [identity]}
  hidden: {quota: 1/min, shadow: true}
plans:
  free: [burst]
consumers:
  shop: {plan: free, keys: [%s]}
  bank: {plan: free, keys: [%s]}
routes:
  api: {path: /api, upstream: app, policies: [hidden]}
  open: {path: /open, upstream: app, auth: none}
`, server, quota, shopKey, bankKey)
}

// TestE2EGateway does what an operator does: a file of routes, clients with keys, a reload, what the page and the commands say, the end.
func TestE2EGateway(t *testing.T) {
	first, _ := app(t, "first")
	second, _ := app(t, "second")
	file := filepath.Join(t.TempDir(), "routes.yaml")
	put := func(server, quota string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(routesFile(server, quota)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(first, "3/min")
	if out, errs, code := weir(t, "gateway", "--routes", file, "--check"); code != 0 || !strings.Contains(out, "are right") {
		t.Errorf("--check: %d %s%s", code, out, errs)
	}
	log := filepath.Join(t.TempDir(), "access.log")
	p := gateway(t, []string{"WEIR_GATEWAY_ACCESS_LOG=" + log}, "--routes", file)
	c := &http.Client{Timeout: patience}
	want := func(path, key string, status int, says string) {
		t.Helper()
		got, body, err := p.ask(c, path, key)
		if err != nil || got != status || !strings.Contains(body, says) {
			t.Errorf("%s with %q: %d %s %v, want %d %q", path, key, got, body, err, status, says)
		}
	}
	want("/api/x", "", 401, "a credential is missing")
	want("/api/x", "wrong-key-0123456789", 401, "not known")
	want("/open/x", "", 200, "first  /open/x")
	want("/nowhere", "", 404, "no route")
	for range 3 {
		want("/api/x", shopKey, 200, "first shop /api/x")
	}
	want("/api/x", shopKey, 429, `"violated-policies":["burst"]`)
	want("/api/x", bankKey, 200, "first bank /api/x")
	if out := p.must("explain", "sub=shop"); !strings.Contains(out, "burst") || !strings.Contains(out, "3 in 1m0s") {
		t.Errorf("explain: %s", out)
	}
	// A file that is wrong changes nothing and is said; one that is right holds within a second or two, and no debt is forgotten.
	if err := os.WriteFile(file, []byte("routes: {a: {upstream: nothing}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.until("the wrong file is refused", func() error {
		if !strings.Contains(p.out.String(), `routes.a.upstream is \"nothing\"`) {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	want("/open/x", "", 200, "first")
	put(second, "4/min")
	p.until("the new file holds", func() error {
		if _, body, err := p.ask(c, "/open/x", ""); err != nil || !strings.HasPrefix(body, "second") {
			return fmt.Errorf("%q, %w", body, os.ErrDeadlineExceeded)
		}
		return nil
	})
	want("/api/x", shopKey, 429, "burst")
	want("/api/x", bankKey, 200, "second bank")
	metrics := p.get("/metrics")
	for _, line := range []string{
		`weir_gateway_requests_total{outcome="limited",route="api"} 2`, `weir_gateway_decisions_total{policy="burst",result="limited"} 2`,
		`weir_gateway_reloads_total{result="rejected"} 1`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("%s is not among the metrics", line)
		}
	}
	if shown := p.get("/api/gateway"); !strings.Contains(shown, `"state":"up"`) || !strings.Contains(shown, `"name":"burst"`) {
		t.Error(shown)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit %d: %s", code, p.out.String())
	}
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), `"limited":["burst"]`) || strings.Contains(string(text), shopKey) {
		t.Errorf("access log: %s, %v", text, err)
	}
}

// TestE2EGatewayMistakes has each mistake told with what to do.
func TestE2EGatewayMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.yaml")
	for text, want := range map[string]string{
		"routes: {a: {upstraem: b}}":                                             "did you mean upstream?",
		"routes: {a: {upstream: b}}":                                             `routes.a.upstream is "b"`,
		"policies: {p: {quota: many}}\nroutes: {a: {upstream: b}}":               "many",
		"policies: {p: {quota: 1/s, key: [cookie]}}\nroutes: {a: {upstream: b}}": "header:NAME",
		"consumers: {c: {keys: [short]}}\nroutes: {a: {upstream: b}}":            "16 or more",
		"{": "not YAML",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errs, code := weir(t, "gateway", "--routes", file, "--check"); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s, want %q", text, code, errs, want)
		}
	}
	if _, errs, code := weir(t, "gateway"); code != 2 || !strings.Contains(errs, "--upstream") {
		t.Errorf("without anything: %d %s", code, errs)
	}
}

// TestE2EGatewayCutsAnAbuserInXDP has an identity that keeps exceeding its quota cut in XDP, while another one behind the same address
// loses nothing, and comes back by itself.
func TestE2EGatewayCutsAnAbuserInXDP(t *testing.T) {
	bpftest.Require(t, "5.15", "XDP")
	server, served := app(t, "app")
	file := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, []byte(routesFile(server, "10/s")), 0o600); err != nil {
		t.Fatal(err)
	}
	p := gateway(t, []string{
		"WEIR_GATEWAY_ESCALATE_THRESHOLD=30", "WEIR_GATEWAY_ESCALATE_CALM_BELOW=15", "WEIR_GATEWAY_ESCALATE_HOLD=4s", "WEIR_GATEWAY_ESCALATE_PACKETS=2/s",
	}, "--routes", file, "--xdp", "on", "--interface", "lo")
	abuser, neighbor := &http.Client{Timeout: 500 * time.Millisecond}, &http.Client{Timeout: patience}
	stop := make(chan struct{})
	var refused, ok, lost atomic.Int64
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if status, _, err := p.ask(abuser, "/api/x", shopKey); err == nil && status == http.StatusTooManyRequests {
				refused.Add(1)
			}
		}
	})
	load.Go(func() {
		t := time.NewTicker(150 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
			}
			if status, _, err := p.ask(neighbor, "/api/x", bankKey); err == nil && status == http.StatusOK {
				ok.Add(1)
			} else {
				lost.Add(1)
			}
		}
	})
	p.until("the abuser is cut", func() error {
		if out := p.must("explain", "sub=shop"); !strings.Contains(out, "kept exceeding policy burst") || !strings.Contains(out, "escalated") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	before := ok.Load()
	p.until("the neighbor goes on", func() error {
		if ok.Load() < before+10 {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	close(stop)
	load.Wait()
	if lost.Load() > 0 {
		t.Errorf("the neighbor lost %d of %d requests", lost.Load(), ok.Load()+lost.Load())
	}
	t.Logf("refused %d times by 429, served %d in all, the neighbor %d", refused.Load(), served.Load(), ok.Load())
	abuser.CloseIdleConnections()
	p.until("it comes back by itself", func() error {
		status, _, err := p.ask(&http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}, "/api/x", shopKey)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
}
