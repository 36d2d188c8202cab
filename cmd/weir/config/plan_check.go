package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"weir/gateway"
	"weir/gateway/policy"
	"weir/gateway/upstream"
	"weir/gateway/way"
	"weir/ratelimit"

	"github.com/goccy/go-yaml/ast"
)

// ref is a name of something that is to be in a section.
type ref struct {
	node               ast.Node
	key, section, name string
}

// refKey reads the name of what a section has.
func (d *planDecoder) refKey(key, section string, set func(string) error) func(ast.Node) error {
	return func(n ast.Node) error {
		return scalarKey(func(v string) error {
			d.refs = append(d.refs, ref{n, key, section, v})
			return set(v)
		})(n)
	}
}

// refsKey reads a list of such names.
func (d *planDecoder) refsKey(key, section string, read func(ast.Node) error) func(ast.Node) error {
	return func(n ast.Node) error {
		if list, ok := n.(*ast.SequenceNode); ok {
			for _, v := range list.Values {
				d.refs = append(d.refs, ref{v, key, section, v.GetToken().Value})
			}
		}
		return read(n)
	}
}

// share lists the policies that are kept in Redis.
func (d *planDecoder) share() {
	for i, p := range d.plan.Rules.Policies {
		name := p.Quota.Name
		if p.Shared {
			d.shared[i].Quota = p.Quota
			d.plan.SharedPolicies = append(d.plan.SharedPolicies, d.shared[i])
			continue
		}
		for _, key := range []string{"when_gone", "mode", "slice"} {
			if n := d.at["policies."+name+"."+key]; n != nil {
				d.fail(n, "policies."+name+"."+key, errors.New("is for policies that gateways share: set store: shared, or leave it out"))
			}
		}
	}
}

// check says what does not fit together: names first, and all else once those are right.
func (d *planDecoder) check() {
	for _, r := range d.refs {
		if known := d.names(r.section); !slices.Contains(known, r.name) && !d.failed(r.section) {
			hint := ": there are no " + r.section
			if len(known) > 0 {
				hint = suggestion(r.name, known)
			}
			d.fail(r.node, r.key, fmt.Errorf("is %q: want one of %s%s", r.name, r.section, hint))
		}
	}
	for i := range d.plan.Upstreams {
		d.checkUpstream(&d.plan.Upstreams[i])
	}
	for _, p := range d.plan.Rules.Policies {
		d.checkQuota("policies." + p.Quota.Name)
	}
	if len(d.errs) == 0 {
		d.compile()
	}
}

// checkQuota says whether a policy has what it is to limit, once.
func (d *planDecoder) checkQuota(key string) {
	var has []string
	for _, kind := range []string{"quota", "bytes", "concurrent"} {
		if d.at[key+"."+kind] != nil {
			has = append(has, kind)
		}
	}
	switch {
	case len(has) == 0 && !d.failed(key):
		d.place(key, "limits nothing: want quota: 100/s, bytes: 10MB/s or concurrent: 10")
	case len(has) > 1:
		d.fail(d.at[key], key, fmt.Errorf("has %s: keep one", strings.Join(has, " and ")))
	}
}

// failed reports whether something is known to be wrong with a key.
func (d *planDecoder) failed(key string) bool {
	return slices.ContainsFunc(d.errs, func(err error) bool {
		e, ok := errors.AsType[*Error](err)
		return ok && e.Key == key
	})
}

// checkUpstream puts what a pool and its conns say of their fields in terms of the file.
func (d *planDecoder) checkUpstream(u *gateway.Upstream) {
	key := "upstreams." + u.Pool.Name
	for _, err := range flatten(u.Pool.Validate()) {
		if e, ok := errors.AsType[*upstream.FieldError](err); ok {
			d.place(key, fmt.Sprintf("%s is %v: want %s", upstreamKey(e.Field), e.Value, e.Want))
			continue
		}
		d.place(key, err.Error())
	}
	for _, err := range flatten(u.How.Validate()) {
		text := strings.TrimPrefix(err.Error(), way.ErrBadUpstream.Error()+": ")
		d.place(key, strings.Replace(text, "idle_timeout", "idle_conn_timeout", 1))
	}
}

