// Package config reads weir.yaml and the environment into the configurations of the packages
// that the binary wires. It is strict: a key it does not know, a unit it cannot read or a value
// out of range is an error that names the file, the line, the key and what would be right,
// and all are reported at once.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"weir/admin"
	"weir/bpf/xdp"
	"weir/broker/bus"
	"weir/edge"
	"weir/edge/workers"
	"weir/gateway"
	"weir/gateway/trace"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Config is all that weir can be told.
type Config struct {
	Edge    edge.Config
	Workers workers.Config
	Admin   admin.Config
	Bus     bus.Config
	Auth    Auth
	XDP     XDP
	Gateway Gateway
	Trace   Trace
	Log     Log
	// BusSecretFile is where Bus.Secret was read from, if it was.
	BusSecretFile string
	// Warnings are what looks like a mistake and may be none: variables that are nearly ours.
	Warnings []string

	given map[string]bool // keys that the file or the environment has
}

// Given reports whether the file or the environment has a key, such as edge.loops.
func (c *Config) Given(key string) bool { return c.given[key] }

// XDP is the section of the quotas; see docs/ARCHITECTURE.md.
type XDP struct {
	Enabled, Interface, Attach, Mode string
	Clock, Cookies, Frags, Proof     string
	Pin                              bool
	Slots, IPv4Prefix, IPv6Prefix    int
	Policy                           string // a file, instead of the quotas below
	Allow, Deny                      []netip.Prefix
	Packets, Bytes, Connections      string
	Burst, Concurrent                int
	Total, SYNs                      string
}

// Log is the section of the log.
type Log struct{ Level, Format string }

// defaultTraced is the part of requests that are traced, if any are.
const defaultTraced = 0.01

// Default is what holds without a file.
func Default() *Config {
	gate := gateway.Config{}.Defaults()
	gate.Way, gate.Loops = gateway.WayLoops, 0 // what is printed holds for other hosts too
	stored := bus.Config{}.Defaults()
	stored.Storage = "" // follows from the directory, once that is known
	return &Config{
		Edge:  edge.Config{}.Defaults(),
		Admin: admin.Config{}.Defaults(),
		Bus:   stored,
		Auth:  defaultAuth(),
		XDP: XDP{
			Enabled: "auto", Interface: "lo", Attach: "auto", Mode: "enforce",
			Clock: "precise", Cookies: "auto", Frags: "auto", Proof: "auto",
			Slots: xdp.DefaultSlots, IPv4Prefix: 32, IPv6Prefix: 64,
			Packets: "1000000/s", Burst: 100_000, Total: "200000/s", SYNs: "20000/s",
		},
		Gateway: Gateway{Config: gate, Trace: trace.Config{Sample: defaultTraced}, Escalate: defaultEscalate()},
		Trace:   defaultTrace(),
		Log:     Log{Level: "info", Format: "text"},
		given:   map[string]bool{},
	}
}

// Error is one thing wrong with the configuration.
type Error struct {
	// Source is the file, or the environment variable. Line is 0 if it has none.
	Source string
	Line   int
	Key    string
	Text   string
}

// Error is "file:line: key text".
func (e *Error) Error() string {
	at := e.Source
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d", e.Source, e.Line)
	}
	if e.Key == "" {
		return at + ": " + e.Text
	}
	return at + ": " + e.Key + " " + e.Text
}

// loader collects errors and where each key was set.
type loader struct {
	config *Config
	byKey  map[string]setting
	source string
	errs   []error
	lines  map[string]int
}

func newLoader(source string, c *Config) *loader {
	l := &loader{config: c, byKey: map[string]setting{}, source: source, lines: map[string]int{}}
	for _, s := range settings() {
		l.byKey[s.key] = s
	}
	return l
}

// Load reads a file over the defaults, and the environment over that. path may be empty. The
// error is all that is wrong, joined.
func Load(path string, environ []string) (*Config, error) {
	c := Default()
	l := newLoader(path, c)
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		l.file(text)
	}
	l.environ(environ)
	l.readSecret()
	l.readRedisPassword()
	l.readTraceHeaders()
	l.readAuthKeys()
	l.check()
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return c, nil
}

// Parse reads a file's text over the defaults; name stands for the file in errors.
func Parse(name string, text []byte) (*Config, error) {
	l := newLoader(name, Default())
	l.file(text)
	l.check()
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return l.config, nil
}

func (l *loader) fail(line int, key, format string, args ...any) {
	l.errs = append(l.errs, &Error{l.source, line, key, fmt.Sprintf(format, args...)})
}

func (l *loader) file(text []byte) {
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.errs = append(l.errs, fmt.Errorf("%s: it is not YAML: %w", l.source, err))
		return
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType {
			continue
		}
		l.walk("", doc.Body)
	}
}

// walk reads a mapping whose keys are below prefix.
func (l *loader) walk(prefix string, node ast.Node) {
	var pairs []*ast.MappingValueNode
	switch m := node.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		l.fail(node.GetToken().Position.Line, strings.TrimSuffix(prefix, "."), "is not a mapping: want key: value")
		return
	}
	for _, p := range pairs {
		l.pair(prefix, p)
	}
}

