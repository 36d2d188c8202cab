package config

import (
	"reflect"
	"strings"
	"testing"

	"weir/gateway/policy"
	"weir/gateway/rls"
	"weir/ratelimit/local"
)

func TestRulesForAnEnvoyAreRead(t *testing.T) {
	p, err := ParsePlan("routes.yaml", []byte(`
policies: {burst: {quota: 100/s}, login: {quota: 5/min}}
rls:
  tell: draft
  domains:
    edge:
      - {match: {remote_address: "", path: /login}, policies: [burst, login]}
      - match: {generic_key: [a, "b*"]}
        late: true
        policies: [burst]
      - {match: {user: "*"}, override: true}
    other: []
`))
	if err != nil {
		t.Fatal(err)
	}
	want := rls.Config{Tell: rls.TellDraft, Domains: []rls.Domain{
		{Name: "edge", Rules: []rls.Rule{
			{Match: []rls.Entry{{Key: "remote_address"}, {Key: "path", Value: "/login"}}, Policies: []string{"burst", "login"}},
			{Match: []rls.Entry{{Key: "generic_key", Value: "a"}, {Key: "generic_key", Value: "b*"}}, Late: true, Policies: []string{"burst"}},
			{Match: []rls.Entry{{Key: "user", Value: "*"}}, Override: true},
		}},
		{Name: "other"},
	}}
	if !reflect.DeepEqual(p.RLS, want) {
		t.Errorf("%+v\nwant %+v", p.RLS, want)
	}
}

func TestMistakesOfRulesForAnEnvoySayWhereTheyAre(t *testing.T) {
	for text, want := range map[string]string{
		"rls: {domains: {edge: {match: {a: b}}}}":              "routes.yaml:1: rls.domains.edge is not a list",
		"rls: {domains: [a]}":                                  "routes.yaml:1: rls.domains is not a mapping",
		"rls: {domains: {edge: []}, tell: loud}":               `routes.yaml:1: rls.tell is "loud": want none, draft or both`,
		"rls: {domains: {edge: [{match: {a: }}]}}":             `routes.yaml:1: rls.domains.edge.1.match has "a", which has no value`,
		"rls:\n  domains: {edge: [{match: a}]}":                "routes.yaml:2: rls.domains.edge.1.match is not a mapping",
		"rls:\n  domains: {edge: [{match: {a: b, a: c}}]}":     `routes.yaml:2: rls.domains.edge.1.match has "a" twice`,
		"rls: {domains: {edge: [{match: {a: b}}, {mach: 1}]}}": `routes.yaml:1: rls.domains.edge.2.mach is not a key`,
		"rls: {domains: {edge: [{late: perhaps}]}}":            "routes.yaml:1: rls.domains.edge.1.late",
		"policies: {a: {quota: 1/s}}":                          "routes is missing",
	} {
		if _, err := ParsePlan("routes.yaml", []byte(text)); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), " line ", ":"), want) {
			t.Errorf("%s:\n%v\nwant %s", text, err, want)
		}
	}
}

// FuzzRulesForAnEnvoy reads any text, and compiles what is read: it may be refused, and is never more than the text has.
func FuzzRulesForAnEnvoy(f *testing.F) {
	for _, seed := range []string{
		"rls: {tell: both, domains: {edge: [{match: {remote_address: \"\", path: /login}, policies: [a]}]}}",
		"rls:\n  domains:\n    edge:\n      - match: {generic_key: [a, b]}\n        late: true\n",
		"rls: {domains: {edge: [1, {match: [a]}, {match: {a: {b: c}}}]}}", "rls: {domains: {? {a: b} : []}}", "rls: &x {domains: *x}",
	} {
		f.Add(seed)
	}
	store, err := local.New(local.Config{Clients: 1024})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlan("routes.yaml", []byte(text))
		if err != nil {
			return
		}
		entries := 0
		for _, d := range p.RLS.Domains {
			for _, r := range d.Rules {
				entries += len(r.Match)
			}
		}
		if entries > len(text) {
			t.Fatalf("%q has %d entries", text, entries)
		}
		deps := policy.Deps{Local: store, Flight: &policy.Flight{}}
		policies, err := policy.New(policy.Config{Policies: p.Rules.Policies}, deps)
		if err != nil {
			return
		}
		if r, err := rls.New(p.RLS, policies, deps); err == nil && len(r.Config().Domains) != len(p.RLS.Domains) {
			t.Fatalf("%q loses domains", text)
		}
	})
}
