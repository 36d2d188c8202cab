package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"weir/gateway/policy"
	"weir/gateway/way"
)

func TestTheKernelIsToldWhoseAConnIs(t *testing.T) {
	up := origin(t, func(http.ResponseWriter, *http.Request) {})
	plan := plain(up.URL)
	plan.Rules.Consumers = []policy.Consumer{{Name: "shop", Plan: "gold", Keys: [][32]byte{policy.SumKey("k1")}}, {Name: "bank", Keys: [][32]byte{policy.SumKey("k2")}}}
	plan.Rules.Plans = []policy.Plan{{Name: "gold"}}
	plan.Rules.Routes[0].Auth = policy.AuthOptional
	for _, expect := range []string{"", "Expect: 100-continue\r\nContent-Length: 1\r\n"} { // which has a conn go over to net/http
		for _, trusted := range []bool{false, true} {
			var mu sync.Mutex
			var told []string
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, what)
			}
			hooks := way.Hooks{
				Bind:   func(_, _ netip.AddrPort, identity, class string) { note(identity + " " + class) },
				Unbind: func(_, _ netip.AddrPort) { note("gone") },
			}
			p := plan
			if trusted {
				p.Rules.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
			r := serve(t, Config{}, p, Deps{Hooks: hooks})
			c, in := r.dial(t)
			for _, key := range []string{"", "k1", "k1", "k2", "", "k1", "wrong"} {
				body := ""
				if expect != "" {
					body = "x"
				}
				if key != "" {
					key = "X-Api-Key: " + key + "\r\n"
				}
				fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\n%s%s\r\n%s", expect, key, body)
				for {
					res, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatal(err)
					}
					_ = res.Body.Close()
					if res.StatusCode >= 200 {
						break
					}
				}
			}
			_ = c.Close()
			want := []string{"shop gold", "bank ", "shop gold", "gone"}
			if trusted {
				want = nil
			}
			eventually(t, "the conn has gone", func() bool { return r.Conns() == 0 })
			mu.Lock()
			if !slices.Equal(told, want) {
				t.Errorf("%q, trusted %v: %q, want %q", expect, trusted, told, want)
			}
			mu.Unlock()
			r.stop()
		}
	}
}
