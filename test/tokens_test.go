package test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/testlog"
	"weir/internal/testtoken"
)

// issuer has an endpoint with a JWK set that a test changes.
type issuer struct {
	*httptest.Server
	set atomic.Value // string
}

func newIssuer(tb testing.TB, keys ...*testtoken.Key) *issuer {
	tb.Helper()
	i := &issuer{}
	i.publish(keys...)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i.set.Load()) }))
	tb.Cleanup(i.Close)
	return i
}

func (i *issuer) publish(keys ...*testtoken.Key) { i.set.Store(testtoken.Set(keys...)) }

const hmacSecret = "a secret of the operator's own, of 32 bytes or more"

// hs256 is a token by the secret.
func hs256(subject string, ends time.Time) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","kid":"own"}`)) + "." + encode(fmt.Appendf(nil, `{"sub":%q,"exp":%d}`, subject, ends.Unix()))
	mac := hmac.New(sha256.New, []byte(hmacSecret))
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// tokenConfig is a file with a secret, and a JWK set that is at a place.
func tokenConfig(tb testing.TB, jwks string, more ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	secret, config := filepath.Join(dir, "secret"), filepath.Join(dir, "weir.yaml")
	text := fmt.Sprintf("auth:\n  keys: [\"HS256:own:%s\"]\n  jwks: %q\nedge:\n  anonymous: off\n  max_conns_per_identity: 50\n%s", secret, jwks, strings.Join(more, ""))
	for path, text := range map[string]string{secret: hmacSecret + "\n", config: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return config
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// soon is the end of a token that is taken, by the leeway of 5 s, for two or three more.
func soon() time.Time { return time.Now().Add(-2 * time.Second) }

// shows waits until a client has printed a text.
func (p *process) shows(c *testlog.Buffer, want string) {
	p.tb.Helper()
	p.until(want, func() error {
		if !strings.Contains(c.String(), want) {
			return fmt.Errorf("got %q", c.String())
		}
		return nil
	})
}

// tried runs weir subscribe with a token until its connection ends.
func (p *process) tried(token, topic string) (errs string) {
	p.tb.Helper()
	args := []string{"subscribe", "--url", "ws://" + p.edge, topic}
	if token != "" {
		args = append(args, "--token", token)
	}
	_, errs, code := weir(p.tb, args...)
	if code != 1 {
		p.tb.Errorf("exit code %d: %s", code, errs)
	}
	return errs
}

// subscribed runs clients with a token: ours, curl and the npm package ws, which brings it as a browser does.
func (p *process) subscribed(token, topic string) []*testlog.Buffer {
	p.tb.Helper()
	before := p.subscriptions()
	all := []*testlog.Buffer{
		client(p.tb, "env", "WEIR_TOKEN="+token, binary(p.tb), "subscribe", "--url", "ws://"+p.edge, topic),
		client(p.tb, "curl", "-sSN", "-H", "Authorization: Bearer "+token, "http://"+p.edge+"/sse/"+topic),
		client(p.tb, "curl", "-sSN", "http://"+p.edge+"/sse/"+topic+"?token="+token),
		client(p.tb, "node", "clients/ws.mjs", "ws://"+p.edge+"/ws/"+topic, "weir", "weir.token."+token),
	}
	p.until("subscribed", func() error {
		if n := p.subscriptions() - before; n != len(all) {
			return fmt.Errorf("%d subscriptions: %s", n, all)
		}
		return nil
	})
	return all
}

func TestE2EClientsComeByTheirTokens(t *testing.T) {
	first, second := testtoken.New(t, "first"), testtoken.New(t, "second")
	at := newIssuer(t, first)
	p := serve(t, "--config", tokenConfig(t, at.URL+"/set"), "--log-level", "debug")
	for token, want := range map[string]string{
		"": "a token is needed",
		hs256("alice", time.Now().Add(-time.Minute)):           "the token has expired",
		testtoken.New(t, "first").For(t, "alice", inAnHour()):  "not signed by a key that is known",
		first.For(t, "alice", inAnHour(), "chat.alice", "n.*"): `does not allow to subscribe to \"news\"`,
	} {
		if errs := p.tried(token, "news"); !strings.Contains(errs, want) {
			t.Errorf("%s, want %q", errs, want)
		}
	}
	own, issued := hs256("alice", inAnHour()), first.For(t, "bob", inAnHour(), "news")
	clients := append(p.subscribed(own, "news"), p.subscribed(issued, "news")...)
	p.publish("news", `"hello"`)
	for _, c := range clients {
		p.shows(c, "hello")
	}
	if out, _, code := weir(t, "why", "--admin", "http://"+p.admin, "sub=bob"); code != 0 || strings.Count(out, "subject") != 4 || !strings.Contains(out, "gold") {
		t.Errorf("why says %s", out)
	}
	// The issuer has another key. It is known soon, though nobody was told before its first token.
	at.publish(first, second)
	p.until("the second key", func() error {
		_, head, err := p.raw("/ws/news?token=" + second.For(t, "carol", inAnHour()))
		if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
			return fmt.Errorf("%q, %w", head, err)
		}
		return nil
	})
	p.wantSeries(map[string]string{"weir_jwks_keys": "2", `weir_edge_closed_total{reason="forbidden"}`: "1"})
	// What ends says why, and its client can go on.
	for _, c := range p.subscribed(hs256("dave", soon()), "news") {
		if strings.Contains(c.String(), "hello") {
			t.Error("events of before")
		}
		p.until("the end", func() error {
			if text := c.String(); !strings.Contains(text, "4401 the token has expired") && !strings.Contains(text, "event: expired\n") {
				return fmt.Errorf("got %q", text)
			}
			return nil
		})
	}
	p.until("four that ended with their tokens", func() error {
		if n := p.series(`weir_edge_closed_total{reason="token_expired"}`); n != "4" {
			return fmt.Errorf("%s", n)
		}
		return nil
	})
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, text := range []string{own, issued, hmacSecret, "weir.token."} {
		if strings.Contains(p.out.String(), text) {
			t.Errorf("%q is in the log:\n%s", text, p.out.String())
		}
	}
}

// TestE2EWithoutItsKeysAnEdgeServesAndIsNotReady until they are there; those in its own files are.
func TestE2EWithoutItsKeysAnEdgeServesAndIsNotReady(t *testing.T) {
	k := testtoken.New(t, "a")
	file := filepath.Join(t.TempDir(), "set.json")
	p := &process{tb: t, edge: freePort(t), admin: freePort(t)}
	p.cmd = exec.Command(binary(t), "serve", "--listen", p.edge, "--admin", p.admin, "--xdp", "off", "--config", tokenConfig(t, file))
	p.launch()
	answer := func(token string) (head string) {
		_, head, err := p.raw("/ws/news?token=" + token)
		if err != nil {
			return err.Error()
		}
		return head
	}
	p.until("it serves", func() error {
		if head := answer(hs256("alice", inAnHour())); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
			return fmt.Errorf("%q", head)
		}
		return nil
	})
	if head := answer(k.For(t, "bob", inAnHour())); !strings.HasPrefix(head, "HTTP/1.1 503 ") || !strings.Contains(head, "Retry-After: 5") {
		t.Errorf("%q", head)
	}
	if res, err := http.Get("http://" + p.admin + "/readyz"); err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("it is ready: %v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	if err := os.WriteFile(file, []byte(testtoken.Set(k)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.awaitReady()
	if head := answer(k.For(t, "bob", inAnHour())); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Errorf("%q", head)
	}
}

