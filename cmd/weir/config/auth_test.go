package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/testtoken"
	"weir/token"
)

func TestKeysOfTokensAreReadFromFiles(t *testing.T) {
	dir := t.TempDir()
	k := testtoken.New(t, "2026")
	const secret = "0123456789abcdef0123456789abcdef"
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public, hmac, short := write("key.pem", string(k.PEM(t))), write("a:b", secret+"\r\n"), write("short", "hunter2")
	path := write("weir.yaml", "auth:\n  keys:\n    - EdDSA:2026:"+public+"\n    - \"HS256::"+hmac+"\"\n  issuer: us\n  leeway: 10s\nedge:\n  anonymous: off\n  anonymous_topics: [news.>, chat]\n")
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := c.Auth.Tokens()
	if err != nil || len(tokens.Keys) != 2 || tokens.Issuer != "us" || tokens.Leeway != 10*time.Second {
		t.Fatalf("%+v, %v", tokens, err)
	}
	if string(c.Auth.Material[1].Data) != secret {
		t.Errorf("the secret is %q: a line end is none of it", c.Auth.Material[1].Data)
	}
	v, err := token.New(tokens)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(k.Sign(t, map[string]any{"sub": "alice", "iss": "us", "exp": time.Now().Add(time.Hour).Unix()})); err != nil {
		t.Error(err)
	}
	if printed := c.Print(); strings.Contains(printed, secret) || !strings.Contains(printed, `anonymous_topics: ["news.>", "chat"]`) {
		t.Errorf("printed:\n%s", printed)
	}
	for keys, want := range map[string]string{
		"EdDSA:2026:" + public + ".none": "cannot be read",
		"RS256:2026:" + public:           "an Ed25519 key is not for RS256",
		"HS256:2026:" + public:           "is no secret",
		"HS256:2026:" + short:            "too short for HS256",
	} {
		path := write("bad.yaml", "edge:\n  echo: true\nauth:\n  keys: [\""+keys+"\"]\n")
		if _, err := Load(path, nil); err == nil || !strings.HasPrefix(err.Error(), path+":4: auth.keys is") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
}

func TestMistakesAboutTokensNameWhatToDo(t *testing.T) {
	for text, want := range map[string]string{
		"edge: {anonymous: off}":                             "x:1: edge.anonymous is off, and nobody could connect: want a key",
		"edge: {anonymous: of}":                              `x:1: edge.anonymous is "of": want auto, on, off: did you mean on?`,
		"edge: {anonymous_topics: [a..b]}":                   `x:1: edge.anonymous_topics is "a..b": bad topic`,
		"edge: {max_conns_per_identity: -1}":                 "x:1: edge.max_conns_per_identity is -1: want 0 (no limit)",
		"auth: {issuer: us}":                                 `x:1: auth.issuer is "us", and no token is looked at: want a key`,
		"auth: {audience: weir}":                             `x:1: auth.audience is "weir", and no token is looked at`,
		"auth: {keys: [RS256]}":                              `x:1: auth.keys is "RS256": want ALG:KID:FILE`,
		"auth: {keys: [\"RS255:a:b\"]}":                      `x:1: auth.keys is "RS255:a:b": RS255 is no algorithm: did you mean RS256?`,
		"auth: {keys: [\"none:a:b\"]}":                       "none is no algorithm",
		"auth: {jwks: \"http://a.example/set\"}":             "x:1: auth.jwks is a URL of scheme http: want https://",
		"auth: {jwks: set, jwks_refresh: 1s}":                "x:1: auth.jwks_refresh is 1s: want 30s to 24h0m0s",
		"auth: {jwks: set, jwks_max_stale: 1m}":              "x:1: auth.jwks_max_stale is 1m0s: want 5m0s to",
		"auth: {jwks: set, jwks_algorithms: [HS256]}":        `x:1: auth.jwks_algorithms is "HS256": its keys are secrets`,
		"auth: {jwks: set, leeway: 0s}":                      "x:1: auth.leeway is 0s: want 1s to 5m0s",
		"auth: {jwk: set}":                                   "x:1: auth.jwk is not a key: did you mean jwks?",
		"auth: {jwks: \"https://me:hunter2@a.example/set\"}": "x:1: auth.jwks is a URL with a user",
	} {
		if _, err := Parse("x", []byte(text+"\n")); err == nil || !strings.HasPrefix(err.Error(), want) && !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	c, err := Load("", []string{"WEIR_AUTH_JWKS=set.json", "WEIR_EDGE_ANONYMOUS=off", "WEIR_AUTH_JWKS_ALGORITHMS=RS256,ES256", "WEIR_EDGE_ANONYMOUS_TOPICS="})
	if err != nil || !c.Auth.Checks() || len(c.Auth.Set().Algorithms) != 2 || len(c.Edge.AnonymousTopics) != 0 || c.Edge.AnonymousTopics == nil {
		t.Errorf("by variables: %+v, %v", c, err)
	}
}
