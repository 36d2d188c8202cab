package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/config"
	"weir/gateway/access"
	"weir/gateway/policy"
)

// gatewayOf runs a gateway in front of a server that answers "hello", and returns its address and that of its admin page.
func gatewayOf(t *testing.T, policies string) (at, adminAt string) {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	t.Cleanup(up.Close)
	cfg := config.Default()
	cfg.XDP.Enabled, cfg.Admin.Listen, cfg.Gateway.Listen = "off", "127.0.0.1:0", "127.0.0.1:0"
	read := func() (*config.Plan, error) {
		return config.ParsePlan("routes", []byte("upstreams: {app: {servers: [\""+strings.TrimPrefix(up.URL, "http://")+"\"]}}\n"+policies))
	}
	n, err := newGatewayNode(t.Context(), cfg, read, slog.New(slog.DiscardHandler), &app{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("the gateway does not serve")
	}
	return n.server.Addr().String(), "http://" + n.admin.Addr().String()
}

func TestTopOfAGateway(t *testing.T) {
	const plan = `
policies:  {burst: {quota: 2/h, key: [identity]}}
consumers: {shop: {keys: [a key that is long enough]}}
routes:    {all: {upstream: app, policies: [burst], auth: optional}}
`
	at, adminAt := gatewayOf(t, plan)
	for i := range 4 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 { // the first is of nobody
			req.Header.Set("X-Api-Key", "a key that is long enough")
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	top := func(args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = run(append([]string{"quota", "top", "--admin", adminAt}, args...), &app{stdout: &o, stderr: &e})
		return code, o.String(), e.String()
	}
	// A request is counted when it has ended, which its client may see before.
	var got gatewayRanking
	for deadline := time.Now().Add(10 * time.Second); got.Total < 4 && time.Now().Before(deadline); {
		if code, out, errs := top("--by", "requests", "--json"); code != exitOK || json.Unmarshal([]byte(out), &got) != nil {
			t.Fatalf("exit code %d: %s%s", code, out, errs)
		}
	}
	if len(got.Clients) != 2 || got.Clients[0].Identity != "shop" || got.Clients[0].Value != 3 || got.Clients[0].Limited != 1 || got.Clients[0].Seconds <= 0 || got.Clients[1].Client != "127.0.0.1" || got.Bound != 0 {
		t.Errorf("%+v", got)
	}
	// XDP is off, so that without --by it is of the gateway.
	for _, args := range [][]string{{}, {"--gateway"}, {"--by", "limited"}} {
		if code, out, errs := top(args...); code != exitOK || !strings.Contains(out, "BY limited") || !strings.Contains(out, `"shop"`) || strings.Contains(out, "127.0.0.1") {
			t.Errorf("%v: exit code %d: %s%s", args, code, out, errs)
		}
	}
	if code, out, errs := top("--by", "dropped"); code != exitFailed || !strings.Contains(errs, "XDP is off") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if code, out, errs := top("--gateway", "--by", "dropped"); code != exitUsage || !strings.Contains(errs, "--by dropped is of XDP") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	for path, want := range map[string]string{"?by=packets": "want requests, limited, bytes, seconds", "?n=1": `"by":"limited"`} {
		res, err := http.Get(adminAt + "/api/gateway/top" + path)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, _ = b.ReadFrom(res.Body)
		if _ = res.Body.Close(); !strings.Contains(b.String(), want) {
			t.Errorf("%s: %s", path, &b)
		}
	}
}

func TestARecordOfAKnownClientIsRankedWithoutAllocating(t *testing.T) {
	now := time.Now()
	g, err := newGatewayTop(now)
	if err != nil {
		t.Fatal(err)
	}
	identity := []byte("shop")
	records := []access.Record{
		{Begun: now, Client: netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666"), Received: 3, Sent: 4, Upstream: time.Second},
		{Begun: now, Client: netip.MustParseAddr("192.0.2.1"), Identity: string(identity), Outcome: policy.Limited},
		{}, // a head that could not be read
	}
	if got := testing.AllocsPerRun(1000, func() {
		for i := range records {
			g.observe(&records[i])
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	top, err := g.ranking(now, "seconds", 10)
	if err != nil || len(top.Clients) != 1 || top.Clients[0].Value != 1001 || top.Clients[0].Bytes != 7007 {
		t.Errorf("%+v, %v", top, err)
	}
}
