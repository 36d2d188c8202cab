package loop

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/broker"
	"weir/internal/testtoken"
	"weir/token"
)

func TestSubscriberGetsPayloadsAsFrames(t *testing.T) {
	r := start(t, Config{})
	a, b := r.open("/ws/ticks.EURUSD"), r.open("/ws?topic=other&topic=ticks.EURUSD")
	r.publish("ticks.EURUSD", `{"bid":1}`)
	r.publish("ticks.EURUSD", "\xff\x00")
	r.publish("other", "x")
	a.wantFrame(1, `{"bid":1}`)
	a.wantFrame(2, "\xff\x00")
	b.wantFrame(1, `{"bid":1}`)
	b.wantFrame(2, "\xff\x00")
	b.wantFrame(1, "x")
}

func TestEnvelopeTellsPlaceAndPosition(t *testing.T) {
	r := start(t, Config{})
	c := r.open("/ws/a?format=json")
	c.wantFrame(1, `{"topic":"a","epoch":"abc","offset":0,"subscribed":true}`)
	r.publish("a", `{"n":1}`)
	r.publish("a", "plain")
	r.publish("a", "\xff")
	c.wantFrame(1, `{"topic":"a","epoch":"abc","offset":1,"data":{"n":1}}`)
	c.wantFrame(1, `{"topic":"a","epoch":"abc","offset":2,"text":"plain"}`)
	c.wantFrame(1, `{"topic":"a","epoch":"abc","offset":3,"b64":"/w=="}`)
}

func TestResumeSaysWhetherItWorked(t *testing.T) {
	r := start(t, Config{Loops: 1}) // the ring of one loop
	live := r.open("/ws/a")
	r.publish("a", "1")
	r.publish("a", "2")
	live.wantFrame(1, "1")
	live.wantFrame(1, "2")
	c := r.open("/ws/a?since=abc:1")
	c.wantFrame(1, `{"topic":"a","epoch":"abc","offset":1,"subscribed":true,"recovered":true}`)
	c.wantFrame(1, "2")
	c = r.open("/ws/a?since=dead:1")
	c.wantFrame(1, `{"topic":"a","epoch":"abc","offset":2,"subscribed":true,"recovered":false}`)
	r.publish("a", "3")
	c.wantFrame(1, "3")
}

