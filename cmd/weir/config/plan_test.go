package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"weir/gateway"
	"weir/gateway/policy"
	"weir/gateway/upstream"
	"weir/gateway/way"
	"weir/ratelimit"
	"weir/ratelimit/redis"
)

// least is the rest of a file of which only a part is looked at.
const least = "upstreams: {app: {servers: [127.0.0.1:80]}}\nroutes: {all: {upstream: app}}\n"

func TestAFileIsReadIntoItsPlan(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keyFile, []byte("0123456789abcdef\n\nfedcba9876543210\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := func() *Plan {
		return &Plan{Plan: gateway.Plan{
			Upstreams: []gateway.Upstream{{Pool: upstream.Config{Name: "app", Servers: []upstream.ServerConfig{{Address: "127.0.0.1:80"}}}}},
			Rules:     policy.Config{Routes: []policy.Route{{Name: "all", Upstream: "app"}}},
		}}
	}
	for name, c := range map[string]struct {
		text string
		want func(p *Plan)
	}{
		"the least":     {least, func(*Plan) {}},
		"two documents": {strings.Replace(least, "\n", "\n---\n", 1), func(*Plan) {}},
		"an upstream": {`upstreams:
  app: {servers: ["127.0.0.1:80 3"], balance: hash, hash_balance: 150, max_conns: 9, slow_start: 1s, panic_percent: 50, resolve: 10s, protocol: http/2, connect_timeout: 1s,
    answer_timeout: 2s, idle_conns: 7, idle_conn_timeout: 3s, health: {path: /h, host: a, interval: 5s, timeout: 1s, rise: 2, fall: 3, expect: 200-299},
    ejection: {gateway_errors: 4, errors: 5, interval: 6s, base: 7s, max: 8s, max_percent: 9, stdev_factor: 1900}, retries: {attempts: 4, budget_percent: 10, min_per_second: 5, window: 2s}}
routes: {all: {upstream: app}}`, func(p *Plan) {
			p.Upstreams[0] = gateway.Upstream{Pool: upstream.Config{
				Name: "app", Servers: []upstream.ServerConfig{{Address: "127.0.0.1:80", Weight: 3}}, Balance: upstream.Hash, HashBalanceFactor: 150, MaxConns: 9,
				SlowStart: time.Second, PanicPercent: 50, Resolve: 10 * time.Second,
				Health:   upstream.Health{Path: "/h", Host: "a", Interval: 5 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3, ExpectMin: 200, ExpectMax: 299},
				Ejection: upstream.Ejection{ConsecutiveGateway: 4, Consecutive5xx: 5, Interval: 6 * time.Second, Base: 7 * time.Second, Max: 8 * time.Second, MaxPercent: 9, StdevFactor: 1900},
				Retries:  upstream.Retries{Attempts: 4, BudgetPercent: 10, MinPerSecond: 5, Window: 2 * time.Second},
			}, How: way.UpstreamConfig{Protocol: way.HTTP2, ConnectTimeout: time.Second, AnswerTimeout: 2 * time.Second, IdleConns: 7, IdleTimeout: 3 * time.Second}}
		}},
		"policies": {least + `policies:
  a: {quota: 100/s, algorithm: sliding-counter, key: [address/24/48, "header:x-tenant", "claim:t", route], missing: skip, shadow: true}
  b: {bytes: 1MB/s, burst_bytes: 2MiB}
  c: {concurrent: 5, key: [global]}
  d: {quota: 1000/min, store: shared, when_gone: closed, mode: lease, slice: 50}
  e: {quota: 1/s, store: shared}`, func(p *Plan) {
			d := ratelimit.Quota{Name: "d", Rate: ratelimit.Rate{Count: 1000, Per: time.Minute}}
			e := ratelimit.Quota{Name: "e", Rate: ratelimit.Rate{Count: 1, Per: time.Second}}
			p.Rules.Policies = []policy.Policy{
				{
					Quota: ratelimit.Quota{Name: "a", Rate: ratelimit.Rate{Count: 100, Per: time.Second}, Algorithm: ratelimit.AlgorithmCounter}, Missing: policy.MissingSkip, Shadow: true,
					Key: []policy.KeyPart{{Kind: policy.KeyAddress, IPv4Bits: 24, IPv6Bits: 48}, {Kind: policy.KeyField, Name: "X-Tenant"}, {Kind: policy.KeyClaim, Name: "t"}, {Kind: policy.KeyRoute}},
				},
				{Quota: ratelimit.Quota{Name: "b", Unit: ratelimit.UnitContentBytes, Bytes: ratelimit.ByteRate{Bytes: 1_000_000, Per: time.Second}, Burst: 2 << 20}},
				{Quota: ratelimit.Quota{Name: "c", Unit: ratelimit.UnitConcurrentRequests, Burst: 5}, Key: []policy.KeyPart{{Kind: policy.KeyGlobal}}},
				{Quota: d, Shared: true},
				{Quota: e, Shared: true},
			}
			p.SharedPolicies = []redis.Policy{{Quota: d, WhenGone: redis.FallbackClosed, Mode: redis.ModeLease, Slice: 50}, {Quota: e}}
		}},
		"clients": {least + `policies: {q: {quota: 1/s}}
plans: {free: [q], paid: []}
consumers: {shop: {plan: paid, keys: [0123456789abcdef], key_files: [` + keyFile + `]}, bot: {key_sums: [` + strings.Repeat("0a", 32) + `]}}
anonymous_plan: free
default_plan: paid
trusted_proxies: [10.0.0.0/8, 192.0.2.1]
forwarded_header: x-client
key_header: x-key
loose_paths: true
max_in_flight: 1_000`, func(p *Plan) {
			r := &p.Rules
			r.Policies = []policy.Policy{{Quota: ratelimit.Quota{Name: "q", Rate: ratelimit.Rate{Count: 1, Per: time.Second}}}}
			r.Plans = []policy.Plan{{Name: "free", Policies: []string{"q"}}, {Name: "paid", Policies: []string{}}}
			var sum [32]byte
			for i := range sum {
				sum[i] = 0x0a
			}
			r.Consumers = []policy.Consumer{
				{Name: "shop", Plan: "paid", Keys: [][32]byte{policy.SumKey("0123456789abcdef"), policy.SumKey("0123456789abcdef"), policy.SumKey("fedcba9876543210")}},
				{Name: "bot", Keys: [][32]byte{sum}},
			}
			r.Consumers[0].Keys = r.Consumers[0].Keys[:3]
			r.AnonymousPlan, r.DefaultPlan, r.ForwardedField, r.KeyField, r.LoosePaths, r.MaxInFlight = "free", "paid", "X-Client", "X-Key", true, 1000
			r.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}
		}},
		"a route": {`upstreams: {app: {servers: [127.0.0.1:80]}}
policies: {q: {quota: 1/s}}
routes: {all: {hosts: [a.example.com], path: =/a, methods: [GET], upstream: app, policies: [q], cost: 5, auth: optional, priority: low, tell: both, hide_credentials: true, keep_host: true,
  strip_path: true, max_body: none, timeout: 1s, idle_timeout: 2s}}`, func(p *Plan) {
			p.Rules.Policies = []policy.Policy{{Quota: ratelimit.Quota{Name: "q", Rate: ratelimit.Rate{Count: 1, Per: time.Second}}}}
			p.Rules.Routes[0] = policy.Route{
				Name: "all", Hosts: []string{"a.example.com"}, Path: "=/a", Methods: []string{"GET"}, Upstream: "app", Policies: []string{"q"}, Cost: 5, Auth: policy.AuthOptional,
				Priority: policy.PriorityLow, Tell: policy.TellBoth, HideCredentials: true, KeepHost: true, StripPath: true, MaxBody: -1, Timeout: time.Second, IdleTimeout: 2 * time.Second,
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want := plain()
			c.want(want)
			got, err := ParsePlan("f", []byte(c.text))
			if name == "clients" { // a key is there twice, which is told of
				if err == nil || !strings.Contains(err.Error(), "same API key") {
					t.Fatal(err)
				}
				got, err = ParsePlan("f", []byte(strings.Replace(c.text, "keys: [0123456789abcdef], ", "", 1)))
				want.Rules.Consumers[0].Keys = want.Rules.Consumers[0].Keys[1:]
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestEachMistakeOfAFileIsToldWithItsPlaceAndRemedy(t *testing.T) {
	const app = "upstreams: {app: {servers: [127.0.0.1:80]}}\n" // one line; the next is 2
	const all = "routes: {all: {upstream: app}}\n"
	for text, want := range map[string]string{
		"a: [":                    "f: it is not YAML",
		"":                        "f: routes is missing: name at least one, such as routes: {all: {upstream: app}}",
		"- a":                     "f:1: is not a mapping: want key: value",
		app + all + "polices: {}": "f:3: polices is not a key: did you mean policies?",
		app + all + all:           "f:3: routes is set already in line 2: keep one",
		app + "routes: {\n all: {upstream: app},\n all: {upstream: app}}":                         "f:4: routes.all is there twice: keep one",
		app + "routes: {all: {upstream: app, pth: /a}}":                                           "f:2: routes.all.pth is not a key: did you mean path?",
		app + "routes: {all: {upstream: ap}}":                                                     `f:2: routes.all.upstream is "ap": want one of upstreams: did you mean app?`,
		"routes: {all: {upstream: app}}":                                                          `f:1: routes.all.upstream is "app": want one of upstreams: there are no upstreams`,
		app + "routes: {all: {}}":                                                                 `f:2: routes.all upstream is "": want the name of an upstream`,
		app + "routes: {all: {upstream: app, timeout: 10}}":                                       `f:2: routes.all.timeout is "10": want a number with a unit (ms, s, m, h), such as 10s`,
		app + "routes: {all: {upstream: app,\n timeout: 2h}}":                                     "f:3: routes.all.timeout is 2h0m0s: want 1ms to 1h",
		app + "routes: {all: {upstream: app, max_body: 64 apples}}":                               `f:2: routes.all.max_body is "64 apples": want a size in B, KiB, MiB or GiB, such as 64KiB`,
		app + "routes: {all: {upstream: app, auth: some}}":                                        `f:2: routes.all.auth is "some": want default, none, optional, required`,
		app + "routes: {all: {upstream: app, path: a}}":                                           `f:2: routes.all.path is "a": want /path, or =/path for that alone`,
		app + "routes: {a: {upstream: app},\n b: {upstream: app}}":                                "f:3: routes.b route a has the same host, path and method: keep one",
		app + "routes: {all: {upstream: app, cost: 2000000}}":                                     "f:2: routes.all.cost is 2000000: want 1 to 1000000",
		app + "policies: {q: {quota: 1/s}}\nroutes: {all: {upstream: app,\n policies: [qq]}}":     `f:4: routes.all.policies is "qq": want one of policies: did you mean q?`,
		app + "routes: {all: {upstream: app, policies: q}}":                                       "f:2: routes.all.policies is not a list: want [a, b]",
		app + all + "policies: {q: {quota: 100}}":                                                 `f:3: policies.q.quota bad rate "100": want a count per s, min, h or d, such as 5000/s, 100/min or 1/10s`,
		app + all + "policies: {q: {quota: 100/fortnight}}":                                       `f:3: policies.q.quota bad rate "100/fortnight": want a count per s, min, h or d, such as 5000/s, 100/min or 1/10s`,
		app + all + "policies:\n q:\n  burst: 5":                                                  "f:4: policies.q limits nothing: want quota: 100/s, bytes: 10MB/s or concurrent: 10",
		app + all + "policies: {q: {quota: 1/s, bytes: 1MB/s}}":                                   "f:3: policies.q has quota and bytes: keep one",
		app + all + "policies: {q: {quota: 1/s, algorithm: sliding-counter, burst: 5}}":           "f:3: policies.q bad quota: sliding-counter has no burst of its own, and does not count concurrent requests: use gcra",
		app + all + "policies: {q: {quota: 1/s, key: [addr]}}":                                    `f:3: policies.q.key is "addr": want address, address/24/56, identity, route, global, header:NAME or claim:NAME`,
		app + all + "policies: {q: {quota: 1/s, key: [address/33]}}":                              `f:3: policies.q.key is "address/33": want address, or address/24/56: bits of IPv4 (1 to 32) and of IPv6 (1 to 128)`,
		app + all + `policies: {q: {quota: 1/s, key: ["header:a b"]}}`:                            `f:3: policies.q.key is "header:a b": want header:NAME, such as header:User-Agent`,
		app + all + "policies: {q: {quota: 1/s, missing: maybe}}":                                 `f:3: policies.q.missing is "maybe": want address, skip, refuse`,
		app + all + "policies: {q: {quota: 1/s, store: redis}}":                                   `f:3: policies.q.store is "redis": want local or shared`,
		app + all + "policies: {q: {quota: 1/s, slice: 5}}":                                       "f:3: policies.q.slice is for policies that gateways share: set store: shared, or leave it out",
		app + all + "policies: {q: {quota: 1/s, store: shared, mode: x}}":                         `f:3: policies.q.mode unknown mode "x": want strict or lease`,
		app + all + "policies: {q: {quota: 1/s, store: shared, when_gone: x}}":                    `f:3: policies.q.when_gone unknown fallback "x": want open, closed or local-share`,
		app + all + "policies: {q: {quota: 1/s, store: shared, slice: 0}}":                        `f:3: policies.q.slice is "0": want a whole number of 1 or more`,
		app + all + "plans: {free: [day]}":                                                        `f:3: plans.free is "day": want one of policies: there are no policies`,
		app + all + "plans: {free: day}":                                                          "f:3: plans.free is not a list: want [a, b]",
		app + all + "plans: {free: [],\n free: []}":                                               "f:4: plans.free is there twice: keep one",
		app + all + "plans: 5":                                                                    "f:3: plans is not a mapping: want free: [burst, daily]",
		app + all + "plans: {free: []}\nanonymous_plan: fre":                                      `f:4: anonymous_plan is "fre": want one of plans: did you mean free?`,
		app + all + "consumers: {a: {plan: x}}":                                                   `f:3: consumers.a.plan is "x": want one of plans: there are no plans`,
		app + all + "consumers: {a: {keys: [hunter2hunter2]}}":                                    "f:3: consumers.a.keys has a key of 14 characters: want 16 or more, such as openssl rand -hex 24 makes",
		app + all + "consumers: {a: {key_sums: [abc]}}":                                           "f:3: consumers.a.key_sums has no SHA-256 sum: want 64 hexadecimal digits, such as printf %s KEY | sha256sum makes",
		app + all + "consumers: {a: {key_files: [/dev/null]}}":                                    `f:3: consumers.a.key_files is "/dev/null": want a file of at most 64MiB`,
		app + all + "consumers: {a: {key_files: [/nothing/there]}}":                               "f:3: consumers.a.key_files cannot be read: stat /nothing/there: no such file or directory",
		app + all + "consumers: {a: {keys: [0123456789abcdef]},\n b: {keys: [0123456789abcdef]}}": "f:4: consumers.b has the same API key as a: give each its own",
		app + all + "trusted_proxies: [lb1]":                                                      `f:3: trusted_proxies is "lb1": want a prefix such as 192.0.2.0/24 or 2001:db8::/32`,
		app + all + "key_header: a b":                                                             `f:3: key_header is "a b": want the name of a header, such as X-Api-Key`,
		app + all + "loose_paths: yes please":                                                     `f:3: loose_paths is "yes please": want true or false`,
		app + all + "max_in_flight: -1":                                                           `f:3: max_in_flight is "-1": want a whole number, 0 to 10000000`,
		"upstreams: 5\n" + all:                                                                    "f:1: upstreams is not a mapping: want app: {servers: [127.0.0.1:8080]}",
		"upstreams: {app: {servers: [a b]}}\n" + all:                                              `f:1: upstreams.app.servers has "a b": want host:port, or host:port and a weight, such as 10.0.0.5:8080 2`,
		"upstreams: {app: {servers: [nonsense]}}\n" + all:                                         `f:1: upstreams.app.servers is "nonsense": want host:port, such as 192.0.2.1:8080, [2001:db8::1]:8080 or api.internal:80`,
		"upstreams: {app: {servers: [127.0.0.1:80], balance: best}}\n" + all:                      `f:1: upstreams.app.balance unknown balance "best": want least-request, round-robin or hash`,
		"upstreams: {app: {servers: [127.0.0.1:80],\n health: {path: /, interval: 1ms}}}\n" + all: "f:2: upstreams.app.health.interval is 1ms: want 10ms to 1h, or 0 for no checks",
		"upstreams: {app: {servers: [127.0.0.1:80],\n idle_conn_timeout: 1ms}}\n" + all:           "f:2: upstreams.app.idle_conn_timeout is 1ms: want 1s to 1h0m0s",
		"upstreams: {app: {servers: [127.0.0.1:80], health: {expect: 99}}}\n" + all:               `f:1: upstreams.app.health.expect is "99": want a status, or 200-399`,
		"upstreams: {app: {servers: [127.0.0.1:80], health: {pat: /}}}\n" + all:                   "f:1: upstreams.app.health.pat is not a key: did you mean path?",
		"upstreams: {app: {servers: [127.0.0.1:80], tls_ca: /nothing}}\n" + all:                   "f:1: upstreams.app.tls_ca cannot be read: stat /nothing: no such file or directory",
		"upstreams: {app: {servers: [127.0.0.1:80], protocol: http/3}}\n" + all:                   `f:1: upstreams.app.protocol is "http/3": want http/1.1 or http/2`,
	} {
		p, err := ParsePlan("f", []byte(text))
		if err == nil || p != nil || err.Error() != want && (want != "f: it is not YAML" || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "0123456789abcdef")) {
			t.Errorf("it tells a key: %v", err)
		}
	}
}

func TestAllMistakesOfAFileAreToldAtOnceInTheirOrder(t *testing.T) {
	_, err := ParsePlan("f", []byte("routes:\n  all: {upstream: ap, timeout: 5}\nupstreams:\n  app: {servers: [x]}\nplans: {a: [b]}\n"))
	want := []string{"f:2: routes.all.", "f:2: routes.all.", "f:4: upstreams.app.servers", "f:5: plans.a"}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatal(err)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("%s, want %s", lines[i], w)
		}
	}
}

func TestTheExampleOfTheDocumentationIsRight(t *testing.T) {
	p, err := LoadPlan("../../../docs/routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Upstreams) != 2 || len(p.Rules.Routes) != 2 || len(p.Rules.Policies) != 4 {
		t.Errorf("%+v", p)
	}
	if _, err := LoadPlan("nothing"); err == nil || !strings.HasPrefix(err.Error(), "read the gateway's routes: open nothing") {
		t.Errorf("%v", err)
	}
}

func FuzzParsePlan(f *testing.F) {
	example, err := os.ReadFile("../../../docs/routes.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte(least + "consumers: {a: {keys: [x], key_sums: [y], key_files: [z]}}\nplans: {a: [b, {c: d}]}\n"))
	f.Add([]byte("routes: &a {b: *a}\n? x\n: !!binary y"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePlan("f.yaml", text)
		if (p == nil) == (err == nil) {
			t.Fatal("neither a plan nor an error")
		}
		for _, err := range flatten(err) {
			if !strings.HasPrefix(err.Error(), "f.yaml:") {
				t.Fatalf("it does not name the file: %v", err)
			}
		}
	})
}
