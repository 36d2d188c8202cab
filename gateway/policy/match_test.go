package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTheMostExactHostAndTheLongestPathHaveTheRequest(t *testing.T) {
	r := rules(t, Config{Routes: []Route{
		{Name: "root", Upstream: "u"},
		{Name: "api", Path: "/api", Upstream: "u"},
		{Name: "api-post", Path: "/api", Methods: []string{"POST"}, Upstream: "u"},
		{Name: "deep", Path: "/api/v1/users/", Upstream: "u"},
		{Name: "only", Path: "=/health", Methods: []string{"GET"}, Upstream: "u"},
		{Name: "host", Hosts: []string{"API.example.com"}, Path: "/x", Upstream: "u"},
		{Name: "wild", Hosts: []string{"*.example.com"}, Upstream: "u"},
	}}, Deps{})
	for _, c := range []struct {
		host, method, path, want string
		outcome                  Outcome
	}{
		{"other", "GET", "/", "root", Admitted},
		{"other", "GET", "/ap", "root", Admitted},
		{"other", "GET", "/apis", "root", Admitted},
		{"other", "GET", "/api", "api", Admitted},
		{"other", "POST", "/api", "api-post", Admitted},
		{"other", "GET", "/api/", "api", Admitted},
		{"other", "GET", "/api/v1/users", "deep", Admitted},
		{"other", "GET", "/api/v1/users/7", "deep", Admitted},
		{"other", "GET", "/%61pi/v1", "api", Admitted},
		{"other", "GET", "/health", "only", Admitted},
		{"other", "HEAD", "/health", "only", Admitted},
		{"other", "POST", "/health", "root", Admitted},
		{"other", "GET", "/health/x", "root", Admitted},
		{"other:8080", "GET", "/api", "api", Admitted},
		{"[2001:db8::1]:80", "GET", "/api", "api", Admitted},
		{"api.example.com", "GET", "/x", "host", Admitted},
		{"Api.Example.COM.:443", "GET", "/x/y", "host", Admitted},
		{"api.example.com", "GET", "/", "", NoRoute},
		{"a.example.com", "GET", "/x", "wild", Admitted},
		{"a.b.example.com", "GET", "/x", "wild", Admitted},
		{"example.com", "GET", "/x", "root", Admitted},
		{"other", "OPTIONS", "*", "root", Admitted},
	} {
		var x Exchange
		q := get(c.path)
		q.Host, q.Method = c.host, c.method
		o := r.Begin(start, q, &x)
		name := ""
		if x.Route != nil {
			name = x.Route.Name
		}
		if o != c.outcome || name != c.want {
			t.Errorf("%s %s%s: %v by %q, want %v by %q", c.method, c.host, c.path, o, name, c.outcome, c.want)
		}
		if o == Admitted {
			x.End(start, 0, 0)
		}
	}
}

func TestAMethodThatNoRouteTakesIsToldOthers(t *testing.T) {
	r := rules(t, Config{Routes: []Route{
		{Name: "a", Path: "/a", Methods: []string{"PUT", "GET"}, Upstream: "u"},
		{Name: "b", Path: "/a", Methods: []string{"DELETE"}, Upstream: "u"},
	}}, Deps{})
	var x Exchange
	q := get("/a/b")
	q.Method = "PATCH"
	if o := r.Begin(start, q, &x); o != NoMethod {
		t.Fatal(o)
	}
	if got := string(x.AppendRefusal(nil, NoMethod, 0)); got != "Allow: DELETE, GET, PUT\r\n" {
		t.Errorf("%q", got)
	}
}

func TestAPathThatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	strict := rules(t, Config{Routes: all()}, Deps{})
	loose := rules(t, Config{Routes: all(), LoosePaths: true}, Deps{})
	for path, ok := range map[string][2]bool{
		"/a":            {true, true},
		"/a/":           {true, true},
		"/a.b/..c/...":  {true, true},
		"/%7Eme":        {true, true},
		"/a%20b":        {true, true},
		"/a;v=1/b":      {true, true},
		"/%C3%A9":       {true, true},
		"/..":           {false, false},
		"/a/../b":       {false, false},
		"/a/./b":        {false, false},
		"/a/%2e%2e/b":   {false, false},
		"/a/.%2E":       {false, false},
		"/a/..;/b":      {false, false},
		"/a\\..\\b":     {false, false},
		"/a%5c..%5cb":   {false, false},
		"/a%00":         {false, false},
		"/a%0d%0ab":     {false, false},
		"/a%7f":         {false, false},
		"/a%2":          {false, false},
		"/a%zz":         {false, false},
		"a":             {false, false},
		"":              {false, false},
		"//a":           {false, true},
		"/a//b":         {false, true},
		"/a%2fb":        {false, true},
		"/a/..%2f..%2f": {false, true}, // with loose paths it is a name, as it is to the table
	} {
		for i, r := range []*Rules{strict, loose} {
			var x Exchange
			o := r.Begin(start, get(path), &x)
			if (o == Admitted) != ok[i] || o != Admitted && (o != BadPath || !errors.Is(x.Err, ErrAmbiguousPath)) {
				t.Errorf("%q, loose %v: %v, %v", path, i == 1, o, x.Err)
			}
		}
	}
}

