package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestAClientIsExplainedWithoutChargingIt(t *testing.T) {
	r := rules(t, Config{
		Policies: []Policy{
			{Quota: quota("burst", 3, time.Minute)},
			{Quota: quota("daily", 5, 24*time.Hour), Key: key(t, "identity"), Missing: MissingSkip},
			{Quota: quota("each", 9, time.Minute), Key: key(t, "address", "route")},
			{Quota: quota("tenant", 7, time.Minute), Key: key(t, "header:X-Tenant")},
		},
		Plans: []Plan{{Name: "free", Policies: []string{"daily"}}}, DefaultPlan: "free",
		Consumers: []Consumer{{Name: "shop", Keys: [][32]byte{SumKey("k")}}},
		Routes: []Route{
			{Name: "a", Path: "/a", Upstream: "u", Policies: []string{"burst", "each"}, Auth: AuthOptional},
			{Name: "b", Path: "/b", Upstream: "u", Policies: []string{"burst", "each", "tenant"}, Auth: AuthOptional},
		},
	}, Deps{})
	begin(r, start, get("/a", "X-Api-Key", "k"))
	begin(r, start, get("/b"))
	told := func(client, identity string) (out []string) {
		a, _ := netip.ParseAddr(client)
		for _, e := range r.Explain(start, a, identity) {
			out = append(out, fmt.Sprintf("%s %v %s open %v: %d", e.Policy, e.Routes, e.Plan, e.Open, e.Decision.Remaining))
		}
		return out
	}
	for range 2 {
		if got := fmt.Sprint(told("192.0.2.1", "")); got != "[burst [a b]  open []: 1 each [a]  open []: 8 each [b]  open []: 8 tenant [b]  open [header:X-Tenant]: 0]" {
			t.Error(got)
		}
		if got := fmt.Sprint(told("", "shop")); got != "[burst [a b]  open [address]: 0 each [a]  open [address]: 0 daily [a b] free open []: 4 each [b]  open [address]: 0 tenant [b]  open [header:X-Tenant]: 0]" {
			t.Error(got)
		}
	}
}
