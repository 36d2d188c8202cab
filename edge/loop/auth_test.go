package loop

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/broker"
	"weir/edge/hub"
	"weir/internal/testlog"
	"weir/internal/testtoken"
	"weir/token"
)

// tokens checks those of a key, and lets clocks differ by 5 s.
func tokens(tb testing.TB, k *testtoken.Key) *token.Verifier {
	tb.Helper()
	key, err := token.ParseKey(k.ID, "EdDSA", k.PEM(tb))
	if err != nil {
		tb.Fatal(err)
	}
	v, err := token.New(token.Config{Keys: []token.Key{key}})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// noKeys is a source that has not got its set.
type noKeys struct{}

func (noKeys) KeySet() *token.KeySet { return nil }
func (noKeys) Missed()               {}

// inAnHour is when tokens of tests end that are not to.
func inAnHour() time.Time { return time.Now().Add(time.Hour) }

func bearer(text string) string { return "Authorization: Bearer " + text + "\r\n" }

func protocols(names ...string) string {
	return "Sec-WebSocket-Protocol: " + strings.Join(names, ", ") + "\r\n"
}

// TestWhoIsLetIn is each way to bring a token, and what each client is told that is not let in.
func TestWhoIsLetIn(t *testing.T) {
	k, other := testtoken.New(t, "a"), testtoken.New(t, "a")
	v := tokens(t, k)
	unfetched, err := token.New(token.Config{Source: noKeys{}})
	if err != nil {
		t.Fatal(err)
	}
	alice, news := k.For(t, "alice", inAnHour()), k.For(t, "alice", inAnHour(), "news.*", "chat.alice")
	nothing := k.Sign(t, map[string]any{"sub": "alice", "exp": inAnHour().Unix(), "topics": map[string]any{"subscribe": []string{}}})
	expired, forged := k.For(t, "alice", time.Now().Add(-time.Minute)), other.For(t, "alice", inAnHour())
	early := k.Sign(t, map[string]any{"sub": "alice", "exp": inAnHour().Unix(), "nbf": inAnHour().Unix()})
	open, closed, unready := &Config{}, &Config{Tokens: v, Echo: true}, &Config{Tokens: unfetched}
	mixed := &Config{Tokens: v, Anonymous: AnonymousOn, AnonymousTopics: []broker.Pattern{"open.>"}}
	some, none := &Config{AnonymousTopics: []broker.Pattern{"open.>"}}, &Config{AnonymousTopics: []broker.Pattern{}}
	page := &Config{Tokens: v, AllowedOrigins: []string{"https://a.example"}}
	rigs := map[*Config]*rig{}
	const invalid = `Bearer realm="weir", error="invalid_token", error_description="`
	for _, tt := range []struct {
		name    string
		cfg     *Config
		request string
		status  int
		text    string
		asks    string // WWW-Authenticate
	}{
		{"Authorization", closed, upgrade("/ws/a", bearer(alice)), 101, "", ""},
		{"Authorization in small letters", closed, upgrade("/ws/a", "authorization: bearer  "+alice+"\r\n"), 101, "", ""},
		{"a subprotocol", closed, upgrade("/ws/a", protocols("weir", "weir.token."+alice)), 101, "weir", ""},
		{"a subprotocol, in two fields", closed, upgrade("/ws/a", protocols("weir.token."+alice), protocols("other", "weir")), 101, "weir", ""},
		{"the query", closed, upgrade("/ws/a?token=" + alice), 101, "", ""},
		{"the query, escaped", closed, upgrade("/ws/a?token=" + strings.ReplaceAll(alice, ".", "%2E")), 101, "", ""},
		{"all three alike", closed, upgrade("/ws/a?token="+alice, bearer(alice), protocols("weir", "weir.token."+alice)), 101, "weir", ""},
		{"a stream, Authorization", closed, "GET /sse/a HTTP/1.1\r\nHost: x\r\n" + bearer(alice) + "\r\n", 200, "", ""},
		{"a stream, the query", closed, "GET /sse/a?token=" + alice + " HTTP/1.1\r\nHost: x\r\n\r\n", 200, "", ""},
		{"echo", closed, upgrade("/echo?token=" + alice), 101, "", ""},

		{"no token", closed, upgrade("/ws/a"), 401, "a token is needed", `Bearer realm="weir"`},
		{"no token, a stream", closed, "GET /sse/a HTTP/1.1\r\nHost: x\r\n\r\n", 401, "a token is needed", `Bearer realm="weir"`},
		{"no token, echo", closed, upgrade("/echo"), 401, "a token is needed", `Bearer realm="weir"`},
		{"empty ones", closed, upgrade("/ws/a?token=", bearer(""), protocols("weir", "weir.token.")), 401, "a token is needed", ""},
		{"a password", closed, upgrade("/ws/a", "Authorization: Basic YTpi\r\n"), 401, "a token is needed", ""},
		{"the subprotocol on a stream", closed, "GET /sse/a HTTP/1.1\r\nHost: x\r\n" + protocols("weir", "weir.token."+alice) + "\r\n", 401, "a token is needed", ""},
		{"forged", closed, upgrade("/ws/a", bearer(forged)), 401, "not signed by a key that is known", invalid + "the token is not signed by a key that is known here\""},
		{"expired", closed, upgrade("/ws/a", bearer(expired)), 401, "has expired: connect with a new one", invalid + "the token has expired\""},
		{"not begun", closed, upgrade("/ws/a", bearer(early)), 401, "not valid yet", invalid + "the token is not valid yet\""},
		{"no token at all", closed, upgrade("/ws/a", bearer("hunter2")), 401, "cannot be read", invalid + "the token cannot be read\""},
		{"forged, on a door that needs none", mixed, upgrade("/ws/open.a", bearer(forged)), 401, "not signed", invalid},
		{"two that differ", closed, upgrade("/ws/a?token="+news, bearer(alice)), 400, "several tokens that differ", ""},
		{"two that differ, in the query", closed, upgrade("/ws/a?token=" + news + "&token=" + alice), 400, "several tokens that differ", ""},
		{"two that differ, as subprotocols", closed, upgrade("/ws/a", protocols("weir", "weir.token."+alice, "weir.token."+news)), 400, "several tokens that differ", ""},
		{"a subprotocol alone", closed, upgrade("/ws/a", protocols("weir.token."+alice)), 400, "offer both", ""},
		{"Authorization twice", closed, upgrade("/ws/a", bearer(alice), bearer(alice)), 400, "came twice", ""},
		{"before there are keys", unready, upgrade("/ws/a", bearer(alice)), 503, "keys to check tokens with are not there", ""},

		{"a topic of the token", closed, upgrade("/ws/news.today", bearer(news)), 101, "", ""},
		{"topics of the token", closed, upgrade("/ws?topic=news.*&topic=chat.alice", bearer(news)), 101, "", ""},
		{"a topic of another", closed, upgrade("/ws/chat.bob", bearer(news)), 403, `to \"chat.bob\"`, `Bearer realm="weir", error="insufficient_scope"`},
		{"one of another among its own", closed, upgrade("/ws?topic=news.a&topic=chat.bob", bearer(news)), 403, "chat.bob", "Bearer"},
		{"a pattern that is wider", closed, upgrade("/ws/news.>", bearer(news)), 403, "to \\\"news.", "Bearer"},
		{"all, by a token of some", closed, upgrade("/ws/>", bearer(news)), 403, "subscribe to", "Bearer"},
		{"a stream of another's topic", closed, "GET /sse/chat.bob HTTP/1.1\r\nHost: x\r\n" + bearer(news) + "\r\n", 403, "chat.bob", "Bearer"},
		{"a token that allows nothing", closed, upgrade("/ws/a", bearer(nothing)), 403, "the token does not allow", "Bearer"},

		{"anonymous where there are no tokens", open, upgrade("/ws/a"), 101, "", ""},
		{"a token where there are none", open, upgrade("/ws/a?token=x", bearer("y"), protocols("weir", "weir.token.z")), 101, "weir", ""},
		{"anonymous, as configured", mixed, upgrade("/ws/open.a"), 101, "", ""},
		{"anonymous, another topic", mixed, upgrade("/ws/a"), 401, "a token is needed", `Bearer realm="weir"`},
		{"anonymous, a wider pattern", mixed, upgrade("/ws/>"), 401, "a token is needed", ""},
		{"anonymous, another topic, where no token helps", some, upgrade("/ws/a"), 403, "edge.anonymous_topics", ""},
		{"a token that says nothing of topics", mixed, upgrade("/ws/open.a", bearer(alice)), 101, "", ""},
		{"a token that says nothing of topics, another topic", mixed, upgrade("/ws/a", bearer(alice)), 403, "does not allow", "Bearer"},
		{"a token's topic, closed to anonymous clients", mixed, upgrade("/ws/news.a", bearer(news)), 101, "", ""},
		{"an open topic that the token does not name", mixed, upgrade("/ws/open.a", bearer(news)), 403, "does not allow", "Bearer"},
		{"no topic is open", none, upgrade("/ws/a"), 403, "edge.anonymous_topics", ""},

		{"another origin, with a good token", page, upgrade("/ws/a", bearer(alice), "Origin: https://b.example\r\n"), 403, "allowed_origins", ""},
		{"its origin, with a good token", page, upgrade("/ws/a", bearer(alice), "Origin: https://a.example\r\n"), 101, "", ""},
		{"its origin, without a token", page, upgrade("/ws/a", "Origin: https://a.example\r\n"), 401, "a token is needed", ""},
	} {
		r := rigs[tt.cfg]
		if r == nil {
			r = start(t, *tt.cfg)
			rigs[tt.cfg] = r
		}
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			c := r.dial()
			c.send(tt.request)
			res, body := c.head()
			if res.StatusCode == http.StatusSwitchingProtocols {
				body = res.Header.Get("Sec-WebSocket-Protocol")
			}
			asks := res.Header.Get("WWW-Authenticate")
			if res.StatusCode != tt.status || !strings.Contains(body, tt.text) || tt.status == 101 && body != tt.text || !strings.HasPrefix(asks, tt.asks) {
				t.Errorf("got %s %q, %q", res.Status, body, asks)
			}
			if strings.Contains(body+asks, "hunter2") || (asks != "") != (tt.status == 401 || tt.asks != "") {
				t.Errorf("it answers %q %q", body, asks)
			}
		})
	}
}

