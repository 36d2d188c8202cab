package access

import (
	"testing"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"
	"weir/ratelimit/local"
)

// rulesOf are rules of some routes, and of some policies that each of them has.
func rulesOf(tb testing.TB, routes, policies []string) *policy.Rules {
	tb.Helper()
	store, err := local.New(local.Config{Clients: 1024})
	if err != nil {
		tb.Fatal(err)
	}
	cfg := policy.Config{}
	for _, name := range policies {
		cfg.Policies = append(cfg.Policies, policy.Policy{Quota: ratelimit.Quota{Name: name, Rate: ratelimit.Rate{Count: 1000, Per: time.Second}}})
	}
	for _, name := range routes {
		cfg.Routes = append(cfg.Routes, policy.Route{Name: name, Path: "/" + name, Upstream: "u", Policies: policies})
	}
	r, err := policy.New(cfg, policy.Deps{Local: store, Flight: &policy.Flight{}})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}
