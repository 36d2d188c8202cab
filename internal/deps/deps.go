// Package deps says which package may import which, and why, and tests it over the import
// graph. docs/ARCHITECTURE.md draws the same in words.
package deps

import (
	"fmt"
	"slices"
	"strings"
)

// Rule limits what the packages below a path may import. The first rule that fits holds.
type Rule struct {
	// Path is a package, or with /... it and all below it.
	Path string
	// Ours are the packages of ours it may import, as paths like Path.
	Ours []string
	Why  string
}

// Heavy is a library that only the packages below some paths may import, so that it can be
// replaced there.
type Heavy struct {
	Library string
	Only    []string
}

// Rules are weir's.
func Rules() []Rule {
	return []Rule{
		{"weir/bpf/...", []string{"weir/bpf/...", "weir/internal/mounts"}, "the kernel side is a leaf: it is tested and used without the rest"},
		{"weir/broker", nil, "it is vocabulary: everybody imports it"},
		{"weir/broker/...", []string{"weir/broker", "weir/internal/..."}, "what speaks to a bus knows no edge"},
		{"weir/ratelimit", nil, "pure arithmetic"},
		{"weir/ratelimit/fields", []string{"weir/ratelimit"}, "a codec without I/O"},
		{"weir/ratelimit/local", []string{"weir/ratelimit"}, "it keeps what the arithmetic needs, and nothing else"},
		{"weir/ratelimit/heavy", nil, "it counts by names, whatever they are of"},
		{"weir/ratelimit/redis", []string{"weir/ratelimit", "weir/ratelimit/local"}, "it falls back to what this process keeps"},
		{"weir/ratelimit/escalate", []string{"weir/ratelimit"}, "it decides by times and names, without a kernel"},
		{"weir/ratelimit/kernel", []string{"weir/ratelimit", "weir/bpf/..."}, "it joins the arithmetic to the maps, and nothing else"},
		{"weir/edge/http1", nil, "a codec without I/O"},
		{"weir/edge/ws", nil, "a codec without I/O"},
		{"weir/edge/proxyproto", nil, "a codec without I/O"},
		{"weir/edge/tlsconn", []string{"weir/internal/..."}, "TLS without an event loop: it is given sockets and bytes"},
		{"weir/edge/admit", []string{"weir/ratelimit"}, "it decides by addresses and times, without sockets, with the arithmetic that the kernel charges packets by"},
		{"weir/edge/handover", nil, "it carries messages and descriptors, whatever they are"},
		{"weir/edge/hub", []string{"weir/edge/ws", "weir/broker"}, "it is tested without sockets"},
		{"weir/gateway/upstream", []string{"weir/internal/..."}, "it says which server is next, without a parser or an event loop: both ways of the gateway ask it"},
		{"weir/edge/...", []string{"weir/edge/...", "weir/broker", "weir/ratelimit", "weir/token", "weir/internal/..."}, "an edge runs and is tested without any kernel program: cmd/weir joins the two"},
		{"weir/token", []string{"weir/broker"}, "it checks what it is given, without I/O"},
		{"weir/gateway/policy", []string{"weir/ratelimit", "weir/ratelimit/fields", "weir/ratelimit/local", "weir/token"}, "it decides about a request as any HTTP library has read it, without I/O"},
		{"weir/gateway/access", []string{"weir/gateway/policy", "weir/ratelimit", "weir/internal/..."}, "it is told of requests, whichever way they went"},
		{"weir/gateway/trace/...", []string{"weir/gateway/access", "weir/gateway/policy"}, "it is told of requests, whichever way they went"},
		{"weir/gateway/replay", []string{"weir/gateway/policy", "weir/ratelimit", "weir/ratelimit/local", "weir/ratelimit/heavy"}, "it decides as the gateway does, by what logs say, without I/O of its own"},
		{"weir/gateway/way", []string{"weir/gateway/access", "weir/gateway/policy", "weir/gateway/upstream"}, "what the ways share, and none of them"},
		{"weir/gateway/proxy", []string{"weir/gateway/access", "weir/gateway/policy", "weir/gateway/upstream", "weir/gateway/way", "weir/edge/http1", "weir/ratelimit", "weir/internal/..."}, "it is one way to an upstream; the other must not need it"},
		{"weir/gateway/loop", []string{"weir/gateway/access", "weir/gateway/policy", "weir/gateway/upstream", "weir/gateway/way", "weir/edge/http1", "weir/ratelimit", "weir/internal/..."}, "it is one way to an upstream; the other must not need it"},
		{"weir/gateway/rls", []string{"weir/gateway/policy", "weir/ratelimit", "weir/ratelimit/fields"}, "it asks the gateway's policies, and knows none of its ways"},
		{"weir/gateway", []string{"weir/gateway/...", "weir/ratelimit/...", "weir/token/...", "weir/edge/admit", "weir/edge/http1", "weir/edge/proxyproto", "weir/internal/...", "weir/ratelimit", "weir/token"}, "the facade of the gateway: it runs and is tested without a bus, an edge or a kernel program"},
		{"weir/token/jwks", []string{"weir/token"}, "it fetches keys, and does not check tokens"},
		{"weir/admin", []string{"weir/broker", "weir/token", "weir/internal/..."}, "what it shows comes through its own interfaces"},
		{"weir/tuning/genl/...", []string{"weir/tuning/genl"}, "it asks the kernel, whatever the family is about"},
		{"weir/tuning/...", []string{"weir/tuning/...", "weir/internal/..."}, "it looks at hosts, not at weir"},
		{"weir/dashboards/...", []string{"weir/dashboards"}, "texts for operators, which no program needs"},
		{"weir/internal/...", []string{"weir/internal/..."}, "the bottom of the house"},
		{"weir/bench/...", []string{"weir/..."}, "it measures all"},
		{"weir/cmd/weir/traceview", []string{"weir/internal/..."}, "it shows what it is given, and knows no tracer"},
		{"weir/cmd/...", []string{"weir/..."}, "it wires all"},
		{"weir/test/...", []string{"weir/..."}, "it tests all"},
	}
}