func TestEventsComeToWhoBroughtAToken(t *testing.T) {
	k := testtoken.New(t, "a")
	r := start(t, Config{Tokens: tokens(t, k), Anonymous: AnonymousOff})
	c := r.open("/ws/a?format=json", bearer(k.For(t, "alice", inAnHour())))
	r.publish("a", "1")
	c.wantFrame(1, `{"topic":"a","epoch":"abc","offset":0,"subscribed":true}`)
	c.wantFrame(1, `{"topic":"a","epoch":"abc","offset":1,"data":1}`)
}

// TestRequestCutAnywhereIsCheckedOnce, also with what comes behind it while its token is checked.
func TestRequestCutAnywhereIsCheckedOnce(t *testing.T) {
	k := testtoken.New(t, "a")
	r := start(t, Config{Tokens: tokens(t, k), Echo: true, MaxConnsPerIdentity: 100})
	whole := upgrade("/echo", bearer(k.For(t, "alice", inAnHour()))) + masked(0x81, "hello")
	for cut := 1; cut < len(whole); cut += 7 {
		c := r.dial()
		c.send(whole[:cut])
		<-time.After(100 * time.Microsecond) // lets the part arrive by itself; either way must work
		c.send(whole[cut:])
		if res, body := c.head(); res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("cut at %d: %s %s", cut, res.Status, body)
		}
		c.wantFrame(1, "hello")
		_ = c.Close()
	}
	for deadline := time.Now().Add(waitFor); r.srv.identities.Held() > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("places of identities are not given back")
		}
	}
}

