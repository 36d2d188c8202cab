package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"weir/gateway"
	"weir/gateway/policy"
	"weir/gateway/rls"
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
// wrong, joined.
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
	d.check()
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b error) int { return lineOf(a) - lineOf(b) })
		return nil, errors.Join(d.errs...)
	}
	return d.plan, nil
}

type planDecoder struct {
	tree
	plan   *Plan
	shared []redis.Policy // beside plan's policies
	refs   []ref
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
		"anonymous_plan":   d.refKey("anonymous_plan", "plans", textOf(&r.AnonymousPlan)),
		"default_plan":     d.refKey("default_plan", "plans", textOf(&r.DefaultPlan)),
		"trusted_proxies":  prefixesOf(&r.TrustedProxies),
		"forwarded_header": scalarKey(headerOf(&r.ForwardedField)),
		"key_header":       scalarKey(headerOf(&r.KeyField)),
		"loose_paths":      scalarKey(boolOf(&r.LoosePaths)),
		"max_in_flight":    scalarKey(intOf(&r.MaxInFlight, 0, 10_000_000)),
	}
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
		"mode":      scalarKey(parsedOf(&shared.Mode, redis.ParseMode)),
		"slice":     scalarKey(count(&shared.Slice).set),
		"key": listKey(func(v string) error {
			part, err := policy.ParseKeyPart(v)
			p.Key = append(p.Key, part)
			return err
		}),
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
		name := pair.Key.GetToken().Value
		key := "plans." + name
		if d.at[key] != nil {
			d.fail(pair.Key, key, errTwice)
			continue
		}
		d.note(key, pair.Key)
		policies := []string{}
		if err := d.refsKey(key, "policies", textsOf(&policies))(pair.Value); err != nil {
			d.fail(pair.Value, key, err)
		}
		d.plan.Rules.Plans = append(d.plan.Rules.Plans, policy.Plan{Name: name, Policies: policies})
	}
	return nil
}

func (d *planDecoder) consumer(name string) keys {
	d.plan.Rules.Consumers = append(d.plan.Rules.Consumers, policy.Consumer{Name: name})
	c := last(d.plan.Rules.Consumers)
	return keys{
		"plan": d.refKey("consumers."+name+".plan", "plans", textOf(&c.Plan)),
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
			text, err := readFile(v)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				key := strings.TrimSpace(line)
				if key == "" {
					continue
				}
				if len(key) < minKeyBytes {
					return fmt.Errorf("has %q, with a key of %d characters: want %d or more, such as openssl rand -hex 24 makes", v, len(key), minKeyBytes)
				}
				c.Keys = append(c.Keys, policy.SumKey(key))
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
		"policies":         d.refsKey("routes."+name+".policies", "policies", textsOf(&r.Policies)),
		"path":             scalarKey(textOf(&r.Path)),
		"upstream":         d.refKey("routes."+name+".upstream", "upstreams", textOf(&r.Upstream)),
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