func TestStreamHasIdsToResumeFrom(t *testing.T) {
	r := start(t, Config{Loops: 1}) // the ring of one loop
	read := func(c *client, want string) {
		t.Helper()
		b := make([]byte, len(want))
		for n := 0; n < len(b); {
			m, err := c.r.Read(b[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		if string(b) != want {
			t.Fatalf("got %q, want %q", b, want)
		}
	}
	c := r.dial()
	c.send("GET /sse/a HTTP/1.1\r\nHost: x\r\nOrigin: https://example.com\r\n\r\n")
	res, _ := c.head()
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") || res.Header.Get("Access-Control-Allow-Origin") != "https://example.com" {
		t.Fatalf("%v", res)
	}
	c.r.Discard(0) //nolint:errcheck // nothing to discard
	read(c, "id: abc:0\nevent: subscribed\ndata: {\"topic\":\"a\",\"epoch\":\"abc\",\"offset\":0,\"subscribed\":true}\n\n")
	r.publish("a", "one\r\ntwo")
	read(c, "id: abc:1\ndata: one\ndata: two\n\n")
	again := r.dial()
	again.send("GET /sse/a?since=abc:99 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: abc:0\r\n\r\n")
	again.head()
	read(again, "id: abc:0\nevent: subscribed\ndata: {\"topic\":\"a\",\"epoch\":\"abc\",\"offset\":0,\"subscribed\":true,\"recovered\":true}\n\nid: abc:1\ndata: one\ndata: two\n\n")
}

func TestHandshakeCutAnywhereWorks(t *testing.T) {
	r := start(t, Config{Echo: true})
	whole := upgrade("/echo") + masked(0x81, "hello") + masked(0x89, "p")
	for cut := 1; cut < len(whole); cut++ {
		c := r.dial()
		c.send(whole[:cut])
		<-time.After(time.Millisecond) // lets the part arrive by itself; either way must work
		c.send(whole[cut:])
		if res, body := c.head(); res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("cut at %d: %s %s", cut, res.Status, body)
		}
		c.wantFrame(1, "hello")
		c.wantFrame(10, "p")
	}
}

func TestEchoKeepsFragmentsTogether(t *testing.T) {
	r := start(t, Config{Echo: true})
	c := r.open("/echo")
	c.send(masked(0x01, "he") + masked(0x89, "ping") + masked(0x00, "ll") + masked(0x80, "o"))
	c.wantFrame(10, "ping")
	c.wantFrame(1, "hello")
	long := strings.Repeat("x", 60000)
	c.send(masked(0x82, long))
	c.wantFrame(2, long)
	c.send(masked(0x88, "\x03\xe8bye"))
	c.wantClose(1000)
	r.wantClosed(ReasonClientClosed, 1)
}

// TestEveryCloseReasonIsProduced has a row for each reason; a reason without one fails it.
func TestEveryCloseReasonIsProduced(t *testing.T) {
	produced := map[CloseReason]bool{}
	k := testtoken.New(t, "a")
	unfetched, err := token.New(token.Config{Source: noKeys{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		reason CloseReason
		cfg    Config
		do     func(r *rig)
	}{
		{ReasonClientClosed, Config{}, func(r *rig) {
			c := r.open("/ws/a")
			c.send(masked(0x88, ""))
			c.wantClose(1000)
		}},
		{ReasonPeerGone, Config{}, func(r *rig) { _ = r.open("/ws/a").Close() }},
		{ReasonResponded, Config{}, func(r *rig) { r.wantStatus("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, "no such path") }},
		{ReasonBadRequest, Config{}, func(r *rig) { r.wantStatus("BOO\r\n\r\n", 400, "request line") }},
		{ReasonHandshakeTimeout, Config{HandshakeTimeout: 100 * time.Millisecond}, func(r *rig) { r.wantStatus("GET /ws/a HT", 408, "in time") }},
		{ReasonRefusedFull, Config{MaxConns: 1}, func(r *rig) {
			first := r.open("/ws/a")
			r.wantStatus(upgrade("/ws/a"), 503, "try again later")
			r.publish("a", "still here")
			first.wantFrame(1, "still here")
		}},
		{ReasonRefusedOrigin, Config{AllowedOrigins: []string{"https://a.example"}}, func(r *rig) {
			r.open("/ws/a", "Origin: https://a.example\r\n")
			r.wantStatus(upgrade("/ws/a", "Origin: https://b.example\r\n"), 403, "allowed_origins")
		}},
		{ReasonSubscribeFailed, Config{}, func(r *rig) {
			r.src.mu.Lock()
			r.src.fail = broker.ErrUnavailable
			r.src.mu.Unlock()
			r.wantStatus(upgrade("/ws/a"), 503, "bus unavailable")
		}},
		{ReasonProtocolError, Config{}, func(r *rig) {
			c := r.open("/ws/a")
			c.send("\x81\x01x")
			if text := c.wantClose(1002); !strings.Contains(text, "mask") {
				t.Errorf("reason %q", text)
			}
		}},
		{ReasonTooLarge, Config{Echo: true}, func(r *rig) {
			c := r.open("/echo")
			c.send("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04") // 2^63-1 bytes
			c.wantClose(1009)
		}},
		{ReasonInvalidUTF8, Config{Echo: true}, func(r *rig) {
			c := r.open("/echo")
			c.send(masked(0x81, "\xff"))
			c.wantClose(1007)
		}},
		{ReasonNotAllowed, Config{}, func(r *rig) {
			c := r.open("/ws/a")
			c.send(masked(0x81, "let me publish"))
			if text := c.wantClose(1008); !strings.Contains(text, "/api/publish") {
				t.Errorf("reason %q", text)
			}
		}},
		{ReasonPongTimeout, Config{PingInterval: time.Second, PongTimeout: 100 * time.Millisecond}, func(r *rig) {
			c := r.open("/ws/a")
			c.wantFrame(9, "")
			c.wantClose(1001)
		}},
		{ReasonSlowConsumer, Config{PingInterval: 3 * time.Second, PongTimeout: 100 * time.Millisecond}, func(r *rig) {
			r.open("/ws/a") // and does not read
			r.fill(oneKey, r.open("/ws/a"))
		}},
		{ReasonDraining, Config{}, func(r *rig) {
			c := r.open("/ws/a")
			r.stop()
			c.wantClose(1012)
		}},
		{ReasonRefusedPrefix, Config{MaxConnsPerPrefix: 1}, func(r *rig) {
			r.open("/ws/a")
			r.wantStatus(upgrade("/ws/a"), 429, "all the connections")
		}},
		{ReasonRefusedPrefixRate, Config{AcceptRatePerPrefix: perHour}, func(r *rig) {
			r.open("/ws/a")
			r.wantStatus(upgrade("/ws/a"), 429, "faster than it may")
		}},
		{ReasonRefusedRate, Config{AcceptRate: perHour}, func(r *rig) {
			r.open("/ws/a")
			r.wantStatus(upgrade("/ws/a"), 503, "no more connections")
		}},
		{ReasonBadProxyHeader, Config{ProxyProtocol: loopback}, func(r *rig) {
			c := r.dial()
			c.send(upgrade("/ws/a"))
			c.wantEnd()
		}},
		{ReasonHandedOver, Config{Takeover: filepath.Join(t.TempDir(), "takeover.sock")}, func(r *rig) {
			c := r.open("/ws/a")
			next := r.successor(Config{})
			next.publish("a", "still here")
			c.wantFrame(1, "still here")
		}},
		{ReasonTLSError, secured(t, Config{}), func(r *rig) {
			c := r.dialTLSPort()
			c.send("GET / HTTP/1.1\r\n\r\n")
			_, _ = io.ReadAll(c)
		}},
		{ReasonUnauthorized, Config{Tokens: tokens(t, k)}, func(r *rig) { r.wantStatus(upgrade("/ws/a"), 401, "a token is needed") }},
		{ReasonForbidden, Config{Tokens: tokens(t, k)}, func(r *rig) {
			r.wantStatus(upgrade("/ws/a", bearer(k.For(t, "alice", inAnHour(), "b"))), 403, "does not allow")
		}},
		{ReasonNoTokenKeys, Config{Tokens: unfetched}, func(r *rig) {
			r.wantStatus(upgrade("/ws/a", bearer(k.For(t, "alice", inAnHour()))), 503, "not there yet")
		}},
		{ReasonRefusedChecks, Config{Tokens: tokens(t, k)}, func(r *rig) {
			release := r.slowly()
			for range maxChecks {
				r.srv.checks.queue <- func() {}
			}
			request := upgrade("/ws/a", bearer(k.For(t, "alice", inAnHour())))
			r.wantStatus(request, 503, "wait to be checked")
			release()
			r.idle()
			r.open("/ws/a", bearer(k.For(t, "alice", inAnHour())))
		}},
		{ReasonRefusedIdentity, Config{Tokens: tokens(t, k), MaxConnsPerIdentity: 1}, func(r *rig) {
			r.open("/ws/a", bearer(k.For(t, "alice", inAnHour())))
			r.wantStatus(upgrade("/ws/a", bearer(k.For(t, "alice", inAnHour()))), 429, "subject holds all")
		}},
		{ReasonTokenExpired, Config{Tokens: tokens(t, k)}, func(r *rig) {
			c := r.open("/ws/a", bearer(k.For(t, "alice", time.Now().Add(-3*time.Second)))) // within the leeway, 5 s
			if text := c.wantClose(closeTokenExpired); !strings.Contains(text, "connect again with a new one") {
				t.Errorf("reason %q", text)
			}
		}},
	} {
		produced[tt.reason] = true
		t.Run(tt.reason.String(), func(t *testing.T) {
			r := start(t, tt.cfg)
			tt.do(r)
			r.wantClosed(tt.reason, 1)
		})
	}
	for _, reason := range Reasons() {
		if !produced[reason] {
			t.Errorf("no row produces %v", reason)
		}
		if strings.ContainsAny(reason.String(), " ?") || reason.String() == "" {
			t.Errorf("reason %d has no name", reason)
		}
	}
}

// wantStatus sends a request and wants an HTTP error with the text in its body.
func (r *rig) wantStatus(request string, status int, text string) {
	r.t.Helper()
	c := r.dial()
	c.send(request)
	res, body := c.head()
	if res.StatusCode != status || !strings.Contains(body, text) {
		r.t.Fatalf("got %s %q, want %d with %q", res.Status, body, status, text)
	}
	c.wantEnd()
}

func TestBadRequestsGetAnAnswerThatSaysWhatToDo(t *testing.T) {
	r := start(t, Config{})
	for _, tt := range []struct {
		name, request string
		status        int
		text          string
	}{
		{"100 KB of headers", "GET /ws/a HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", 431, "too large"},
		{"no upgrade", "GET /ws/a HTTP/1.1\r\nHost: x\r\n\r\n", 426, "Upgrade: websocket"},
		{"an old version", strings.Replace(upgrade("/ws/a"), "Version: 13", "Version: 8", 1), 426, "13"},
		{"a short key", strings.Replace(upgrade("/ws/a"), "dGhlIHNhbXBsZSBub25jZQ==", "abc", 1), 400, "Sec-WebSocket-Key"},
		{"a POST", "POST /ws/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, "/api/publish"},
		{"no topic", upgrade("/ws"), 400, "no topic"},
		{"an empty topic", upgrade("/ws/"), 400, "bad topic"},
		{"a wildcard that is no token", upgrade("/ws/a.b%2A"), 400, "put a dot before and after"},
		{"a wildcard that something follows", upgrade("/sse/a.>.b"), 400, "nothing may come after"},
		{"a topic twice", upgrade("/ws/a?topic=a"), 400, "twice"},
		{"a bad escape", upgrade("/ws/a%zz"), 400, "percent escape"},
		{"Connection on two lines", strings.Replace(upgrade("/ws/a"), "keep-alive, Upgrade", "keep-alive\r\nConnection: Upgrade", 1), 101, ""},
		{"a bad position", upgrade("/ws/a?since=5"), 400, "epoch:offset"},
		{"positions that do not match the topics", upgrade("/ws?topic=a&topic=b&since=abc:1"), 400, "one for each"},
		{"a format that is not known", upgrade("/ws/a?format=xml"), 400, "raw or json"},
		{"echo when it is off", upgrade("/echo"), 404, "--echo"},
		{"HTTP/1.0", "GET /ws/a HTTP/1.0\r\nHost: x\r\n\r\n", 505, "HTTP/1.1"},
		{"no host", "GET /ws/a HTTP/1.1\r\n\r\n", 400, "Host"},
		{"a body", "GET /sse/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 400, "no body"},
		{"pipelined junk", "GET /x HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("junk\r\n", 1000), 404, "no such path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.dial()
			c.send(tt.request)
			res, body := c.head()
			if res.StatusCode != tt.status || !strings.Contains(body, tt.text) {
				t.Fatalf("got %s %q, want %d with %q", res.Status, body, tt.status, tt.text)
			}
		})
	}
}

func TestPortInUseIsSaid(t *testing.T) {
	r := start(t, Config{})
	second, err := New(Config{Listen: r.srv.Addr().String()}, r.hub, r.srv.log)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Run(t.Context())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "stop what uses it") {
		t.Fatalf("got %v", err)
	}
}

func TestFloodOfPingsIsAnsweredWithoutAWriteEach(t *testing.T) {
	r := start(t, Config{})
	c := r.open("/ws/a")
	var b strings.Builder
	for i := range 1000 {
		b.WriteString(masked(0x89, fmt.Sprint(i)))
	}
	c.send(b.String())
	pongs := 0
	for {
		op, p := c.frame()
		if op != 10 {
			t.Fatalf("opcode %d", op)
		}
		if pongs++; p == "999" {
			break
		}
	}
	if pongs > 100 {
		t.Errorf("%d pongs for 1000 pings that came together", pongs)
	}
}

func TestManySubscribersGetEveryEventOnceAndInOrder(t *testing.T) {
	r := start(t, Config{})
	conns := make([]*client, 600)
	for i := range conns {
		conns[i] = r.open("/ws/a")
	}
	const events = 50
	for i := range events {
		r.publish("a", fmt.Sprint("event ", i))
	}
	for _, c := range conns {
		for i := range events {
			c.wantFrame(1, fmt.Sprint("event ", i))
		}
	}
	if got := r.srv.Stats(); got.Deliveries != events*600 || got.Writes >= got.Deliveries || got.Latency.Count() != got.Deliveries {
		t.Errorf("stats %d deliveries in %d writes, %d observed", got.Deliveries, got.Writes, got.Latency.Count())
	}
}
