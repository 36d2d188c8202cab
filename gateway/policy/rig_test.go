package policy

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"weir/ratelimit"
	"weir/ratelimit/local"
)

// header is the fields of a request in tests.
type header http.Header

func (h header) At(name string, i int) (string, bool) {
	v := h[name]
	if i >= len(v) {
		return "", false
	}
	return v[i], true
}

// second is the ticks of one.
const second = uint64(time.Second) * ratelimit.TicksPerNano

// start is a time at which nobody owes anything.
const start = 1000 * second

func quota(name string, count uint64, per time.Duration) ratelimit.Quota {
	return ratelimit.Quota{Name: name, Rate: ratelimit.Rate{Count: count, Per: per}}
}

func rules(tb testing.TB, cfg Config, deps Deps) *Rules {
	tb.Helper()
	r, err := newRules(tb, cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func newRules(tb testing.TB, cfg Config, deps Deps) (*Rules, error) {
	tb.Helper()
	if deps.Local == nil {
		store, err := local.New(local.Config{Clients: 1024})
		if err != nil {
			tb.Fatal(err)
		}
		deps.Local = store
	}
	if deps.Flight == nil {
		deps.Flight = &Flight{}
	}
	return New(cfg, deps)
}

// get is a request of 192.0.2.1 for a path.
func get(path string, fields ...string) *Request {
	h := header{}
	for i := 0; i < len(fields); i += 2 {
		name := http.CanonicalHeaderKey(fields[i])
		h[name] = append(h[name], fields[i+1])
	}
	return &Request{Method: "GET", Host: "example.com", Path: path, Fields: h, Peer: netip.MustParseAddr("192.0.2.1"), ContentLength: -1}
}

func key(tb testing.TB, texts ...string) (parts []KeyPart) {
	tb.Helper()
	for _, text := range texts {
		p, err := ParseKeyPart(text)
		if err != nil {
			tb.Fatal(err)
		}
		parts = append(parts, p)
	}
	return parts
}

// all is a route that has everything, for which policies hold.
func all(policies ...string) []Route {
	return []Route{{Name: "all", Upstream: "u", Policies: policies}}
}
