package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"weir/gateway"
	"weir/gateway/policy"
	"weir/gateway/rls"
	"weir/gateway/upstream"
	"weir/gateway/way"
	"weir/ratelimit"
	"weir/ratelimit/redis"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Plan is what the gateway serves by, as a file has it.
type Plan struct {
	gateway.Plan
	// SharedPolicies are those that are kept in Redis.
	SharedPolicies []redis.Policy
}

// LoadPlan is [ParsePlan] of a file.
func LoadPlan(path string) (*Plan, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's routes: %w", err)
	}
	return ParsePlan(path, text)
}

// ParsePlan reads upstreams, policies, plans, consumers, routes and rls; name stands for the file in errors, which are all that is
// wrong, joined. What only fits together or not, such as a route's upstream, is for the gateway to say.
func ParsePlan(name string, text []byte) (*Plan, error) {
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, fmt.Errorf("%s: it is not YAML: %w", name, err)
	}
	d := &planDecoder{tree: tree{name: name}, plan: &Plan{}}
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			d.mapping("", doc.Body, d.top())
		}
	}
	d.share()
	if len(d.plan.Rules.Routes) == 0 && len(d.plan.RLS.Domains) == 0 && len(d.errs) == 0 {
		d.errs = append(d.errs, fmt.Errorf("%s: routes is missing: name at least one, such as routes: {all: {upstream: app}}", name))
	}
	return d.plan, errors.Join(d.errs...)
}

type planDecoder struct {
	tree
	plan   *Plan
	shared []redis.Policy // beside plan's policies
}

func (d *planDecoder) top() keys {
	r := &d.plan.Rules
	return keys{
		"upstreams":        d.named("upstreams.", "app: {servers: [127.0.0.1:8080]}", d.upstream),
		"policies":         d.named("policies.", "burst: {quota: 100/s}", d.policy),
		"plans":            d.plans,
		"consumers":        d.named("consumers.", "shop: {plan: free, keys: [...]}", d.consumer),
		"routes":           d.named("routes.", "all: {upstream: app}", d.route),
		"rls":              d.below("rls.", keys{"domains": d.domains, "tell": scalarKey(parsedOf(&d.plan.RLS.Tell, rls.ParseTell))}),
		"anonymous_plan":   scalarKey(textOf(&r.AnonymousPlan)),
		"default_plan":     scalarKey(textOf(&r.DefaultPlan)),
		"trusted_proxies":  prefixesOf(&r.TrustedProxies),
		"forwarded_header": scalarKey(headerOf(&r.ForwardedField)),
		"key_header":       scalarKey(headerOf(&r.KeyField)),
		"loose_paths":      scalarKey(boolOf(&r.LoosePaths)),
		"max_in_flight":    scalarKey(intOf(&r.MaxInFlight, 0, 10_000_000)),
	}
}

