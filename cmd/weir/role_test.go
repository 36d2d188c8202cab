package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"weir/cmd/weir/config"
)

func TestOneConfigurationServesEveryRole(t *testing.T) {
	for _, tt := range []struct {
		role                    role
		listen, secret, servers string
		want                    string // of the error; empty: it is taken
		wantListen, wantServers string
	}{
		{roleServe, "", "", "nats://a:1", "", "", ""},
		{roleServe, "0.0.0.0:4222", "", "", "", "0.0.0.0:4222", ""},
		{roleBroker, "", "", "nats://a:1", "", brokerListen, ""},
		{roleBroker, "[::1]:1", "", "", "", "[::1]:1", ""},
		{roleBroker, "10.0.0.5:4222", "s", "nats://a:1", "", "10.0.0.5:4222", ""},
		{roleBroker, ":4222", "", "", "no edge is let in without one", "", ""},
		{roleEdge, "10.0.0.5:4222", "s", "nats://a:1", "", "", "nats://a:1"},
		{roleEdge, "", "s", "", "--bus nats://HOST:4222", "", ""},
		{roleEdge, "", "", "nats://a:1", "bus.secret is missing", "", ""},
	} {
		cfg := config.Default()
		cfg.Bus.Listen, cfg.Bus.Secret = tt.listen, tt.secret
		if tt.servers != "" {
			cfg.Bus.Servers = []string{tt.servers}
		}
		err := tt.role.apply(cfg)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: got %v", tt, err)
			}
			continue
		}
		if err != nil || cfg.Bus.Listen != tt.wantListen || strings.Join(cfg.Bus.Servers, " ") != tt.wantServers {
			t.Errorf("%+v: %+v, %v", tt, cfg.Bus, err)
		}
	}
}

func TestRoomBesideTheLoops(t *testing.T) {
	was, percent := runtime.GOMAXPROCS(2), debug.SetGCPercent(77)
	defer runtime.GOMAXPROCS(was)
	defer debug.SetGCPercent(percent)
	makeRoom(2, []string{"GOMAXPROCS=2", "GOGC=77"})
	if now := debug.SetGCPercent(77); now != 77 {
		t.Errorf("%d %% of garbage, against the operator's word", now)
	}
	if n := runtime.GOMAXPROCS(0); n != 2 {
		t.Errorf("%d threads, against the operator's word", n)
	}
	makeRoom(2, nil)
	if n := runtime.GOMAXPROCS(0); n != 2+besideLoops {
		t.Errorf("%d threads beside 2 loops", n)
	}
	if now := debug.SetGCPercent(77); now != gcPercent {
		t.Errorf("%d %% of garbage", now)
	}
	makeRoom(1, nil)
	if n := runtime.GOMAXPROCS(0); n != 2+besideLoops {
		t.Errorf("%d threads: some were taken away", n)
	}
}
