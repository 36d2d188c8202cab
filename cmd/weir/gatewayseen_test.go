package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/cmd/weir/config"
	"weir/tuning"
)

const sharedRoutes = `upstreams: {u: {servers: [127.0.0.1:1]}}
policies:
  strict: {quota: 100/s, store: shared}
  lease: {quota: 100/s, store: shared, mode: lease, slice: 10, when_gone: closed}
  open: {quota: 100/s, store: shared, when_gone: open}
  own: {quota: 1/s}
routes: {r: {upstream: u, policies: [strict, lease, open, own]}}
`

// quiet is a log that nobody reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func sharedConfig(t *testing.T) *config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Gateway.Listen = "127.0.0.1:0"
	cfg.Gateway.Redis.Addresses, cfg.Gateway.Redis.Gateways = []string{"127.0.0.1:1"}, 4
	return cfg
}

func TestWhatASharedPolicyMayLetThroughIsShown(t *testing.T) {
	n, err := newGatewayNode(t.Context(), sharedConfig(t), func() (*config.Plan, error) { return config.ParsePlan("f", []byte(sharedRoutes)) }, quiet(), &app{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(n.Show())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Policies []struct {
			Name  string
			Bound *bound
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]*bound{
		"strict": {Failover: 100, Fallback: 100, Most: 200}, "lease": {Lease: 40, Late: 40, Failover: 100, Most: 180}, "open": {Failover: 100, Open: true}, "own": nil,
	}
	for _, p := range got.Policies {
		if w := want[p.Name]; (w == nil) != (p.Bound == nil) || w != nil && *w != *p.Bound {
			t.Errorf("%s: %+v, want %+v", p.Name, p.Bound, w)
		}
	}
	if len(got.Policies) != 4 {
		t.Errorf("%s", text)
	}
}

func TestTheDoctorTellsTheBoundOfEachSharedPolicy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(text string) config.Gateway {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := sharedConfig(t).Gateway
		cfg.Routes = path
		return cfg
	}
	found := examineRoutes(write(sharedRoutes))
	for i, want := range []tuning.Finding{
		{Check: "routes", Level: tuning.OK, Found: "1 routes, 4 policies, 3 of them shared"},
		{Check: "policy strict", Level: tuning.OK, Found: "strict: beyond the quota at most 0 leased and 0 charged late while Redis is there, 100 when it is replaced or comes back, 100 while it is gone", Why: "200 in all, each time that Redis goes and comes back: units, of all gateways together"},
		{Check: "policy lease", Level: tuning.OK, Found: "lease: beyond the quota at most 40 leased and 40 charged late while Redis is there, 100 when it is replaced or comes back, 0 while it is gone", Why: "180 in all, each time that Redis goes and comes back: units, of all gateways together"},
		{Check: "policy open", Level: tuning.Warn, Found: "strict: beyond the quota at most 0 leased and 0 charged late while Redis is there, 100 when it is replaced or comes back", Why: "while Redis is gone all is let through", Mend: "when_gone: local-share, or closed, for a bound"},
	} {
		if i >= len(found) || found[i] != want {
			t.Fatalf("finding %d of %+v", i, found)
		}
	}
	cfg := write(sharedRoutes)
	cfg.Redis.Addresses = nil
	for why, cfg := range map[string]config.Gateway{"set redis.addresses": cfg, "f.yaml": {Routes: filepath.Join(t.TempDir(), "f.yaml")}} {
		if found := examineRoutes(cfg); len(found) != 1 || found[0].Level != tuning.Fail || !strings.Contains(found[0].Why, why) || found[0].Mend == "" {
			t.Errorf("%s: %+v", why, found)
		}
	}
	if found := examineRoutes(write("routes: 5")); len(found) != 1 || !strings.Contains(found[0].Why, path+":1: routes is not a mapping") {
		t.Errorf("%+v", found)
	}
}

func TestASharedPolicyWithoutRedisIsRefused(t *testing.T) {
	cfg := sharedConfig(t)
	cfg.Gateway.Redis.Addresses = nil
	_, err := newGatewayNode(t.Context(), cfg, func() (*config.Plan, error) { return config.ParsePlan("f", []byte(sharedRoutes)) }, quiet(), &app{})
	if err == nil || !strings.Contains(err.Error(), "policies.strict has store: shared, and there is no Redis: set redis.addresses") {
		t.Error(err)
	}
}

func TestTheAccessLogIsOpenedAnewAtSIGHUP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	cfg := config.Default()
	cfg.Gateway.Listen, cfg.Gateway.AccessLog = "127.0.0.1:0", path
	n, err := newGatewayNode(t.Context(), cfg, func() (*config.Plan, error) {
		return config.ParsePlan("f", []byte("upstreams: {u: {servers: [127.0.0.1:1]}}\nroutes: {r: {upstream: u}}\n"))
	}, quiet(), &app{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { n.watch(ctx); close(ended) }()
	defer func() { stop(); <-ended }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	hup := make(chan os.Signal, 1) // so that one that comes before watch listens does not end the tests
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		if _, err := os.Stat(path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not made again")
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnAccessLogThatCannotBeOpenedSaysSo(t *testing.T) {
	if _, err := openAccessLog(config.Gateway{AccessLog: t.TempDir()}, nil, quiet()); err == nil || !strings.HasPrefix(err.Error(), "open the access log: set gateway.access_log to a file that weir may write: ") {
		t.Error(err)
	}
	if a, err := openAccessLog(config.Gateway{}, nil, quiet()); a != nil || err != nil || a.reopen() != nil {
		t.Error(a, err)
	}
	if a, err := openAccessLog(config.Gateway{AccessLog: "-"}, io.Discard, quiet()); err != nil || a.file != nil || a.reopen() != nil {
		t.Error(a, err)
	}
}

// failing is a writer that does.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestALogThatCannotBeWrittenIsToldOfOnceAMinute(t *testing.T) {
	var out bytes.Buffer
	c := &complaining{Writer: failing{}, log: slog.New(slog.NewTextHandler(&out, nil))}
	for range 100 {
		if _, err := c.Write([]byte("x")); err == nil {
			t.Fatal("the error is lost")
		}
	}
	if n := strings.Count(out.String(), "no space left"); n != 1 {
		t.Errorf("told %d times", n)
	}
	c.last = c.last.Add(-complainEvery)
	_, _ = c.Write([]byte("x"))
	if n := strings.Count(out.String(), "no space left"); n != 2 {
		t.Errorf("a minute later told %d times", n)
	}
}