// HeavyLibraries are those with one home.
func HeavyLibraries() []Heavy {
	return []Heavy{
		// What weir is measured beside has to be on the same library, not on weir's use of it.
		{"github.com/panjf2000/gnet", []string{"weir/edge/loop", "weir/gateway/loop", "weir/bench/minimal"}},
		{"github.com/gobwas/ws", []string{"weir/edge/ws"}},
		{"github.com/nats-io", []string{"weir/broker/bus"}},
		{"github.com/golang-jwt", []string{"weir/token"}},
		{"github.com/redis/rueidis", []string{"weir/ratelimit/redis"}},
		{"google.golang.org/grpc", []string{"weir/gateway/rls"}},
		{"github.com/envoyproxy", []string{"weir/gateway/rls"}},
		{"go.opentelemetry.io", []string{"weir/gateway/trace/..."}},
		{"github.com/cilium/ebpf", []string{"weir/bpf/..."}},
		{"github.com/vishvananda", []string{"weir/bpf/netlab"}},
		{"github.com/goccy/go-yaml", []string{"weir/cmd/weir/config"}},
		{"github.com/alecthomas/kong", []string{"weir/cmd/weir"}},
		{"github.com/HdrHistogram", []string{"weir/bench/..."}},
		{"github.com/mdlayher", []string{"weir/tuning/genl/...", "weir/tuning/ethtool", "weir/tuning/netdev"}},
		{"charm.land/bubbletea", []string{"weir/cmd/weir/traceview"}},
		{"github.com/charmbracelet", []string{"weir/cmd/weir/traceview"}},
	}
}

// Check holds a graph, package to its imports, to the rules. Each problem says why.
func Check(graph map[string][]string, rules []Rule, heavy []Heavy) (problems []string) {
	for pkg, imports := range graph {
		i := slices.IndexFunc(rules, func(r Rule) bool { return below(pkg, r.Path) })
		if i < 0 {
			problems = append(problems, fmt.Sprintf("%s has no rule: add one to internal/deps", pkg))
			continue
		}
		for _, imported := range imports {
			if strings.HasPrefix(imported, "weir/") && imported != pkg && !belowAny(imported, rules[i].Ours) {
				problems = append(problems, fmt.Sprintf("%s imports %s: %s", pkg, imported, rules[i].Why))
			}
			for _, h := range heavy {
				if below(imported, h.Library+"/...") && !belowAny(pkg, h.Only) {
					problems = append(problems, fmt.Sprintf("%s imports %s: only %s may, so that it can be replaced there", pkg, imported, strings.Join(h.Only, ", ")))
				}
			}
		}
		if slices.Contains(imports, "weir/cmd/weir") || !strings.HasPrefix(pkg, "weir/") {
			problems = append(problems, fmt.Sprintf("%s: nobody imports the binary, and every package is below weir/", pkg))
		}
	}
	slices.Sort(problems)
	return problems
}

// below reports whether a package is the path, or for one that ends in /... below it.
func below(pkg, path string) bool {
	root, deep := strings.CutSuffix(path, "/...")
	return pkg == root || deep && strings.HasPrefix(pkg, root+"/")
}

func belowAny(pkg string, paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return below(pkg, p) })
}
