package test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/testlog"
)

// TestE2EClientsNobodyHereWrote has Chromium, the npm package ws, curl and weir's own client
// subscribed at once: all receive the same event. The first two ask for compression, and the event is
// long enough to get it.
func TestE2EClientsNobodyHereWrote(t *testing.T) {
	p := serve(t)
	clientsNobodyHereWrote(t, p, "ws://"+p.edge, "http://"+p.edge, "")
}

// clientsNobodyHereWrote subscribes them at two URLs of the edge; ca is the file of the certificate to trust.
func clientsNobodyHereWrote(t *testing.T, p *process, ws, http1, ca string) {
	t.Helper()
	const topic = "e2e.all"
	wsURL := ws + "/ws/" + topic
	got := make(chan string, 1)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			b, _ := io.ReadAll(r.Body)
			got <- string(b)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<script>
const ws = new WebSocket(%q), es = new EventSource("%s/sse/%s"), all = [];
const add = (how, data) => { all.push(how + "=" + data); if (all.length == 2) fetch("/", {method: "POST", body: all.sort().join(" ")}); };
ws.onmessage = e => add("ws", e.data);
es.onmessage = e => add("sse", e.data + "#" + e.lastEventId.split(":")[1]);
</script>`, wsURL, http1, topic)
	}))
	defer page.Close()
	browser := client(t, "chromium", "--ignore-certificate-errors", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(), page.URL)
	node := client(t, "env", "NODE_EXTRA_CA_CERTS="+ca, "node", "clients/ws.mjs", wsURL)
	curlArgs, ownArgs := []string{"-sSN", http1 + "/sse/" + topic}, []string{"subscribe", "--url", ws, "--count", "1", topic}
	if ca != "" {
		curlArgs, ownArgs = append(curlArgs, "--cacert", ca), append(ownArgs, "--ca", ca)
	}
	curl, own := client(t, "curl", curlArgs...), client(t, binary(t), ownArgs...)
	p.until("five subscribers", func() error {
		if n := p.subscriptions(); n != 5 {
			return fmt.Errorf("%d subscriptions\nnode: %s\ncurl: %s\nweir: %s\nchromium: %s", n, node, curl, own, browser)
		}
		return nil
	})
	event := fmt.Sprintf(`{"n":1,"pad":%q}`, strings.Repeat("pad ", 100))
	at := p.publish(topic, event)
	select {
	case b := <-got:
		if b != fmt.Sprintf("sse=%s#%d ws=%s", event, at.Offset, event) {
			t.Errorf("chromium got %q", b)
		}
	case <-time.After(patience):
		t.Errorf("chromium got nothing: %s", browser.String())
	}
	for _, c := range []struct {
		name string
		out  *testlog.Buffer
		want string
	}{
		{"ws", node, fmt.Sprintf(`{"data":%q,"binary":false}`, event)},
		{"curl", curl, fmt.Sprintf("id: %s:%d\ndata: %s\n", at.Epoch, at.Offset, event)},
		{"weir subscribe", own, fmt.Sprintf("%s %s:%d %s", topic, at.Epoch, at.Offset, event)},
	} {
		p.until(c.name, func() error {
			if !strings.Contains(c.out.String(), c.want) {
				return fmt.Errorf("got %q, want %q", c.out.String(), c.want)
			}
			return nil
		})
	}
	for _, want := range []string{"\nweir_edge_accepted_deflate_total 2\n", "\nweir_edge_deflated_events_total 1\n"} {
		if !strings.Contains(p.get("/metrics"), want) {
			t.Errorf("the metrics have no %q", want)
		}
	}
}

func TestE2EKilledAndRestartedGoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	p := serve(t, "--data", dir)
	first := p.publish("a.b", `"one"`)
	p.publish("a.b", `"two"`)
	p.kill()
	p = serve(t, "--data", dir)
	third := p.publish("a.b", `"three"`)
	if third.Epoch != first.Epoch || third.Offset != first.Offset+2 {
		t.Fatalf("went on at %+v after %+v", third, first)
	}
	since := fmt.Sprintf("%s:%d", first.Epoch, first.Offset)
	out, errs, code := weir(t, "subscribe", "--url", "ws://"+p.edge, "--since", since, "--count", "2", "--json", "a.b")
	want := fmt.Sprintf(`{"topic":"a.b","epoch":%q,"offset":%d,"subscribed":true,"recovered":true}
{"topic":"a.b","epoch":%q,"offset":%d,"data":"two"}
{"topic":"a.b","epoch":%q,"offset":%d,"data":"three"}
`, first.Epoch, first.Offset, first.Epoch, first.Offset+1, first.Epoch, first.Offset+2)
	if out != want || code != 0 {
		t.Errorf("resumed with %d:\n%s%s, want\n%s", code, out, errs, want)
	}
	// Which of two topics is resumed first is not said.
	both := client(t, binary(t), "subscribe", "--url", "ws://"+p.edge, "--since", "dead:1", "--since", since, "a.c", "a.b")
	p.until("another epoch is told, beside one that goes on", func() error {
		if got := both.String(); !strings.Contains(got, "a.c: events may be missing") || !strings.Contains(got, `"three"`) {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.out.String())
	}
}

func TestE2EPublishesLinesAndAnswersWithPositions(t *testing.T) {
	p := serve(t)
	out, errs, code := weir(t, "publish", "--admin", "http://"+p.admin, "--json", "news", "hello")
	var at position
	if err := json.Unmarshal([]byte(out), &at); err != nil || at.Offset != 1 || code != 0 {
		t.Fatalf("%q %q %d: %v", out, errs, code, err)
	}
	for _, tt := range []struct{ args, want string }{
		{"publish --admin http://" + p.admin + " no..topic x", "bad topic"},
		{"publish --admin http://127.0.0.1:1 news x", "start one with weir serve"},
		{"subscribe --url ws://127.0.0.1:1 news", "start one with weir serve"},
		{"subscribe --url ws://" + p.edge + " a.b*", "put a dot before and after"},
	} {
		if _, errs, code := weir(t, strings.Fields(tt.args)...); code != 1 || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: %d %q, want %q", tt.args, code, errs, tt.want)
		}
	}
}

func TestE2EBadInputIsRefusedInASentence(t *testing.T) {
	p := serve(t)
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte("edge:\n  max_pendng: 1MiB\n  listen: 1\nbus:\n  max_event: 5 apples\nadmin:\n  listen: 0.0.0.0:8001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args string
		code int
		want []string
	}{
		{"a port in use", "serve --xdp off --admin 127.0.0.1:0 --listen " + p.edge, 1, []string{"the port is in use", "ss -ltnp"}},
		{"the admin port in use", "serve --xdp off --listen 127.0.0.1:0 --admin " + p.admin, 1, []string{"the port is in use"}},
		{"an interface that is not there", "serve --interface nope0 --xdp on", 1, []string{"no such interface", "lo"}},
		{"a file with mistakes", "serve --config " + file, 1, []string{
			file + ":2: edge.max_pendng is not a key: did you mean max_pending?",
			file + `:5: bus.max_event is "5 apples": want a size`,
			"admin.api_key",
		}},
		{"an unknown flag", "serve --lisen x", 2, []string{"unknown flag"}},
		{"an unknown command", "srve", 2, []string{"srve"}},
		{"an unknown feed", "serve --feed ducks", 2, []string{"there is ticks"}},
		{"a bench that cannot be", "bench fanout --size 1", 2, []string{"--size is 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, errs, code := weir(t, strings.Fields(tt.args)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, w := range tt.want {
				if !strings.Contains(errs, w) {
					t.Errorf("said %q, want %q", errs, w)
				}
			}
		})
	}
}

func TestE2EAdminAPIAnswersAsCentrifugos(t *testing.T) {
	p := serve(t, "--api-key", "secret")
	call := func(method, path, key, mode, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.admin+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", key)
		req.Header.Set("X-Centrifugo-Error-Mode", mode)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck // it was read
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	b64 := base64.StdEncoding.EncodeToString([]byte("\xff"))
	for _, tt := range []struct {
		name, method, path, key, mode, body string
		status                              int
		want                                string
	}{
		{"a publish", "POST", "/api/publish", "secret", "", `{"channel":"a","data":{}}`, 200, `{"result":{"offset":1,`},
		{"bytes", "POST", "/api/publish", "secret", "", `{"channel":"a","b64data":"` + b64 + `"}`, 200, `{"result":{"offset":2,`},
		{"a broadcast", "POST", "/api/broadcast", "secret", "", `{"channels":["a","b"],"data":1}`, 200, `"responses":[{"result"`},
		{"no channel", "POST", "/api/publish", "secret", "", `{"data":{}}`, 200, `"code":107`},
		{"no channel, HTTP statuses wanted", "POST", "/api/publish", "secret", "transport", `{"data":{}}`, 400, "channel is missing"},
		{"no data", "POST", "/api/publish", "secret", "", `{"channel":"a"}`, 200, "data is missing"},
		{"not JSON", "POST", "/api/publish", "secret", "", `{"channel`, 400, `"code":107`},
		{"too large", "POST", "/api/publish", "secret", "", `{"channel":"a","data":"` + strings.Repeat("x", 70000) + `"}`, 200, "bus.max_event"},
		{"a body beyond all bounds", "POST", "/api/publish", "secret", "", strings.Repeat(" ", 13<<20), 413, "over"},
		{"a wrong key", "POST", "/api/publish", "guess", "", `{}`, 401, `"code":101`},
		{"no key", "GET", "/metrics", "", "", "", 401, "X-API-Key"},
		{"health needs no key", "GET", "/healthz", "", "", "", 200, "ok"},
		{"a wrong method", "GET", "/api/publish", "secret", "", "", 405, "use POST"},
		{"an unknown method", "POST", "/api/frobnicate", "secret", "", "", 404, `"code":104`},
		{"an unknown path", "GET", "/nowhere", "secret", "", "", 404, "no such path"},
		{"the quota when XDP is off", "GET", "/api/quota", "secret", "", "", 200, `"enabled":false`},
		{"the page", "GET", "/", "", "", "", 200, "<title>weir</title>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := call(tt.method, tt.path, tt.key, tt.mode, tt.body)
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("got %d %.200q, want %d with %q", status, body, tt.status, tt.want)
			}
		})
	}
}

func TestE2EMetricsAreThereFromTheStart(t *testing.T) {
	text := serve(t).get("/metrics")
	for _, series := range []string{
		`weir_edge_conns 0`, `weir_edge_deliveries_total 0`, `weir_edge_closed_total{reason="slow_consumer"} 0`,
		`weir_edge_delivery_seconds_count 0`, `weir_bus_published_total 0`, `weir_bus_publish_errors_total{reason="too_large"} 0`,
		`weir_broker_gaps_total{outcome="recovered"} 0`, `weir_xdp_packets_total{action="drop",reason="quota_packets"} 0`,
		`weir_admin_requests_total{class="2xx",route="publish"} 0`, `go_goroutines`,
	} {
		if !strings.Contains(text, series) {
			t.Errorf("no %s", series)
		}
	}
}

// TestE2EOutOfDescriptorsRefusesNewAndKeepsOld holds the process to 320 descriptors.
func TestE2EOutOfDescriptorsRefusesNewAndKeepsOld(t *testing.T) {
	p := &process{tb: t, edge: freePort(t), admin: freePort(t)}
	p.cmd = exec.Command("bash", "-c", `ulimit -n 320; exec "$@"`, "bash", binary(t), "serve", "--listen", p.edge, "--admin", p.admin, "--xdp", "off") //nolint:gosec // our own binary
	p.cmd.Env = append(os.Environ(), "WEIR_EDGE_MAX_CONNS=100000")
	p.start()
	var kept []io.ReadCloser
	refused := 0
	for range 400 {
		conn, head, err := p.raw("/ws/full")
		switch {
		case err == nil && strings.Contains(head, " 101 "):
			kept = append(kept, conn)
		case err != nil, strings.Contains(head, " 503 "):
			refused++
		default:
			t.Fatalf("answered %q", head)
		}
	}
	if len(kept) < 100 || refused < 50 {
		t.Fatalf("%d kept, %d refused of 400 at a limit of 320", len(kept), refused)
	}
	p.publish("full", `"still"`)
	for i, c := range kept {
		b := make([]byte, 9)
		if _, err := io.ReadFull(c, b); err != nil || string(b[2:]) != `"still"` {
			t.Fatalf("connection %d of %d: %q, %v", i, len(kept), b, err)
		}
	}
}