func (d *planDecoder) upstream(name string) keys {
	d.plan.Upstreams = append(d.plan.Upstreams, gateway.Upstream{Pool: upstream.Config{Name: name}})
	u := last(d.plan.Upstreams)
	how := &tlsKeys{}
	path := "upstreams." + name + "."
	setTLS := func(set func(string) error) func(ast.Node) error {
		read := scalarKey(set)
		return func(n ast.Node) (err error) {
			if err = read(n); err == nil {
				u.How.TLS, err = how.config()
			}
			return err
		}
	}
	h, e, r := &u.Pool.Health, &u.Pool.Ejection, &u.Pool.Retries
	return keys{
		"servers":           d.servers(&u.Pool),
		"balance":           scalarKey(parsedOf(&u.Pool.Balance, upstream.ParseBalance)),
		"hash_balance":      scalarKey(intOf(&u.Pool.HashBalanceFactor, 100, 10_000)),
		"max_conns":         scalarKey(intOf(&u.Pool.MaxConns, 0, 1<<20)),
		"slow_start":        scalarKey(durationOf(&u.Pool.SlowStart)),
		"panic_percent":     scalarKey(intOf(&u.Pool.PanicPercent, 1, 100)),
		"resolve":           scalarKey(durationOf(&u.Pool.Resolve)),
		"protocol":          scalarKey(parsedOf(&u.How.Protocol, way.ParseProtocol)),
		"tls":               setTLS(boolOf(&how.on)),
		"tls_server_name":   setTLS(textOf(&how.serverName)),
		"tls_ca":            setTLS(textOf(&how.ca)),
		"connect_timeout":   scalarKey(durationOf(&u.How.ConnectTimeout)),
		"answer_timeout":    scalarKey(durationOf(&u.How.AnswerTimeout)),
		"idle_conns":        scalarKey(intOf(&u.How.IdleConns, 0, 65536)),
		"idle_conn_timeout": scalarKey(durationOf(&u.How.IdleTimeout)),
		"health": d.below(path+"health.", keys{
			"path": scalarKey(textOf(&h.Path)), "host": scalarKey(textOf(&h.Host)),
			"interval": scalarKey(durationOf(&h.Interval)), "timeout": scalarKey(durationOf(&h.Timeout)),
			"rise": scalarKey(intOf(&h.Rise, 1, 100)), "fall": scalarKey(intOf(&h.Fall, 1, 100)),
			"expect": scalarKey(statusesOf(&h.ExpectMin, &h.ExpectMax)),
		}),
		"ejection": d.below(path+"ejection.", keys{
			"gateway_errors": scalarKey(intOf(&e.ConsecutiveGateway, -1, 10_000)), "errors": scalarKey(intOf(&e.Consecutive5xx, 0, 10_000)),
			"interval": scalarKey(durationOf(&e.Interval)), "base": scalarKey(durationOf(&e.Base)), "max": scalarKey(durationOf(&e.Max)),
			"max_percent": scalarKey(intOf(&e.MaxPercent, 1, 100)), "stdev_factor": scalarKey(intOf(&e.StdevFactor, -1, 10_000)),
		}),
		"retries": d.below(path+"retries.", keys{
			"attempts": scalarKey(intOf(&r.Attempts, 1, 10)), "budget_percent": scalarKey(intOf(&r.BudgetPercent, -1, 1000)),
			"min_per_second": scalarKey(intOf(&r.MinPerSecond, -1, 1<<20)), "window": scalarKey(durationOf(&r.Window)),
		}),
	}
}

// below reads a mapping in a mapping.
func (d *planDecoder) below(path string, known keys) func(ast.Node) error {
	return func(n ast.Node) error {
		d.mapping(path, n, known)
		return nil
	}
}

// servers reads "host:port" or "host:port weight".
func (d *planDecoder) servers(p *upstream.Config) func(ast.Node) error {
	return listKey(func(v string) error {
		address, weight, weighted := strings.Cut(v, " ")
		s := upstream.ServerConfig{Address: address}
		if weighted {
			n, err := strconv.Atoi(strings.TrimSpace(weight))
			if err != nil || n < 1 {
				return fmt.Errorf("has %q: want host:port, or host:port and a weight, such as 10.0.0.5:8080 2", v)
			}
			s.Weight = n
		}
		p.Servers = append(p.Servers, s)
		return nil
	})
}

// tlsKeys are how servers are spoken to over TLS.
type tlsKeys struct {
	on             bool
	serverName, ca string
}