// slowly holds up all checks until it is called.
func (r *rig) slowly() (release func()) {
	k := r.srv.checks
	k.running.Add(k.workers)
	return func() {
		k.running.Add(-k.workers)
		for range k.workers {
			k.start()
		}
	}
}

// idle waits until no token is checked.
func (r *rig) idle() {
	r.t.Helper()
	k := r.srv.checks
	for deadline := time.Now().Add(waitFor); len(k.queue) > 0 || k.running.Load() > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("tokens are checked still")
		}
	}
}

// turn waits until each loop has done what it was to do.
func (r *rig) turn() {
	r.t.Helper()
	done := make(chan struct{}, maxLoops)
	r.srv.each(func(*loop) { done <- struct{}{} })
	for range len(r.srv.allLoops()) {
		select {
		case <-done:
		case <-time.After(waitFor):
			r.t.Fatal("an event loop stands still")
		}
	}
}

func TestWhatBecomesOfAClientWhoseTokenIsBeingChecked(t *testing.T) {
	k := testtoken.New(t, "a")
	request := upgrade("/ws/a", bearer(k.For(t, "alice", inAnHour())))
	checking := func(t *testing.T, cfg Config) (*rig, *client, func()) {
		t.Helper()
		cfg.Tokens = tokens(t, k)
		r := start(t, cfg)
		release := r.slowly()
		c := r.dial()
		c.send(request)
		for deadline := time.Now().Add(waitFor); len(r.srv.checks.queue) == 0; <-time.After(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is to be checked")
			}
		}
		return r, c, sync.OnceFunc(release)
	}
	t.Run("it goes", func(t *testing.T) {
		r, c, release := checking(t, Config{MaxConnsPerIdentity: 1})
		_ = c.Close()
		r.wantClosed(ReasonPeerGone, 1)
		release()
		r.idle()
		r.turn()
		if got := r.srv.Stats(); got.Conns != 0 || got.Accepted != 0 || r.srv.identities.Held() != 0 {
			t.Errorf("%d conns, %d accepted, %d identities", got.Conns, got.Accepted, r.srv.identities.Held())
		}
		r.open("/ws/a", bearer(k.For(t, "alice", inAnHour())))
	})
	t.Run("it waits too long", func(t *testing.T) {
		r, c, release := checking(t, Config{HandshakeTimeout: 100 * time.Millisecond})
		if res, _ := c.head(); res.StatusCode != http.StatusRequestTimeout {
			t.Error(res.Status)
		}
		release()
		r.wantClosed(ReasonHandshakeTimeout, 1)
	})
	t.Run("it sends too much", func(t *testing.T) {
		r, c, release := checking(t, Config{MaxMessageBytes: 125, MaxHeadBytes: 512})
		c.send(strings.Repeat("x", 4096))
		if res, _ := c.head(); res.StatusCode != http.StatusBadRequest {
			t.Error(res.Status)
		}
		release()
		r.wantClosed(ReasonTooLarge, 1)
	})
	t.Run("the edge drains", func(t *testing.T) {
		r, c, release := checking(t, Config{})
		stopped := make(chan struct{})
		go func() { defer close(stopped); r.stop() }()
		if res, _ := c.head(); res.StatusCode != http.StatusServiceUnavailable {
			t.Error(res.Status)
		}
		release()
		<-stopped
	})
}

