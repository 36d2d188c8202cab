package config

import (
	"errors"
	"fmt"

	"weir/gateway/rls"

	"github.com/goccy/go-yaml/ast"
)

// domains reads what is charged for an Envoy: a list of rules by domain.
func (d *planDecoder) domains(node ast.Node) error {
	pairs, ok := pairsOf(node)
	if !ok {
		return errors.New(`is not a mapping: want edge: [{match: {remote_address: ""}, policies: [burst]}]`)
	}
	for _, pair := range pairs {
		domain := rls.Domain{Name: pair.Key.GetToken().Value}
		path := "rls.domains." + domain.Name
		rules, ok := pair.Value.(*ast.SequenceNode)
		if !ok {
			d.fail(pair.Key, path, errors.New("is not a list: want a rule each, such as {match: {remote_address: \"\"}, policies: [burst]}"))
			continue
		}
		for i, n := range rules.Values {
			domain.Rules = append(domain.Rules, rls.Rule{})
			r := last(domain.Rules)
			d.mapping(fmt.Sprintf("%s.%d.", path, i+1), n, keys{
				"match":    matchOf(&r.Match),
				"policies": textsOf(&r.Policies),
				"late":     scalarKey(boolOf(&r.Late)),
				"override": scalarKey(boolOf(&r.Override)),
			})
		}
		d.plan.RLS.Domains = append(d.plan.RLS.Domains, domain)
	}
	return nil
}

// matchOf reads key: value, or key: [value, value] for a key that is there more than once.
func matchOf(to *[]rls.Entry) func(ast.Node) error {
	return func(node ast.Node) error {
		pairs, ok := pairsOf(node)
		if !ok {
			return errors.New(`is not a mapping: want key: value, such as {remote_address: "", path: /login}`)
		}
		seen := map[string]bool{}
		for _, pair := range pairs {
			key := pair.Key.GetToken().Value
			if seen[key] {
				return fmt.Errorf("has %q twice: write its values as a list", key)
			}
			seen[key] = true
			_, list := pair.Value.(*ast.SequenceNode)
			values, err := valuesOf(pair.Value, list)
			if err != nil {
				return fmt.Errorf(`has %q, which %w; "" is any`, key, err)
			}
			for _, v := range values {
				*to = append(*to, rls.Entry{Key: key, Value: v})
			}
		}
		return nil
	}
}