func (k *tlsKeys) config() (*tls.Config, error) {
	if !k.on && k.serverName == "" && k.ca == "" {
		return nil, nil //nolint:nilnil // without TLS
	}
	c := &tls.Config{ServerName: k.serverName, MinVersion: tls.VersionTLS12}
	if k.ca != "" {
		text, err := os.ReadFile(k.ca)
		if err != nil {
			return nil, fmt.Errorf("cannot be read: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("is %q: want a file of certificates, PEM", k.ca)
		}
	}
	return c, nil
}

func (d *planDecoder) policy(name string) keys {
	d.plan.Rules.Policies = append(d.plan.Rules.Policies, policy.Policy{Quota: ratelimit.Quota{Name: name}})
	d.shared = append(d.shared, redis.Policy{})
	p, shared := last(d.plan.Rules.Policies), last(d.shared)
	q := &p.Quota
	return keys{
		"quota": scalarKey(parsedOf(&q.Rate, ratelimit.ParseRate)),
		"bytes": scalarKey(func(v string) error {
			q.Unit = ratelimit.UnitContentBytes
			return parsedOf(&q.Bytes, ratelimit.ParseByteRate)(v)
		}),
		"concurrent": scalarKey(func(v string) error {
			q.Unit = ratelimit.UnitConcurrentRequests
			return count(&q.Burst).set(v)
		}),
		"burst":       scalarKey(count(&q.Burst).set),
		"burst_bytes": scalarKey(bytes(&q.Burst).set),
		"algorithm":   scalarKey(parsedOf(&q.Algorithm, ratelimit.ParseAlgorithm)),
		"missing":     scalarKey(parsedOf(&p.Missing, policy.ParseMissing)),
		"shadow":      scalarKey(boolOf(&p.Shadow)),
		"store": scalarKey(func(v string) error {
			if v != "local" && v != "shared" {
				return fmt.Errorf("is %q: want local or shared", v)
			}
			p.Shared = v == "shared"
			return nil
		}),
		"when_gone": scalarKey(parsedOf(&shared.WhenGone, redis.ParseFallback)),
		"key": listKey(func(v string) error {
			part, err := policy.ParseKeyPart(v)
			p.Key = append(p.Key, part)
			return err
		}),
	}
}

// share lists the policies that are kept in Redis.
func (d *planDecoder) share() {
	for i, p := range d.plan.Rules.Policies {
		if p.Shared {
			d.shared[i].Quota = p.Quota
			d.plan.SharedPolicies = append(d.plan.SharedPolicies, d.shared[i])
		}
	}
}

// last is the one that was appended, until another one is.
func last[T any](s []T) *T { return &s[len(s)-1] }

func (d *planDecoder) plans(n ast.Node) error {
	pairs, ok := pairsOf(n)
	if !ok {
		return errors.New("is not a mapping: want free: [burst, daily]")
	}
	for _, pair := range pairs {
		policies, err := valuesOf(pair.Value, true)
		if err != nil {
			d.fail(pair.Value, "plans."+pair.Key.GetToken().Value, err)
		}
		d.plan.Rules.Plans = append(d.plan.Rules.Plans, policy.Plan{Name: pair.Key.GetToken().Value, Policies: policies})
	}
	return nil
}

func (d *planDecoder) consumer(name string) keys {
	d.plan.Rules.Consumers = append(d.plan.Rules.Consumers, policy.Consumer{Name: name})
	c := last(d.plan.Rules.Consumers)
	return keys{
		"plan": scalarKey(textOf(&c.Plan)),
		"keys": listKey(func(v string) error {
			if len(v) < minKeyBytes {
				return fmt.Errorf("has a key of %d characters: want %d or more, such as openssl rand -hex 24 makes", len(v), minKeyBytes)
			}
			c.Keys = append(c.Keys, policy.SumKey(v))
			return nil
		}),
		"key_sums": listKey(func(v string) error {
			sum, err := hex.DecodeString(v)
			if err != nil || len(sum) != 32 {
				return errors.New("has no SHA-256 sum: want 64 hexadecimal digits, such as printf %s KEY | sha256sum makes")
			}
			c.Keys = append(c.Keys, [32]byte(sum))
			return nil
		}),
		"key_files": listKey(func(v string) error {
			text, err := os.ReadFile(v)
			if err != nil {
				return fmt.Errorf("cannot be read: %w", err)
			}
			for line := range strings.Lines(string(text)) {
				if key := strings.TrimSpace(line); key != "" {
					c.Keys = append(c.Keys, policy.SumKey(key))
				}
			}
			return nil
		}),
	}
}

// minKeyBytes is how long an API key has to be.
const minKeyBytes = 16

func (d *planDecoder) route(name string) keys {
	d.plan.Rules.Routes = append(d.plan.Rules.Routes, policy.Route{Name: name})
	r := last(d.plan.Rules.Routes)
	return keys{
		"hosts":            textsOf(&r.Hosts),
		"methods":          textsOf(&r.Methods),
		"policies":         textsOf(&r.Policies),
		"path":             scalarKey(textOf(&r.Path)),
		"upstream":         scalarKey(textOf(&r.Upstream)),
		"cost":             scalarKey(count(&r.Cost).set),
		"auth":             scalarKey(parsedOf(&r.Auth, policy.ParseAuth)),
		"priority":         scalarKey(parsedOf(&r.Priority, policy.ParsePriority)),
		"tell":             scalarKey(parsedOf(&r.Tell, policy.ParseTell)),
		"hide_credentials": scalarKey(boolOf(&r.HideCredentials)),
		"keep_host":        scalarKey(boolOf(&r.KeepHost)),
		"strip_path":       scalarKey(boolOf(&r.StripPath)),
		"timeout":          scalarKey(durationOf(&r.Timeout)),
		"idle_timeout":     scalarKey(durationOf(&r.IdleTimeout)),
		"max_body": scalarKey(func(v string) (err error) {
			if v == "none" {
				r.MaxBody = -1
				return nil
			}
			r.MaxBody, err = parseSize(v)
			return err
		}),
	}
}
