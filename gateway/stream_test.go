package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/gateway/way"
	"weir/internal/testcert"
)

func TestAnUpgradeIsPassedOn(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(400)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ")
		_, _ = io.Copy(c, rw)
	})
	r := serve(t, Config{}, plain(up.URL), Deps{})
	c, in := r.dial(t)
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" {
		t.Fatal(res, err)
	}
	if n := r.flight.InFlight(); n != 1 {
		t.Errorf("%d in flight", n)
	}
	// What follows is no HTTP, and nobody looks at it.
	for _, text := range []string{"GET / HTTP/1.1\n\n", "\x00\x01\x02", strings.Repeat("x", 100_000)} {
		go func() { _, _ = io.WriteString(c, text) }()
		want := text
		if text[0] == 'G' {
			want = "hello " + text
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(in, got); err != nil || string(got) != want {
			t.Fatalf("%.40q, %v", got, err)
		}
	}
	_ = c.Close()
	eventually(t, "nothing in flight", func() bool { return r.flight.InFlight() == 0 })
}

func TestAnUpgradeThatStandsStillIsClosed(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	plan := plain(up.URL)
	plan.Rules.Routes[0].IdleTimeout = 100 * time.Millisecond
	r := serve(t, Config{}, plan, Deps{})
	res := r.raw(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET")
	if res.StatusCode != 101 {
		t.Fatal(res.Status)
	}
	eventually(t, "nothing in flight", func() bool { return r.flight.InFlight() == 0 && r.Conns() == 0 })
}

func TestEventsArePassedOnAsTheyCome(t *testing.T) {
	next := make(chan string)
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for text := range next {
			fmt.Fprint(w, text)
			w.(http.Flusher).Flush()
		}
	})
	plan := plain(up.URL)
	plan.Rules.Routes[0].Timeout = 100 * time.Millisecond // of the head alone
	r := serve(t, Config{}, plan, Deps{})
	go func() { next <- "data: 0\n\n" }()
	res, err := client(t).Get("http://" + r.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	in := bufio.NewReader(res.Body)
	for i := range 5 {
		if i > 0 {
			next <- fmt.Sprintf("data: %d\n\n", i)
		}
		line, err := in.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// h2c is an upstream, or a client, of HTTP/2 without TLS.
func h2c() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

func TestHTTP2IsSpokenBothWaysWithTrailers(t *testing.T) {
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As gRPC does: an answer before the request's end, and its status in trailers.
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			t.Errorf("%s, TE %q", r.Proto, r.Header.Get("Te"))
		}
		b := make([]byte, 4)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set("Grpc-Status", "0")
	}))
	up.Config.Protocols = h2c()
	up.Start()
	defer up.Close()
	plan := plain(up.URL)
	plan.Upstreams[0].How.Protocol = way.HTTP2
	r := serve(t, Config{}, plan, Deps{})
	c := &http.Client{Transport: &http.Transport{Protocols: h2c()}, Timeout: patience}
	defer c.CloseIdleConnections()
	pr, pw := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, "http://"+r.addr+"/svc/Method", pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Te", "trailers")
	go func() { fmt.Fprint(pw, "ping") }()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got := make([]byte, 4)
	for i := range 3 {
		if i > 0 {
			fmt.Fprint(pw, "ping")
		}
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != "ping" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	_ = pw.Close()
	if _, err := io.ReadAll(res.Body); err != nil || res.Trailer.Get("Grpc-Status") != "0" || res.ProtoMajor != 2 {
		t.Errorf("%s, trailers %v, %v", res.Proto, res.Trailer, err)
	}
}

func TestTLSIsSpokenInBothVersionsOfHTTP(t *testing.T) {
	proto := make(chan string, 1)
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) { proto <- r.Header.Get("X-Forwarded-Proto") })
	cert := testcert.New(t, "gateway.test")
	r := serve(t, Config{Listen: Off, TLSListen: "127.0.0.1:0", TLSCertificates: []string{cert.Pair()}}, plain(up.URL), Deps{})
	trusting := func() *tls.Config {
		c := cert.Client()
		c.ServerName = "gateway.test"
		return c
	}
	for _, h2 := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: trusting(), ForceAttemptHTTP2: h2}
		res, _ := ask(t, &http.Client{Transport: tr, Timeout: patience}, "https://"+r.TLSAddr().String()+"/")
		tr.CloseIdleConnections()
		if res.StatusCode != 200 || (res.ProtoMajor == 2) != h2 || <-proto != "https" {
			t.Errorf("h2 %v: %s %s", h2, res.Proto, res.Status)
		}
	}
	// Over TLS as well nothing is let through that could be read in two ways.
	c, err := tls.Dial("tcp", r.TLSAddr().String(), trusting())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 400 {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
}

func TestAPROXYHeaderNamesTheClient(t *testing.T) {
	from := make(chan string, 1)
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) { from <- r.Header.Get("X-Forwarded-For") })
	r := serve(t, Config{ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, plain(up.URL), Deps{})
	res := r.raw(t, "PROXY TCP4 192.0.2.9 127.0.0.1 1234 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET")
	if res.StatusCode != 200 || <-from != "192.0.2.9" {
		t.Error(res.Status)
	}
	c, in := r.dial(t)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if b, err := in.ReadByte(); err == nil {
		t.Errorf("without one: %q", b)
	}
}

func TestConnsAreBounded(t *testing.T) {
	up := origin(t, func(http.ResponseWriter, *http.Request) {})
	r := serve(t, Config{MaxConns: 2, MaxConnsPerPrefix: 10}, plain(up.URL), Deps{})
	c1, _ := r.dial(t)
	r.dial(t)
	eventually(t, "two are held", func() bool { return r.Conns() == 2 })
	_, in := r.dial(t)
	if b, err := in.ReadByte(); err == nil {
		t.Errorf("a third: %q", b)
	}
	_ = c1.Close()
	eventually(t, "one is held", func() bool { return r.Conns() == 1 })
	if res := r.raw(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET"); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

func TestAtItsEndItAnswersWhatItHas(t *testing.T) {
	begun, may := make(chan struct{}), make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-may
		fmt.Fprint(w, "done")
	})
	r := serve(t, Config{DrainTimeout: patience}, plain(up.URL), Deps{})
	c, in := r.dial(t)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	eventually(t, "no conn is accepted", func() bool {
		d := net.Dialer{Timeout: time.Second}
		c, err := d.DialContext(context.Background(), "tcp", r.addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(may)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); string(b) != "done" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	<-stopped
}

// TestInterimAnswersAreTheHops has an upstream send many, all at once and with the begin of its answer.
func TestInterimAnswersAreTheHops(t *testing.T) {
	const many = 2000
	up := rawOrigin(t, func(c net.Conn) {
		fmt.Fprint(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", many)+"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	})
	r := serve(t, Config{}, plain(up), Deps{})
	c, in := r.dial(t)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for range many + 1 {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == 103 { // net/http sends them on
			continue
		}
		body, err := io.ReadAll(res.Body)
		if res.StatusCode != 200 || string(body) != "hello" || err != nil {
			t.Errorf("%d %q, %v", res.StatusCode, body, err)
		}
		return
	}
	t.Error("there is no answer")
}
