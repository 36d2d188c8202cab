package replay

import (
	"fmt"
	"slices"
	"strings"

	"weir/gateway/policy"
)

// aliases are the fields of lines of JSON that say what a role is for, the best first: of weir's access log, nginx's usual ones, and
// Caddy's.
var aliases = [roles][]string{
	roleTime:     {"time", "ts", "timestamp", "@timestamp", "time_iso8601", "msec", "time_local"},
	roleBegun:    {"begun"},
	roleClient:   {"client", "request.client_ip", "request.remote_ip", "remote_addr", "remote_ip", "client_ip", "request.remote_addr"},
	roleIdentity: {"identity", "user_id", "remote_user"},
	roleRequest:  {"request"},
	roleMethod:   {"method", "request.method", "request_method"},
	roleHost:     {"host", "request.host", "http_host", "server_name"},
	rolePath:     {"path", "request.uri", "request_uri", "uri"},
	roleStatus:   {"status"},
	roleOutcome:  {"outcome"},
	roleSeconds:  {"seconds", "request_time", "duration"},
	roleReceived: {"received_bytes", "bytes_read"},
	roleSent:     {"sent_bytes", "body_bytes_sent", "bytes_sent", "size"},
}

// agents and referers are the fields of headers that many logs have.
var (
	agents   = []string{"http_user_agent", "user_agent", "request.headers.User-Agent"}
	referers = []string{"http_referer", "referer", "request.headers.Referer"}
)

// wanted is what a field is for.
type wanted struct {
	at   int // of raw
	rank int // 1 is the best
}

// layout is where values are in lines.
type layout struct {
	fields map[string][]wanted
	// keys are what policies are keyed by, in the order in which raw has them.
	keys []policy.KeyPart
	// agent and referer are where raw has these headers, -1 for nowhere.
	agent, referer int
	values         raw
	ranks          []int
	path           []byte
}

// newLayout is the layout for a Config, whose policies need some parts of keys.
func newLayout(cfg *Config, keys []policy.KeyPart) (*layout, error) {
	l := &layout{fields: map[string][]wanted{}, keys: keys, agent: -1, referer: -1}
	put := func(at int, fields ...string) {
		for i, f := range fields {
			l.fields[f] = append(l.fields[f], wanted{at, i + 1})
		}
	}
	for r, fields := range aliases {
		if f := cfg.Fields[roleNames[r]]; f != "" {
			fields = []string{f}
		}
		put(r, fields...)
	}
	for i, part := range keys {
		at := int(roles) + i
		field := cfg.Keys[part.String()]
		switch {
		case field != "":
			put(at, field)
		case part.Kind == policy.KeyField && part.Name == "User-Agent":
			l.agent = at
			put(at, agents...)
		case part.Kind == policy.KeyField && part.Name == "Referer":
			l.referer = at
			put(at, referers...)
		default:
			return nil, fmt.Errorf("%w: %s: name the field of a log of JSON with --key %s=FIELD", ErrNoKey, part, part)
		}
	}
	l.values, l.ranks = make(raw, int(roles)+len(keys)), make([]int, int(roles)+len(keys))
	return l, nil
}

// partsOf are the parts of the policies' keys that are headers and claims.
func partsOf(policies []policy.Policy) (all []policy.KeyPart) {
	for _, p := range policies {
		for _, part := range p.Key {
			if (part.Kind == policy.KeyField || part.Kind == policy.KeyClaim) && !slices.Contains(all, part) {
				all = append(all, part)
			}
		}
	}
	return all
}

// parse reads a line into e.
func (l *layout) parse(line string, e *entry) error {
	clear(l.values)
	var err error
	if strings.HasPrefix(line, "{") {
		clear(l.ranks)
		err = l.json(line)
	} else {
		err = l.common(line, l.values)
	}
	if err != nil {
		return err
	}
	return e.fill(l.values)
}
