package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/cmd/weir/config"
	"weir/edge/workers"
	"weir/internal/testtoken"
	"weir/token"
)

func TestWorkersHaveTheirShareOfWhatHoldsForAll(t *testing.T) {
	cfg, err := config.Load("", []string{
		"WEIR_EDGE_WORKERS=4", "WEIR_EDGE_LOOPS=6", "WEIR_EDGE_MAX_CONNS=1001", "WEIR_EDGE_MAX_CONNS_PER_PREFIX=10", "WEIR_EDGE_MAX_HELD=8MiB",
		"WEIR_EDGE_ACCEPT_RATE=10/min", "WEIR_EDGE_ACCEPT_RATE_PER_PREFIX=1/10s", "WEIR_ADMIN_LISTEN=0.0.0.0:1", "WEIR_ADMIN_API_KEY=key",
		"WEIR_BUS_DATA=dir", "WEIR_BUS_STORAGE=file", "WEIR_BUS_MAX_EVENT=1KiB", "WEIR_EDGE_MODES=a.*=latest",
		"WEIR_EDGE_MAX_CONNS_PER_IDENTITY=9",
	})
	if err != nil {
		t.Fatal(err)
	}
	printed := shareOf(cfg).Print()
	back, err := config.Parse("x", []byte(printed))
	if err != nil {
		t.Fatal(err)
	}
	e := back.Edge
	if e.Loops != 2 || e.MaxConns != 251 || e.MaxConnsPerPrefix != 3 || e.MaxConnsPerIdentity != 3 || e.MaxHeldBytes != 2<<20 || e.AcceptRate.String() != "3/min" || e.AcceptRatePerPrefix.Count != 1 || e.AcceptRatePerPrefix.Per != 10*time.Second {
		t.Errorf("limits: %+v", e)
	}
	if back.Workers.Workers != 0 || e.Takeover != "off" || back.XDP.Enabled != "off" || back.Bus.MaxEventBytes != 1<<10 || len(e.Modes) != 1 || strings.Contains(printed, "key\"") {
		t.Errorf("it is\n%s", printed)
	}
	if cfg.Workers.Workers != 4 || cfg.Edge.MaxConns != 1001 || cfg.XDP.Enabled != "auto" {
		t.Error("the node's own was changed")
	}
	cfg, err = config.Load("", []string{"WEIR_EDGE_WORKERS=4"})
	if err != nil {
		t.Fatal(err)
	}
	if s := shareOf(cfg); s.Edge.MaxConns != 0 || s.Edge.Loops != 0 || s.Edge.AcceptRate.Count != 0 {
		t.Errorf("what follows from a worker's own process: %+v", s.Edge)
	}
}

// TestWorkersAreSentTheKeysOfTokens: not their files, which may have changed when one is started again.
func TestWorkersAreSentTheKeysOfTokens(t *testing.T) {
	k := testtoken.New(t, "a")
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, k.PEM(t), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load("", []string{"WEIR_EDGE_WORKERS=2", "WEIR_XDP_ENABLED=off", "WEIR_AUTH_KEYS=EdDSA:a:" + path, "WEIR_AUTH_JWKS=https://127.0.0.1:1/set", "WEIR_AUTH_AUDIENCE=weir", "WEIR_EDGE_ANONYMOUS=off"})
	if err != nil {
		t.Fatal(err)
	}
	if err := roleServe.apply(cfg); err != nil {
		t.Fatal(err)
	}
	n, err := newNode(t.Context(), roleServe, cfg, slog.New(slog.DiscardHandler), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	sent, err := n.workerConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	back, err := readWorkerConfig(workers.Task{Address: "127.0.0.1:1", Config: sent})
	if err != nil {
		t.Fatal(err)
	}
	v, set, err := newTokens(&back.Auth, slog.New(slog.DiscardHandler))
	if err != nil || set == nil || back.Edge.Anonymous != "off" {
		t.Fatalf("%v, %v", set, err)
	}
	claims := map[string]any{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "aud": "weir"}
	if _, err := v.Verify(k.Sign(t, claims)); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify(testtoken.New(t, "b").Sign(t, claims)); !errors.Is(err, token.ErrNoKeys) {
		t.Errorf("before the set is there: %v", err)
	}
}

func TestTheBusIsOpenToWorkersAlone(t *testing.T) {
	load := func(environ ...string) *config.Config {
		t.Helper()
		cfg, err := config.Load("", append(environ, "WEIR_EDGE_WORKERS=2"))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	cfg := load()
	if err := roleServe.apply(cfg); err != nil || cfg.Bus.Listen != "127.0.0.1:0" || !cfg.Bus.NoGuests || cfg.Bus.Validate() != nil || cfg.Bus.Secret == "" {
		t.Errorf("%+v, %v", cfg.Bus, err)
	}
	const secret = "0123456789abcdef0123"
	cfg = load("WEIR_BUS_LISTEN=127.0.0.1:4222", "WEIR_BUS_SECRET="+secret)
	if err := roleServe.apply(cfg); err != nil || cfg.Bus.Listen != "127.0.0.1:4222" || cfg.Bus.NoGuests || cfg.Bus.Secret != secret {
		t.Errorf("one that listens for others: %+v, %v", cfg.Bus, err)
	}
	cfg = load()
	if err := roleBroker.apply(cfg); err != nil || cfg.Workers.Workers != 0 {
		t.Errorf("a broker has %d workers, %v", cfg.Workers.Workers, err)
	}
}

// TestAWorkerIsToldBySocketAlone looks at what others on the host can read of a process.
func TestAWorkerIsToldBySocketAlone(t *testing.T) {
	cfg := config.Default()
	cfg.XDP.Enabled, cfg.Workers.Workers = "off", 2
	if err := roleServe.apply(cfg); err != nil {
		t.Fatal(err)
	}
	n, err := newNode(t.Context(), roleServe, cfg, slog.New(slog.DiscardHandler), []string{"WEIR_BUS_SECRET=x", "HOME=y"}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	if cmd := n.workerCommand(); !slices.Equal(cmd.Env, []string{"HOME=y"}) || !slices.Equal(cmd.Args, []string{"weir", "edge-worker"}) {
		t.Errorf("%q %q", cmd.Env, cmd.Args)
	}
	sent, err := n.workerConfig()
	if err != nil {
		t.Fatal(err)
	}
	back, err := readWorkerConfig(workers.Task{Address: "127.0.0.1:1", Config: sent})
	if err != nil {
		t.Fatal(err)
	}
	if pinned, err := readWorkerConfig(workers.Task{Address: "127.0.0.1:1", Pinned: true, Config: sent}); err != nil || pinned.Edge.Loops != 0 || back.Edge.Loops != 1 {
		t.Errorf("loops on a share of the CPUs and without one: %+v %+v, %v", pinned, back.Edge, err)
	}
	if back.Bus.Secret != cfg.Bus.Secret || len(back.Bus.Servers) != 1 || back.Edge.Listen != "127.0.0.1:1" || !back.Edge.SharedPort {
		t.Errorf("%+v %+v", back.Bus, back.Edge)
	}
	bad, err := json.Marshal(workerConfig{YAML: "edge: {loops: many}"})
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range [][]byte{nil, bad} {
		if _, err := readWorkerConfig(workers.Task{Config: config}); err == nil {
			t.Errorf("%q is taken", config)
		}
	}
}
