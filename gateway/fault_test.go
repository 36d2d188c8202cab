package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/gateway/upstream"
)

// rawOrigin is an upstream that answers each conn by hand; it is given the head of the first request.
func rawOrigin(t *testing.T, answer func(c net.Conn)) string {
	t.Helper()
	return accept(t, func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(patience))
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body) // or it ends by a reset
			answer(c)
		}
	})
}

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func TestEachFaultOfAnUpstreamHasItsAnswer(t *testing.T) {
	stall := make(chan struct{})
	defer close(stall)
	for name, c := range map[string]struct {
		answer func(c net.Conn)
		status int
	}{
		"closes at once":        {func(net.Conn) {}, 502},
		"speaks nonsense":       {func(c net.Conn) { fmt.Fprint(c, "220 smtp ready\r\n\r\n") }, 502},
		"cuts the head":         {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Le") }, 502},
		"bad length":            {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n") }, 502},
		"has no end of a head":  {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\n"+strings.Repeat("A: b\r\n", 60_000)) }, 502},
		"says nothing":          {func(net.Conn) { <-stall }, 504},
		"is slower than it may": {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n"); <-stall }, 504},
	} {
		t.Run(name, func(t *testing.T) {
			plan := plain(rawOrigin(t, c.answer))
			if c.status == http.StatusGatewayTimeout {
				plan.Upstreams[0].How.AnswerTimeout = 100 * time.Millisecond
				plan.Rules.Routes[0].Timeout = 300 * time.Millisecond
			}
			r := serve(t, Config{}, plan, Deps{})
			res, body := ask(t, client(t), "http://"+r.addr+"/")
			if res.StatusCode != c.status || res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, fmt.Sprint(c.status)) {
				t.Errorf("%d %s", res.StatusCode, body)
			}
			eventually(t, "nothing in flight", func() bool { return r.flight.InFlight() == 0 })
		})
	}
	t.Run("refuses conns", func(t *testing.T) {
		r := serve(t, Config{}, plain(nobody(t)), Deps{})
		if res, _ := ask(t, client(t), "http://"+r.addr+"/"); res.StatusCode != 502 {
			t.Error(res.Status)
		}
	})
}

func TestAnAnswerThatIsCutIsNotTakenForWhole(t *testing.T) {
	stall := make(chan struct{})
	defer close(stall)
	for name, answer := range map[string]func(c net.Conn){
		"by length": func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc") },
		"in chunks": func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n") },
		"a wrong chunk": func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
		},
		"by a stall": func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"); <-stall },
	} {
		t.Run(name, func(t *testing.T) {
			plan := plain(rawOrigin(t, answer))
			plan.Rules.Routes[0].IdleTimeout = 200 * time.Millisecond
			r := serve(t, Config{}, plan, Deps{})
			if res, err := client(t).Get("http://" + r.addr + "/"); err == nil {
				b, err := io.ReadAll(res.Body)
				if _ = res.Body.Close(); err == nil || string(b) != "abc" {
					t.Errorf("%q, %v", b, err)
				}
			}
			eventually(t, "nothing in flight", func() bool { return r.flight.InFlight() == 0 })
			status := (*r.pools.Load())["u"].Status(time.Now())[0]
			if n := status.Outcomes[upstream.Broken] + status.Outcomes[upstream.TimedOut]; n != 1 || status.InFlight != 0 {
				t.Errorf("%+v", status)
			}
		})
	}
}

func TestWhatMayBeTriedAgainIs(t *testing.T) {
	var served atomic.Int64
	good := origin(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		_, _ = io.Copy(w, r.Body)
	})
	for name, c := range map[string]struct {
		bad          string
		get, post    int
		postWithBody int
	}{
		"nobody listens":  {nobody(t), 200, 200, 200},
		"closes at once":  {rawOrigin(t, func(net.Conn) {}), 200, 502, 502},
		"is a bad server": {rawOrigin(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") }), 200, 503, 503},
		"is overloaded":   {rawOrigin(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 500 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") }), 500, 500, 500},
	} {
		t.Run(name, func(t *testing.T) {
			plan := plain(c.bad, good.URL)
			plan.Upstreams[0].Pool.Ejection.ConsecutiveGateway = -1
			plan.Upstreams[0].Pool.Balance = upstream.RoundRobin
			plan.Upstreams[0].Pool.Retries.MinPerSecond = 1000
			r := serve(t, Config{}, plan, Deps{})
			cl := client(t)
			for _, m := range []struct {
				method, body string
				want         int
			}{{"GET", "", c.get}, {"POST", "", c.post}, {"POST", "x", c.postWithBody}} {
				worst := 0
				for range 4 { // both servers have their turn
					req, err := http.NewRequest(m.method, "http://"+r.addr+"/", strings.NewReader(m.body))
					if err != nil {
						t.Fatal(err)
					}
					res, _ := do(t, cl, req)
					worst = max(worst, res.StatusCode)
				}
				if worst != m.want {
					t.Errorf("%s %q: %d, want %d", m.method, m.body, worst, m.want)
				}
			}
		})
	}
	if served.Load() == 0 {
		t.Error("the good one had none")
	}
}

func TestAServerThatFailsIsEjected(t *testing.T) {
	good := origin(t, func(http.ResponseWriter, *http.Request) {})
	plan := plain(nobody(t), good.URL)
	plan.Upstreams[0].Pool.Ejection = upstream.Ejection{ConsecutiveGateway: 3, MaxPercent: 50}
	r := serve(t, Config{}, plan, Deps{})
	c := client(t)
	for range 30 {
		if res, _ := ask(t, c, "http://"+r.addr+"/"); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
	}
	shown := r.Show()
	if s := shown.Upstream[0].Servers[0]; s.State != "ejected" {
		t.Errorf("%+v", shown)
	}
}

func TestAClientThatGoesEndsItsRequest(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begin")
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
		close(ended)
	})
	r := serve(t, Config{}, plain(up.URL), Deps{})
	c, _ := r.dial(t)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the upstream does not hear of it")
	}
	eventually(t, "nothing in flight", func() bool { return r.flight.InFlight() == 0 })
	if s := (*r.pools.Load())["u"].Status(time.Now())[0]; s.Outcomes[upstream.Canceled] != 1 {
		t.Errorf("%+v", s.Outcomes)
	}
}

func TestSlowClientsAreNotWaitedForLong(t *testing.T) {
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	plan := plain(up.URL)
	plan.Rules.Routes[0].IdleTimeout = 200 * time.Millisecond
	r := serve(t, Config{HeadTimeout: 200 * time.Millisecond}, plan, Deps{})
	t.Run("a head byte by byte", func(t *testing.T) {
		c, in := r.dial(t)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n")
		if b, err := in.ReadByte(); err != io.EOF {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("nothing at all", func(t *testing.T) {
		_, in := r.dial(t)
		if b, err := in.ReadByte(); err != io.EOF {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("a body that stands still", func(t *testing.T) {
		c, in := r.dial(t)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 400 {
			t.Fatalf("%v, %v", res, err)
		}
		_ = res.Body.Close()
	})
	eventually(t, "nothing is held", func() bool { return r.Conns() == 0 && r.flight.InFlight() == 0 })
}

func TestAMalformedBodyIsRefused(t *testing.T) {
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	r := serve(t, Config{}, plain(up.URL), Deps{})
	for _, body := range []string{"zz\r\n", "3\nabc\n0\n\n", "3\r\nabcd\r\n", "-1\r\n", "ffffffffffffffffff\r\n"} {
		res := r.raw(t, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+body, "POST")
		if res.StatusCode != 400 || !res.Close {
			t.Errorf("%q: %d, close %v", body, res.StatusCode, res.Close)
		}
	}
}
