package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// errTwice says that a name is there already.
var errTwice = errors.New("is there twice: keep one")

// tree reads a tree of YAML by what each mapping may have, and collects what is wrong with it.
type tree struct {
	name string // of the file, in errors
	errs []error
	at   map[string]ast.Node // where each key is, and each name
}

func (d *tree) note(key string, node ast.Node) {
	if d.at == nil {
		d.at = map[string]ast.Node{}
	}
	d.at[key] = node
}

// keys are what a mapping may have, and how each is read.
type keys map[string]func(ast.Node) error

func (d *tree) fail(node ast.Node, key string, err error) {
	d.errs = append(d.errs, &Error{d.name, node.GetToken().Position.Line, key, err.Error()})
}

// mapping reads a mapping by its keys; path is the way to it.
func (d *tree) mapping(path string, node ast.Node, known keys) {
	pairs, ok := pairsOf(node)
	if !ok {
		d.fail(node, strings.TrimSuffix(path, "."), errors.New("is not a mapping: want key: value"))
		return
	}
	seen := map[string]int{}
	for _, pair := range pairs {
		name := pair.Key.GetToken().Value
		if line, twice := seen[name]; twice {
			d.fail(pair.Key, path+name, fmt.Errorf("is set already in line %d: keep one", line))
			continue
		}
		seen[name] = pair.Key.GetToken().Position.Line
		d.note(path+name, pair.Key)
		read, ok := known[name]
		if !ok {
			d.fail(pair.Key, path+name, errors.New("is not a key"+suggestion(name, slices.Sorted(maps.Keys(known)))))
			continue
		}
		if err := read(pair.Value); err != nil {
			d.fail(pair.Key, path+name, err)
		}
	}
}

// scalarText is the text of a scalar. In a mapping in braces the library takes host:port for a pair, which in YAML has a space (1.2,
// section 7.3.3): that is put together again.
func scalarText(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.LiteralNode:
		return node.GetToken().Value, true
	case *ast.MappingNode:
		if len(n.Values) == 1 && n.Start.Type != token.MappingStartType {
			return scalarText(n.Values[0])
		}
	case *ast.MappingValueNode:
		key, rest := n.Key.GetToken(), n.Value.GetToken()
		if inner, ok := n.Value.(*ast.MappingValueNode); ok {
			rest = inner.Key.GetToken()
		}
		text, ok := scalarText(n.Value)
		adjacent := key.Position.Line == rest.Position.Line && rest.Position.Column == key.Position.Column+utf8.RuneCountInString(key.Value)+1
		return key.Value + ":" + text, ok && adjacent && key.Type != token.DoubleQuoteType && key.Type != token.SingleQuoteType
	}
	return "", false
}

func pairsOf(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := node.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

func scalarKey(set func(string) error) func(ast.Node) error {
	return func(n ast.Node) error {
		values, err := valuesOf(n, false)
		if err != nil {
			return err
		}
		if len(values) != 1 {
			return errors.New("is a list: want one value")
		}
		return set(values[0])
	}
}

func listKey(add func(string) error) func(ast.Node) error {
	return func(n ast.Node) error {
		values, err := valuesOf(n, true)
		for _, v := range values {
			err = errors.Join(err, add(v))
		}
		return err
	}
}

// named reads a mapping whose keys are names: read makes what each may have, below its path.
func (d *tree) named(path, want string, read func(name string) keys) func(ast.Node) error {
	return func(node ast.Node) error {
		pairs, ok := pairsOf(node)
		if !ok {
			return errors.New("is not a mapping: want " + want)
		}
		seen := map[string]bool{}
		for _, pair := range pairs {
			name := pair.Key.GetToken().Value
			if seen[name] {
				d.fail(pair.Key, path+name, errTwice)
				continue
			}
			seen[name] = true
			d.note(path+name, pair.Key)
			d.mapping(path+name+".", pair.Value, read(name))
		}
		return nil
	}
}