// upstreamKey is the key of a pool's field, such as health.interval of Health.Interval.
func upstreamKey(field string) string {
	if strings.HasPrefix(field, "Servers") {
		return "servers"
	}
	if key := map[string]string{
		"HashBalanceFactor": "hash_balance", "Health.ExpectMin": "health.expect", "Health.ExpectMax": "health.expect",
		"Ejection.ConsecutiveGateway": "ejection.gateway_errors", "Ejection.Consecutive5xx": "ejection.errors",
	}[field]; key != "" {
		return key
	}
	var b strings.Builder
	for i, r := range field {
		if unicode.IsUpper(r) && i > 0 && field[i-1] != '.' {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// compile has the rules compiled, to hear what is wrong with them.
func (d *planDecoder) compile() {
	rules := d.plan.Rules
	_, err := policy.New(rules, policy.Deps{Shared: anyShared{rules.Policies}, Flight: &policy.Flight{}})
	for _, err := range flatten(err) {
		text, key := err.Error(), ""
		for k := range d.at { // the longest: one name may begin as another
			if rest, ok := strings.CutPrefix(text, k); ok && len(k) > len(key) && (rest == "" || strings.ContainsAny(rest[:1], ": ")) {
				key = k
			}
		}
		text = strings.TrimLeft(strings.TrimPrefix(text, key), ": ")
		if name, ok := strings.CutPrefix(key, "policies."); ok {
			text = strings.TrimPrefix(text, fmt.Sprintf("quota %q: ", name))
		}
		d.place(key, text)
	}
}

// place says what is wrong with a key, or, if the text begins with one below it that is there, with that.
func (d *planDecoder) place(key, text string) {
	if below, rest, ok := strings.Cut(text, " "); ok && d.at[key+"."+below] != nil {
		key, text = key+"."+below, rest
	}
	if d.failed(key) {
		return
	}
	if n := d.at[key]; n != nil {
		d.fail(n, key, errors.New(text))
		return
	}
	d.errs = append(d.errs, &Error{Source: d.name, Key: key, Text: text})
}

// names are those that a section has.
func (d *planDecoder) names(section string) (all []string) {
	switch section {
	case "upstreams":
		for _, u := range d.plan.Upstreams {
			all = append(all, u.Pool.Name)
		}
	case "policies":
		for _, p := range d.plan.Rules.Policies {
			all = append(all, p.Quota.Name)
		}
	case "plans":
		for _, p := range d.plan.Rules.Plans {
			all = append(all, p.Name)
		}
	}
	return all
}

// anyShared stands for Redis: it knows every policy, and is asked nothing.
type anyShared struct{ policies []policy.Policy }

// Limit implements [policy.Shared].
func (a anyShared) Limit(name string) *ratelimit.Limit {
	for _, p := range a.policies {
		if p.Quota.Name == name {
			l, _ := p.Quota.Compile() //nolint:errcheck // it was compiled before
			return l
		}
	}
	return nil
}

// errNotAsked is what it says to a request.
var errNotAsked = errors.New("only a stand-in")

// Take implements [policy.Shared].
func (anyShared) Take(context.Context, []ratelimit.Check, []ratelimit.Decision) (bool, error) {
	return false, errNotAsked
}

// Charge implements [policy.Shared].
func (anyShared) Charge(context.Context, []ratelimit.Check) error { return errNotAsked }

var _ policy.Shared = anyShared{}

// maxFileBytes bounds the files that a plan names.
const maxFileBytes = 64 << 20

// readFile reads a file that a plan names: one that ends.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
		return nil, fmt.Errorf("is %q: want a file of at most %s", path, formatSize(maxFileBytes))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return text, nil
}