// reference finds a route by looking at all of them.
func reference(routes []Route, host, method, path string) string {
	hostRank := func(pattern string) int {
		switch {
		case pattern == host:
			return 1000
		case pattern == "*":
			return 1
		case strings.HasPrefix(pattern, "*") && strings.HasSuffix(host, pattern[1:]) && len(host) > len(pattern)-1:
			return 1 + len(pattern)
		}
		return 0
	}
	best := 0
	for _, r := range routes {
		best = max(best, hostRank(r.Hosts[0]))
	}
	type candidate struct {
		name string
		rank int
		all  bool
	}
	var found []candidate
	for _, r := range routes {
		if best == 0 || hostRank(r.Hosts[0]) != best {
			continue
		}
		rank := 0
		if only, ok := strings.CutPrefix(r.Path, "="); ok {
			if only == path {
				rank = 10_000
			}
		} else if p := strings.TrimSuffix(r.Path, "/"); path == p || strings.HasPrefix(path, p+"/") {
			rank = 1 + len(p)
		}
		if rank > 0 {
			found = append(found, candidate{r.Name, rank, len(r.Methods) == 0})
		}
	}
	// The longest prefix has the request, whether or not it takes the method; an exact path that does not leaves it to that.
	longest := 0
	for _, c := range found {
		if c.rank < 10_000 {
			longest = max(longest, c.rank)
		}
	}
	for _, pass := range []struct {
		rank int
		all  bool
	}{{10_000, false}, {10_000, true}, {longest, false}, {longest, true}} {
		for _, c := range found {
			i := slices.IndexFunc(routes, func(r Route) bool { return r.Name == c.name })
			if c.rank == pass.rank && c.all == pass.all && (c.all || slices.Contains(routes[i].Methods, method)) {
				return c.name
			}
		}
	}
	return ""
}

func TestTheTableFindsWhatASearchThroughAllRoutesFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.SampledFrom([]string{"a", "b", "aa", "c"})
		path := rapid.Custom(func(t *rapid.T) string {
			return "/" + strings.Join(rapid.SliceOfN(segment, 0, 4).Draw(t, "segments"), "/")
		})
		host := rapid.SampledFrom([]string{"x.com", "a.x.com", "b.a.x.com", "y.com"})
		var routes []Route
		seen := map[string]bool{}
		for i := range rapid.IntRange(0, 12).Draw(t, "routes") {
			r := Route{Name: fmt.Sprint(i), Upstream: "u", Path: path.Draw(t, "path")}
			r.Hosts = []string{rapid.SampledFrom([]string{"*", "x.com", "a.x.com", "*.x.com", "*.a.x.com"}).Draw(t, "host")}
			if rapid.Bool().Draw(t, "only") {
				r.Path = "=" + r.Path
			}
			if rapid.Bool().Draw(t, "methods") {
				r.Methods = []string{rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "method")}
			}
			if k := fmt.Sprint(r.Hosts, r.Path, r.Methods); !seen[k] {
				seen[k] = true
				routes = append(routes, r)
			}
		}
		var pointers []*Route
		for i := range routes {
			pointers = append(pointers, &routes[i])
		}
		table, err := newTable(pointers)
		if err != nil {
			t.Fatal(err)
		}
		h, m, p := host.Draw(t, "h"), rapid.SampledFrom([]string{"GET", "PUT", "POST"}).Draw(t, "m"), path.Draw(t, "p")
		got, _, _ := table.find(h, m, p, nil)
		name := ""
		if got != nil {
			name = got.Name
		}
		if want := reference(routes, h, m, p); name != want {
			t.Fatalf("%s %s%s: %q, want %q of %+v", m, h, p, name, want, routes)
		}
	})
}

func TestRoutesThatCannotBeToldApartAreRefused(t *testing.T) {
	for want, routes := range map[string][]Route{
		"same host, path and method": {{Name: "a", Upstream: "u"}, {Name: "b", Path: "/", Upstream: "u"}},
		"is there twice":             {{Name: "a", Upstream: "u"}, {Name: "a", Path: "/b", Upstream: "u"}},
		"want /path":                 {{Name: "a", Path: "b", Upstream: "u"}},
		"want it decoded":            {{Name: "a", Path: "/a%20b", Upstream: "u"}},
		"more than 64 segments":      {{Name: "a", Path: strings.Repeat("/a", 65), Upstream: "u"}},
		"want a name, *.example.com": {{Name: "a", Hosts: []string{"a*b"}, Upstream: "u"}},
		"the name of an upstream":    {{Name: "a"}},
		"there is no policy":         {{Name: "a", Upstream: "u", Policies: []string{"nothing"}}},
		"timeout is -1s":             {{Name: "a", Upstream: "u", Timeout: -1e9}},
		"methods is G ET":            {{Name: "a", Upstream: "u", Methods: []string{"G ET"}}},
	} {
		if _, err := newRules(t, Config{Routes: routes}, Deps{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