func TestE2EIdentitiesGoOverInATakeover(t *testing.T) {
	p := serve(t, "--data", t.TempDir(), "--config", tokenConfig(t, newIssuer(t, testtoken.New(t, "a")).URL))
	lasting := p.subscribed(hs256("alice", inAnHour()), "news")
	ending := client(t, binary(t), "subscribe", "--url", "ws://"+p.edge, "--token", hs256("bob", time.Now().Add(3*time.Second)), "news")
	p.until("all", func() error {
		if n := p.subscriptions(); n != 5 {
			return fmt.Errorf("%d subscriptions", n)
		}
		return nil
	})
	next := &process{tb: t, edge: p.edge, admin: p.admin, cmd: exec.Command(binary(t), append(p.cmd.Args[1:], "--takeover")...)}
	p.takeOver(next)
	next.publish("news", `"hello"`)
	for _, c := range lasting {
		next.shows(c, "hello")
	}
	next.shows(ending, "4401 the token has expired")
	if out, _, _ := weir(t, "why", "--admin", "http://"+next.admin, "sub=alice"); strings.Count(out, "subject") != 4 {
		t.Errorf("why says %s", out)
	}
}

func TestE2EWorkersCheckTokens(t *testing.T) {
	k := testtoken.New(t, "a")
	p := serve(t, "--config", tokenConfig(t, newIssuer(t, k).URL), "--workers", "2")
	clients := append(p.subscribed(hs256("alice", inAnHour()), "news"), p.subscribed(k.For(t, "bob", inAnHour(), "news"), "news")...)
	for range 8 { // on both, whichever has a conn
		if errs := p.tried("", "news"); !strings.Contains(errs, "a token is needed") {
			t.Error(errs)
		}
	}
	p.publish("news", `"hello"`)
	for _, c := range clients {
		p.shows(c, "hello")
	}
	p.wantSeries(map[string]string{"weir_jwks_keys": "1", `weir_jwks_refreshes_total{result="updated"}`: "2", `weir_edge_closed_total{reason="unauthorized"}`: "8"})
	if out, _, _ := weir(t, "why", "--admin", "http://"+p.admin, "sub=alice"); strings.Count(out, "subject") != 4 {
		t.Errorf("why says %s", out)
	}
}

// TestE2EPublishersComeByTheirTokens: a token publishes to what its topics.publish has, the API key to all; it is asked for all the same.
func TestE2EPublishersComeByTheirTokens(t *testing.T) {
	key := testtoken.New(t, "first")
	p := serve(t, "--config", tokenConfig(t, newIssuer(t, key).URL+"/set", "admin:\n  api_key: operators\n"))
	token := key.Sign(t, map[string]any{"sub": "alice", "exp": inAnHour().Unix(), "topics": map[string]any{"publish": []string{"chat.alice.>"}}})
	for _, tt := range []struct{ flag, credential, topic, want string }{
		{"--token", token, "chat.alice.room", ""},
		{"--token", token, "news", "topics.publish does not have news"},
		{"--token", testtoken.New(t, "first").For(t, "alice", inAnHour()), "chat.alice.room", "not signed by a key that is known"},
		{"--token", hs256("alice", time.Now().Add(-time.Minute)), "chat.alice.room", "the token has expired"},
		{"--api-key", "operators", "news", ""},
		{"--api-key", "others", "news", "API key is missing or wrong"},
	} {
		out, errs, code := weir(t, "publish", "--admin", "http://"+p.admin, tt.flag, tt.credential, tt.topic, "hi")
		if tt.want == "" && (code != 0 || !strings.HasSuffix(out, ":1\n")) || tt.want != "" && (code != 1 || !strings.Contains(errs, tt.want)) {
			t.Errorf("%s to %s: exit code %d, %s%s", tt.flag, tt.topic, code, out, errs)
		}
	}
}