func TestIdentityLimitHoldsOverAllLoopsAndIsGivenBack(t *testing.T) {
	k := testtoken.New(t, "a")
	r := start(t, Config{Tokens: tokens(t, k), Loops: 4, MaxConnsPerIdentity: 2})
	alice, bob := bearer(k.For(t, "alice", inAnHour())), bearer(k.For(t, "bob", inAnHour()))
	first := r.open("/ws/a", alice)
	r.open("/ws/a", bearer(k.For(t, "alice", inAnHour().Add(time.Second)))) // another token of hers
	r.open("/ws/a", bob)
	c := r.dial()
	c.send(upgrade("/ws/a", alice))
	if res, body := c.head(); res.StatusCode != 429 || res.Header.Get("Retry-After") != "5" || !strings.Contains(body, "subject") {
		t.Errorf("%s %s", res.Status, body)
	}
	_ = first.Close()
	r.wantClosed(ReasonPeerGone, 1)
	r.open("/ws/a", alice)
}

// bindings notes what a Binder is told.
type bindings struct {
	mu  sync.Mutex
	all []string
	now map[[2]netip.AddrPort]string
}

func (b *bindings) Bind(local, remote netip.AddrPort, identity, class string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now == nil {
		b.now = map[[2]netip.AddrPort]string{}
	}
	b.now[[2]netip.AddrPort{local, remote}] = identity + " " + class
	b.all = append(b.all, "bind "+identity)
}

func (b *bindings) Unbind(local, remote netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := [2]netip.AddrPort{local, remote}
	b.all = append(b.all, "unbind "+strings.Fields(b.now[key] + " ?")[0])
	delete(b.now, key)
}

func (b *bindings) of(c *client) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now[[2]netip.AddrPort{addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())}]
}

