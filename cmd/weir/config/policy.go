package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"weir/bpf/xdp"
	"weir/ratelimit/kernel"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// LoadPolicy is [ParsePolicy] of a file.
func LoadPolicy(path string) (kernel.Policy, *xdp.Mode, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return kernel.Policy{}, nil, fmt.Errorf("read the policy: %w", err)
	}
	return ParsePolicy(path, text)
}

// ParsePolicy reads a policy of quotas, as [PrintPolicy] writes it; name stands for the file in
// errors, which are all that is wrong, joined. mode is nil if the policy leaves it.
func ParsePolicy(name string, text []byte) (p kernel.Policy, mode *xdp.Mode, err error) {
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return p, nil, fmt.Errorf("%s: it is not YAML: %w", name, err)
	}
	d := &policyDecoder{tree: tree{name: name}, listed: map[netip.Prefix]bool{}}
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			d.mapping("", doc.Body, d.top())
		}
	}
	if len(d.errs) == 0 {
		if _, err := kernel.Compile(d.policy); err != nil {
			for _, err := range flatten(err) {
				d.errs = append(d.errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return d.policy, d.mode, errors.Join(d.errs...)
}

// policyDecoder reads a policy's tree, and collects what is wrong with it.
type policyDecoder struct {
	tree
	policy kernel.Policy
	mode   *xdp.Mode
	listed map[netip.Prefix]bool
}

func (d *policyDecoder) top() keys {
	return keys{
		"mode": scalarKey(func(v string) error {
			m, err := xdp.ParseMode(v)
			if err != nil {
				return fmt.Errorf("is %q: want off, shadow, enforce or under-attack", v)
			}
			d.mode = &m
			return nil
		}),
		"classes": d.classes,
		"prefixes": func(node ast.Node) error {
			pairs, ok := pairsOf(node)
			if !ok {
				return errors.New("is not a mapping: want 192.0.2.0/24: class")
			}
			for _, pair := range pairs {
				d.list(pair.Key, pair.Key.GetToken().Value, kernel.Entry{Class: pair.Value.GetToken().Value})
			}
			return nil
		},
		"allow": d.lists(kernel.Entry{Allow: true}),
		"deny":  d.lists(kernel.Entry{Deny: true}),
		"pass": listKey(func(v string) error {
			r, err := xdp.ParseReason(v)
			if err == nil && !r.Parser() {
				err = fmt.Errorf("%s is no reason of the parser: such as fragment, vlan_depth or ext_depth", v)
			}
			d.policy.Pass = append(d.policy.Pass, r)
			return err
		}),
	}
}

func (d *policyDecoder) lists(as kernel.Entry) func(ast.Node) error {
	return func(node ast.Node) error {
		values, err := valuesOf(node, true)
		for _, v := range values {
			d.list(node, v, as)
		}
		return err
	}
}

// list adds an entry; that a prefix is there twice is the policy's to say.
func (d *policyDecoder) list(at ast.Node, prefix string, e kernel.Entry) {
	p, err := ParsePrefix(prefix)
	if err != nil {
		d.fail(at, "", fmt.Errorf("%s %w", prefix, err))
		return
	}
	if d.listed[p] {
		d.fail(at, p.String(), errors.New("is listed twice: keep one"))
		return
	}
	d.listed[p], e.Prefix = true, p
	d.policy.Entries = append(d.policy.Entries, e)
}

func (d *policyDecoder) classes(node ast.Node) error {
	pairs, ok := pairsOf(node)
	if !ok {
		return errors.New("is not a mapping: want default: {packets: 5000/s}")
	}
	for _, pair := range pairs {
		c := kernel.Class{Name: pair.Key.GetToken().Value}
		path := "classes." + c.Name + "."
		known := keys{}
		for part, fields := range classFields(&c) {
			of := known
			if part != "" {
				of = keys{}
				known[part] = func(n ast.Node) error {
					d.mapping(path+part+".", n, of)
					return nil
				}
			}
			for name, f := range fields {
				of[name] = scalarKey(f.set)
			}
		}
		if pair.Value.Type() != ast.NullType {
			d.mapping(path, pair.Value, known)
		}
		d.policy.Classes = append(d.policy.Classes, c)
	}
	return nil
}

// Quotas is the policy of the section: of its file, or of its own keys; who is allowed or denied by
// its keys is added to the file's. mode is nil if the file leaves it.
func (x XDP) Quotas() (p kernel.Policy, mode *xdp.Mode, err error) {
	if x.Policy != "" {
		if p, mode, err = LoadPolicy(x.Policy); err != nil {
			return p, nil, err
		}
	} else if p, err = x.ownPolicy(); err != nil {
		return p, nil, err
	}
	for _, at := range x.Allow {
		p.List(kernel.Entry{Prefix: at, Allow: true})
	}
	for _, at := range x.Deny {
		if e, twice := find(p.Entries, at); twice && e.Allow {
			return p, nil, fmt.Errorf("xdp.deny has %v, which is allowed as well: keep one", at)
		}
		p.List(kernel.Entry{Prefix: at, Deny: true})
	}
	_, err = kernel.Compile(p)
	return p, mode, err
}

func find(entries []kernel.Entry, at netip.Prefix) (kernel.Entry, bool) {
	i := slices.IndexFunc(entries, func(e kernel.Entry) bool { return e.Prefix == at })
	if i < 0 {
		return kernel.Entry{}, false
	}
	return entries[i], true
}

// ownPolicy is the policy of the section's keys.
func (x XDP) ownPolicy() (kernel.Policy, error) {
	c := kernel.Class{Name: kernel.Default}
	c.Client.PacketBurst, c.Client.Concurrent = uint64(x.Burst), uint32(x.Concurrent) //nolint:gosec // validate bounds them
	var errs []error
	for _, k := range []struct {
		name, text string
		into       field
	}{
		{"packets", x.Packets, rate(&c.Client.Packets)},
		{"bytes", x.Bytes, byteRate(&c.Client.Bytes)},
		{"connections", x.Connections, rate(&c.Client.Connections)},
		{"total", x.Total, rate(&c.Unproved.Packets)},
		{"syns", x.SYNs, rate(&c.Unproved.SYNs)},
	} {
		if k.text == "" {
			continue
		}
		if err := k.into.set(k.text); err != nil {
			errs = append(errs, fmt.Errorf("xdp.%s: %w", k.name, err))
		}
	}
	return kernel.Policy{Classes: []kernel.Class{c}, Pass: []xdp.Reason{xdp.ReasonFragment}}, errors.Join(errs...)
}
