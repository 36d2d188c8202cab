package policy

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// maxDepth bounds the segments of a route's path.
const maxDepth = 64

// table finds the route of a request: of the hosts that fit the most exact one, of its paths the longest.
type table struct {
	exact    map[string]*paths
	wildcard map[string]*paths // by what follows the star, .example.com
	any      *paths
}

// paths are the routes of a host.
type paths struct {
	prefix map[string][]*Route // without a slash at the end, "" for all
	only   map[string][]*Route
	depth  int // segments of the longest prefix
}

func newPaths() *paths { return &paths{prefix: map[string][]*Route{}, only: map[string][]*Route{}} }

func newTable(routes []*Route) (*table, error) {
	t := &table{exact: map[string]*paths{}, wildcard: map[string]*paths{}}
	var errs []error
	for _, r := range routes {
		for _, host := range r.Hosts {
			p, err := t.pathsOf(host)
			if err == nil {
				err = p.add(r)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("routes.%s: %w", r.Name, err))
			}
		}
	}
	return t, errors.Join(errs...)
}

func (t *table) pathsOf(host string) (*paths, error) {
	host = strings.ToLower(host)
	in, name := t.exact, host
	if rest, ok := strings.CutPrefix(host, "*"); ok {
		if rest == "" {
			if t.any == nil {
				t.any = newPaths()
			}
			return t.any, nil
		}
		in, name = t.wildcard, rest
	}
	if strings.Contains(name, "*") || strings.HasPrefix(host, "*") && !strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/ ") {
		return nil, fmt.Errorf("hosts has %q: want a name, *.example.com or *", host)
	}
	if in[name] == nil {
		in[name] = newPaths()
	}
	return in[name], nil
}

func (p *paths) add(r *Route) error {
	in := p.prefix
	path, only := strings.CutPrefix(r.Path, "=")
	if only {
		in = p.only
	}
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("path is %q: want /path, or =/path for that alone", r.Path)
	}
	if strings.ContainsAny(path, "?#%\\") || strings.Contains(path, "//") {
		return fmt.Errorf("path is %q: want it decoded, without a query", r.Path)
	}
	if !only {
		path = strings.TrimSuffix(path, "/")
	}
	if strings.Count(path, "/") > maxDepth {
		return fmt.Errorf("path has more than %d segments", maxDepth)
	}
	for _, other := range in[path] {
		if overlaps(other.Methods, r.Methods) {
			return fmt.Errorf("route %s has the same host, path and method: keep one", other.Name)
		}
	}
	in[path] = append(in[path], r)
	p.depth = max(p.depth, strings.Count(path, "/"))
	return nil
}

func overlaps(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b) // a route for some methods goes before one for all
	}
	return slices.ContainsFunc(a, func(m string) bool { return slices.Contains(b, m) })
}

// find is the route of a request; others has those of its host and path that take other methods, if none does.
func (t *table) find(host, method, path string, buf []byte) (route *Route, others []*Route, _ []byte) {
	host, buf = cleanHost(host, buf)
	if p := t.pathsFor(host); p != nil {
		route, others = p.find(method, path)
	}
	return route, others, buf
}

// pathsFor are the routes of the most exact host that fits; what it does not have is not looked for at others.
func (t *table) pathsFor(host string) *paths {
	if p := t.exact[host]; p != nil {
		return p
	}
	for rest := host; len(t.wildcard) > 0; rest = rest[1:] {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 {
			break
		}
		if rest = rest[dot:]; t.wildcard[rest] != nil {
			return t.wildcard[rest]
		}
	}
	return t.any
}

func (p *paths) find(method, path string) (route *Route, others []*Route) {
	if at := p.only[path]; at != nil {
		if route = ofMethod(at, method); route != nil {
			return route, nil
		}
		others = at
	}
	// From the longest prefix that there can be to the shortest; only the first that is there counts.
	var cuts [maxDepth]int
	n := 0
	for i := 1; i <= len(path) && n < p.depth; i++ {
		if i == len(path) || path[i] == '/' {
			cuts[n] = i
			n++
		}
	}
	for n--; n >= -1; n-- {
		key := ""
		if n >= 0 {
			key = path[:cuts[n]]
		}
		if at := p.prefix[key]; at != nil {
			if route = ofMethod(at, method); route != nil {
				return route, nil
			}
			if others == nil {
				others = at
			}
			return nil, others
		}
	}
	return nil, others
}

// ofMethod is the route that takes a method: one that names it before one that takes all.
func ofMethod(routes []*Route, method string) (all *Route) {
	for _, r := range routes {
		if len(r.Methods) == 0 {
			all = r
		} else if slices.Contains(r.Methods, method) || method == "HEAD" && slices.Contains(r.Methods, "GET") {
			return r
		}
	}
	return all
}

// cleanHost is a host as it is matched: without a port or a dot at its end, in lower case.
func cleanHost(host string, buf []byte) (string, []byte) {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && host[0] != '[' && strings.IndexByte(host, ':') == i {
		host = host[:i]
	} else if i >= 0 && !strings.HasSuffix(host, "]") {
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
	}
	host = strings.TrimSuffix(host, ".")
	for i := range len(host) {
		if c := host[i]; 'A' <= c && c <= 'Z' {
			buf = append(buf[:0], host...)
			for i, c := range buf {
				if 'A' <= c && c <= 'Z' {
					buf[i] = c + 'a' - 'A'
				}
			}
			return lend(buf), buf
		}
	}
	return host, buf
}