func TestBinderIsToldWhichConnectionIsWhose(t *testing.T) {
	k := testtoken.New(t, "a")
	for name, cfg := range map[string]Config{"plain": {}, "every address": {Listen: ":0"}, "TLS": secured(t, Config{})} {
		t.Run(name, func(t *testing.T) {
			b := &bindings{}
			cfg.Tokens, cfg.Anonymous, cfg.Binder = tokens(t, k), AnonymousOn, b
			r := start(t, cfg)
			if cfg.TLSListen != "" {
				r.tls = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // a certificate of the test's
			}
			anonymous, alice := r.open("/ws/a"), r.open("/ws/a", bearer(k.For(t, "alice", inAnHour())))
			r.wantStatus(upgrade("/ws/b", bearer(k.For(t, "bob", inAnHour(), "a"))), 403, "not allow")
			if got := b.of(alice); got != "alice gold" || b.of(anonymous) != "" {
				t.Errorf("%q, %q of an anonymous one: %v", got, b.of(anonymous), b.now)
			}
			_ = alice.Close()
			r.wantClosed(ReasonPeerGone, 1)
			_ = anonymous.Close()
			r.wantClosed(ReasonPeerGone, 2)
			if got := strings.Join(b.all, ", "); got != "bind alice, unbind alice" {
				t.Error(got)
			}
		})
	}
}

func TestWhyFindsConnsByTheirSubject(t *testing.T) {
	k := testtoken.New(t, "a")
	r := start(t, Config{Tokens: tokens(t, k)})
	c := r.open("/ws/a", bearer(k.For(t, "alice", inAnHour())))
	r.open("/ws/a", bearer(k.For(t, "bob", inAnHour())))
	got := r.why("sub=alice", func(c ConnReport) bool { return c.State == "websocket" })
	if got.Identity != "alice" || got.Class != "gold" || got.Client.String() != c.LocalAddr().String() {
		t.Errorf("%+v", got)
	}
	_ = c.Close()
	if got = r.why("sub=alice", func(c ConnReport) bool { return c.State == "closed" }); got.Identity != "alice" {
		t.Errorf("%+v", got)
	}
	if all, err := r.srv.Why(t.Context(), "sub=carol"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := r.srv.Why(t.Context(), "sub="); err == nil {
		t.Error("nobody is somebody")
	}
}

// TestNoTokenIsLogged: whatever comes of it, and however much is logged.
func TestNoTokenIsLogged(t *testing.T) {
	k := testtoken.New(t, "a")
	var log testlog.Buffer
	r := &rig{t: t, src: &source{}}
	cfg := Config{Tokens: tokens(t, k)}
	r.prepare(cfg, hub.Config{})
	r.srv.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.run("")
	good, bad := k.For(t, "alice", inAnHour(), "a"), testtoken.New(t, "a").For(t, "alice", inAnHour())
	r.open("/ws/a?token=" + good)
	r.open("/ws/a", protocols("weir", "weir.token."+good))
	for _, request := range []string{
		upgrade("/ws/a?token=" + bad), upgrade("/ws/b?token=" + good), upgrade("/ws/a?token=" + good + "%"),
		upgrade("/nowhere?token=" + good), upgrade("/ws/a", protocols("weir.token."+good)), upgrade("/ws/a?token="+bad, bearer(good)),
	} {
		c := r.dial()
		c.send(request)
		if res, body := c.head(); res.StatusCode < 400 || strings.Contains(body, good[:20]) || strings.Contains(body, bad[:20]) {
			t.Errorf("%s %s", res.Status, body)
		}
	}
	all, err := r.srv.Why(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	for _, part := range []string{good, bad, good[strings.LastIndexByte(good, '.'):], "weir.token."} {
		if strings.Contains(log.String(), part) {
			t.Errorf("%s is in the log:\n%s", part, log.String())
		}
		for _, report := range all {
			if strings.Contains(report.Identity+report.Reason+strings.Join(report.Topics, ","), part) {
				t.Errorf("it is told: %+v", report)
			}
		}
	}
}

func TestWhoMayConnectIsValidated(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{Anonymous: "of"}, "edge.Anonymous is of: want auto, on or off"},
		{Config{Anonymous: AnonymousOff}, "edge.Anonymous is off: want on, or keys"},
		{Config{AnonymousTopics: []broker.Pattern{"a..b"}}, "edge.AnonymousTopics is a..b"},
		{Config{AnonymousTopics: make([]broker.Pattern, 1025)}, "edge.AnonymousTopics is 1025"},
		{Config{MaxConnsPerIdentity: -1}, "edge.MaxConnsPerIdentity is -1"},
	} {
		if _, err := New(tt.cfg, nil, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.want, err)
		}
	}
}
