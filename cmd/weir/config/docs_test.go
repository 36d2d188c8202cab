package config

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/gateway/upstream"
	"weir/internal/golden"
)

const gatewayPage = "../../../docs/GATEWAY.md"

var documentedKey = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|")

// TestTheDocumentationHasEveryKey holds each table of the file of routes to what the decoder reads.
func TestTheDocumentationHasEveryKey(t *testing.T) {
	page, err := os.ReadFile(gatewayPage)
	if err != nil {
		t.Fatal(err)
	}
	d := &planDecoder{plan: &Plan{}}
	of := func(k keys, below map[string]keys) (all []string) {
		for key := range k {
			if below[key] == nil {
				all = append(all, key)
			}
			for name := range below[key] {
				all = append(all, key+"."+name)
			}
		}
		slices.Sort(all)
		return all
	}
	for heading, want := range map[string][]string{
		"Top": of(d.top(), nil), "Policies": of(d.policy("x"), nil), "Consumers": of(d.consumer("x"), nil), "Routes": of(d.route("x"), nil),
		"Upstreams": of(d.upstream("x"), map[string]keys{
			"health": healthKeys(&upstream.Health{}), "ejection": ejectionKeys(&upstream.Ejection{}), "retries": retriesKeys(&upstream.Retries{}),
		}),
	} {
		_, section, ok := strings.Cut(string(page), "\n### "+heading+"\n")
		if !ok {
			t.Errorf("no section %s", heading)
			continue
		}
		section, _, _ = strings.Cut(section, "\n#")
		got := map[string]bool{}
		for _, m := range documentedKey.FindAllStringSubmatch(section, -1) {
			got[m[1]] = true
		}
		if has := slices.Sorted(maps.Keys(got)); !slices.Equal(has, want) {
			t.Errorf("%s has %v, want %v", heading, has, want)
		}
	}
}

// TestTheDocumentationHasEverySetting writes, or checks, the table of the gateway's keys of weir.yaml.
func TestTheDocumentationHasEverySetting(t *testing.T) {
	page, err := os.ReadFile(gatewayPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- begin: by go test ./cmd/weir/config -update -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, also := strings.Cut(rest, end)
	if !ok || !also {
		t.Fatal("no place for the table")
	}
	var b strings.Builder
	b.WriteString("| key | default | meaning |\n|---|---|---|\n")
	for _, s := range gatewaySettings() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", s.key, s.get(Default()), s.doc)
	}
	golden.Check(t, gatewayPage, before+begin+b.String()+end+after)
}