func (l *loader) pair(prefix string, p *ast.MappingValueNode) {
	name := p.Key.GetToken().Value
	line := p.Key.GetToken().Position.Line
	key := prefix + name
	if prefix == "" {
		if names := l.names(""); slices.Contains(names, name) {
			if p.Value.Type() != ast.NullType {
				l.walk(name+".", p.Value)
			}
		} else {
			l.fail(line, key, "is not a section%s", suggestion(name, names))
		}
		return
	}
	s, ok := l.byKey[key]
	if !ok {
		l.fail(line, key, "is not a key%s", suggestion(name, l.names(prefix)))
		return
	}
	if first, twice := l.lines[key]; twice {
		l.fail(line, key, "is set already in line %d: keep one", first)
		return
	}
	l.lines[key] = line
	l.config.given[key] = true
	values, err := valuesOf(p.Value, s.list)
	if err == nil {
		err = s.set(l.config, values)
	}
	if err != nil {
		l.fail(line, key, "%s", err)
	}
}

// names are the sections, or the keys of one.
func (l *loader) names(prefix string) (names []string) {
	for key := range l.byKey {
		section, name, _ := strings.Cut(key, ".")
		if prefix == "" {
			names = append(names, section)
		} else if section+"." == prefix {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// valuesOf is a scalar's text, or those of a list.
func valuesOf(node ast.Node, list bool) ([]string, error) {
	if seq, ok := node.(*ast.SequenceNode); ok {
		if !list {
			return nil, errors.New("is a list: want one value")
		}
		values := []string{}
		for _, v := range seq.Values {
			one, err := valuesOf(v, false)
			if err != nil {
				return nil, err
			}
			values = append(values, one...)
		}
		return values, nil
	}
	if list {
		return nil, errors.New("is not a list: want [a, b]")
	}
	if text, ok := scalarText(node); ok {
		return []string{text}, nil
	}
	return nil, errors.New("has no value: write one, or leave the key out")
}

// environ reads WEIR_SECTION_KEY=value; a list is separated by commas.
func (l *loader) environ(environ []string) {
	known := map[string]setting{}
	var names []string
	for key, s := range l.byKey {
		name := "WEIR_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		known[name] = s
		names = append(names, name)
	}
	slices.Sort(names)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "WEIR_") {
			continue
		}
		l.source = name
		s, ok := known[name]
		l.config.given[s.key] = true
		if !ok {
			// Not an error: others may name variables so, such as a cluster for a service.
			if near := nearest(name, names, len(name)/6); near != "" {
				l.config.Warnings = append(l.config.Warnings, name+" is not read: did you mean "+near+"?")
			}
			continue
		}
		values := []string{value}
		if s.list {
			values = strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
		}
		if err := s.set(l.config, values); err != nil {
			l.fail(0, "", "%s", err)
		}
	}
}

// readSecret reads the file of bus.secret, if there is one.
func (l *loader) readSecret() {
	const key = "bus.secret_file"
	path := l.config.BusSecretFile
	if path == "" {
		return
	}
	l.source = sourceOr(l.source)
	if l.config.Bus.Secret != "" {
		l.fail(l.lines[key], key, "is set, and so is bus.secret: keep one")
		return
	}
	text, ok := l.readNamed(key, path)
	if !ok {
		return
	}
	if l.config.Bus.Secret = strings.TrimSpace(text); l.config.Bus.Secret == "" {
		l.fail(l.lines[key], key, "is %q: that file is empty: openssl rand -hex 24 >%s", path, path)
	}
}

// readNamed reads the file that a key names; not ok if there is none, or it cannot be read, which is a mistake at the key.
func (l *loader) readNamed(key, path string) (text string, ok bool) {
	if path == "" {
		return "", false
	}
	l.source = sourceOr(l.source)
	b, err := os.ReadFile(path)
	if err != nil {
		l.fail(l.lines[key], key, "cannot be read: %s", err)
	}
	return string(b), err == nil
}

// check asks each package about its part, and puts its answer in terms of the file.
func (l *loader) check() {
	c := l.config
	for _, err := range []error{c.Edge.Validate(), c.Auth.validate(c.Edge.Anonymous), c.Workers.Validate(), c.Admin.Validate(), c.Bus.Validate(), c.XDP.validate(), c.Gateway.validate(), c.Trace.validate()} {
		for _, err := range flatten(err) {
			text := err.Error()
			for key, s := range l.byKey {
				if rest, ok := strings.CutPrefix(text, s.field+" "); ok && s.field != "" {
					l.source = sourceOr(l.source)
					l.fail(l.lines[key], key, "%s", rest)
					text = ""
				}
			}
			if text != "" {
				l.errs = append(l.errs, err)
			}
		}
	}
	slices.SortStableFunc(l.errs, func(a, b error) int { return lineOf(a) - lineOf(b) })
}

func lineOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Line
	}
	return 0
}

func sourceOr(source string) string {
	if source == "" {
		return "configuration"
	}
	return source
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, err := range many.Unwrap() {
		all = append(all, flatten(err)...)
	}
	return all
}

// suggestion is ": did you mean X?" for the nearest known name, if one is near.
func suggestion(name string, known []string) string {
	if near := nearest(name, known, len(name)/2); near != "" {
		return ": did you mean " + near + "?"
	}
	return ": known are " + strings.Join(known, ", ")
}

// nearest is the known name with the fewest changes to name, at most so many; or none.
func nearest(name string, known []string, most int) (best string) {
	at := most + 1
	for _, k := range known {
		if d := distance(name, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two short names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// Print writes the configuration as a file with every key and what it means.
func (c *Config) Print() string {
	var b strings.Builder
	section := ""
	for _, s := range settings() {
		in, name, _ := strings.Cut(s.key, ".")
		if in != section {
			fmt.Fprintf(&b, "%s:\n", in)
			section = in
		}
		fmt.Fprintf(&b, "  %s: %s # %s\n", name, s.get(c), s.doc)
	}
	return b.String()
}
