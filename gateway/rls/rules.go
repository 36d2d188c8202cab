package rls

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"weir/gateway/policy"
)

// Rules are a configuration, compiled. They do not change but for what they remember of limits that descriptors had, and may
// be used from any goroutine.
type Rules struct {
	cfg       Config
	deps      policy.Deps
	domains   map[string]*domain
	overrides overrides
}

// domain finds the rule of a descriptor: by its keys, then by its values.
type domain struct {
	groups map[string]*group // by keys
}

// group are the rules of the same keys, by which of their values are said whole: the most first.
type group struct{ shapes []*shape }

// shape are those of which the same values are said whole.
type shape struct {
	exact uint16 // a bit for each entry
	count int
	rules map[string][]*rule // by those values; those that go before others first
}

// rule is a Rule whose entries are in the order of their keys.
type rule struct {
	match          []Entry
	exact          uint16
	count          int // of bits of exact
	prefix         int // bytes of prefixes
	place          int // in the configuration
	charges        []*charge
	late, override bool
}

// New compiles a configuration by the policies that it names; deps are what those decide with. The error is all that is
// wrong with it, joined.
func New(cfg Config, policies *policy.Rules, deps policy.Deps) (*Rules, error) {
	r := &Rules{cfg: cfg, deps: deps, domains: map[string]*domain{}}
	var errs []error
	if len(cfg.Domains) > MaxDomains {
		errs = append(errs, fmt.Errorf("rls.domains has %d: want at most %d", len(cfg.Domains), MaxDomains))
	}
	for i := range cfg.Domains {
		d := &cfg.Domains[i]
		if d.Name == "" || r.domains[d.Name] != nil {
			errs = append(errs, fmt.Errorf("rls.domains.%s is there twice, or has no name: keep one", d.Name))
			continue
		}
		if len(d.Rules) > MaxRules {
			errs = append(errs, fmt.Errorf("rls.domains.%s has %d rules: want at most %d", d.Name, len(d.Rules), MaxRules))
			continue
		}
		c := &domain{groups: map[string]*group{}}
		r.domains[d.Name] = c
		for at := range d.Rules {
			if err := c.add(at, &d.Rules[at], policies); err != nil {
				errs = append(errs, fmt.Errorf("rls.domains.%s: rule %d: %w", d.Name, at+1, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// Config is what they were compiled from.
func (r *Rules) Config() Config { return r.cfg }

func (d *domain) add(at int, from *Rule, policies *policy.Rules) error {
	r, err := newRule(at, from, policies)
	if err != nil {
		return err
	}
	keys, values := []byte(nil), []byte(nil)
	for i, e := range r.match {
		keys = appendText(keys, e.Key)
		if r.exact>>i&1 != 0 {
			values = appendText(values, e.Value)
		}
	}
	g := d.groups[string(keys)]
	if g == nil {
		g = &group{}
		d.groups[string(keys)] = g
	}
	n := slices.IndexFunc(g.shapes, func(s *shape) bool { return s.exact == r.exact })
	if n < 0 {
		g.shapes = append(g.shapes, &shape{exact: r.exact, count: r.count, rules: map[string][]*rule{}})
		slices.SortStableFunc(g.shapes, func(a, b *shape) int { return cmp.Compare(b.count, a.count) })
		n = slices.IndexFunc(g.shapes, func(s *shape) bool { return s.exact == r.exact })
	}
	in := g.shapes[n].rules
	for _, other := range in[string(values)] {
		if slices.Equal(other.match, r.match) {
			return fmt.Errorf("it has the same match as rule %d: keep one", other.place+1)
		}
	}
	all := append(in[string(values)], r)
	slices.SortFunc(all, (*rule).compare)
	in[string(values)] = all
	return nil
}

func newRule(at int, from *Rule, policies *policy.Rules) (*rule, error) {
	r := &rule{match: slices.Clone(from.Match), place: at, late: from.Late, override: from.Override}
	if len(r.match) < 1 || len(r.match) > MaxEntries {
		return nil, fmt.Errorf("match has %d entries: want 1 to %d", len(r.match), MaxEntries)
	}
	slices.SortStableFunc(r.match, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	for i := range r.match {
		e := &r.match[i]
		if e.Key == "" {
			return nil, errors.New("match has an entry without a key: name one, such as remote_address")
		}
		switch prefix, open := strings.CutSuffix(e.Value, "*"); {
		case e.Value == "" || open:
			e.Value = prefix + "*"
			r.prefix += len(prefix)
		default:
			r.exact |= 1 << i
			r.count++
		}
	}
	if from.Late && from.Override {
		return nil, errors.New("late and override are both set: keep one")
	}
	var errs []error
	for _, name := range from.Policies {
		c, err := newCharge(name, r, policies)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !slices.ContainsFunc(r.charges, func(o *charge) bool { return o.limit == c.limit }) {
			r.charges = append(r.charges, c)
		}
	}
	if len(r.charges) > MaxChecks {
		errs = append(errs, fmt.Errorf("it has %d policies: want at most %d", len(r.charges), MaxChecks))
	}
	return r, errors.Join(errs...)
}

// open reports whether the rule leaves the i-th value open.
func (r *rule) open(i int) bool { return r.exact>>i&1 == 0 }

// compare is below 0 if r goes before o.
func (r *rule) compare(o *rule) int {
	return cmp.Or(cmp.Compare(o.count, r.count), cmp.Compare(o.prefix, r.prefix), cmp.Compare(r.place, o.place))
}

// fits reports whether what the rule says of the values that it leaves open is so.
func (r *rule) fits(entries []*entry) bool {
	for i := range r.match {
		if want := r.match[i].Value; r.open(i) && !strings.HasPrefix(entries[i].GetValue(), want[:len(want)-1]) {
			return false
		}
	}
	return true
}

// find is the rule of entries that are in the order of their keys, nil for none; buf is written over.
func (d *domain) find(entries []*entry, buf []byte) (best *rule, _ []byte) {
	buf = buf[:0]
	for _, e := range entries {
		buf = appendText(buf, e.GetKey())
	}
	g := d.groups[string(buf)]
	if g == nil {
		return nil, buf
	}
	for _, s := range g.shapes {
		if best != nil && s.count < best.count {
			break
		}
		buf = buf[:0]
		for i, e := range entries {
			if s.exact>>i&1 != 0 {
				buf = appendText(buf, e.GetValue())
			}
		}
		for _, r := range s.rules[string(buf)] {
			if r.fits(entries) {
				if best == nil || r.compare(best) < 0 {
					best = r
				}
				break
			}
		}
	}
	return best, buf
}

// appendText appends a text behind its length, so that no two lists of texts are the same bytes.
func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}
