package gateway

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"weir/gateway/policy"
	"weir/gateway/upstream"
	"weir/ratelimit"
)

// rig is a gateway that serves.
type rig struct {
	*Server
	addr string
	stop func()
}

// ways are those that each test of this package is run over.
var ways = flag.String("way", WayLoops, "how requests are served: "+WayLoops+" or "+WayNet)

// TestMain runs all tests over event loops, then over net/http, but for one way that is asked for.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "way" })
	code := 0
	for _, w := range []string{WayLoops, WayNet} {
		if asked {
			w = *ways
		}
		*ways = w
		fmt.Printf("over %s:\n", w) //nolint:forbidigo // it is what a reader of the tests' output needs
		code = max(code, m.Run())
		if asked {
			break
		}
	}
	os.Exit(code) //nolint:forbidigo // as tests end
}

// patience bounds all waiting of tests.
const patience = 10 * time.Second

// serve starts a gateway on a free port.
func serve(tb testing.TB, cfg Config, plan Plan, deps Deps) *rig {
	tb.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Clients == 0 {
		cfg.Clients = 4096
	}
	if cfg.Way == "" {
		cfg.Way = *ways
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = time.Second
	}
	s, err := New(cfg, plan, deps, slog.New(slog.NewTextHandler(tb.Output(), nil)))
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		tb.Fatal(err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				tb.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			tb.Error("the gateway does not end")
		}
	}
	tb.Cleanup(stop)
	r := &rig{Server: s, stop: stop}
	if a := s.Addr(); a != nil {
		r.addr = a.String()
	}
	return r
}

// accept is the address of an upstream that serves each of its conns by a goroutine, and then closes it.
func accept(tb testing.TB, serve func(c net.Conn)) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// origin is an upstream of one server.
func origin(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// to is an upstream of servers by their addresses.
func to(servers ...string) Upstream {
	u := Upstream{Pool: upstream.Config{Name: "u"}}
	for _, s := range servers {
		u.Pool.Servers = append(u.Pool.Servers, upstream.ServerConfig{Address: strings.TrimPrefix(s, "http://")})
	}
	return u
}

// plain is a plan of one route for all.
func plain(servers ...string) Plan {
	return Plan{Upstreams: []Upstream{to(servers...)}, Rules: policy.Config{Routes: []policy.Route{{Name: "all", Upstream: "u"}}}}
}

// limited is plain with a quota for each address.
func limited(count uint64, per time.Duration, servers ...string) Plan {
	p := plain(servers...)
	p.Rules.Policies = []policy.Policy{{Quota: ratelimit.Quota{Name: "q", Rate: ratelimit.Rate{Count: count, Per: per}}}}
	p.Rules.Routes[0].Policies = []string{"q"}
	return p
}

// client is one without conns of others.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// ask is a GET whose answer is read whole.
func ask(t *testing.T, c *http.Client, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	return do(t, c, req)
}

func do(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// dial is a bare conn to the gateway.
func (r *rig) dial(tb testing.TB) (net.Conn, *bufio.Reader) {
	tb.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// raw sends bytes and reads an answer to them.
func (r *rig) raw(t *testing.T, text, method string) *http.Response {
	t.Helper()
	c, in := r.dial(t)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
		<-tick.C
	}
}
