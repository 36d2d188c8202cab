package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/broker"

	"github.com/golang-jwt/jwt/v5"
)

// Of RFC 7515, appendix A: one payload, {"iss":"joe","exp":1300819380,"http://example.com/is_root":true}.
const (
	rfcPayload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	rfcExpires = 1300819380

	rfcHS256 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + rfcPayload + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	rfcRS256 = "eyJhbGciOiJSUzI1NiJ9." + rfcPayload + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
	rfcES256 = "eyJhbGciOiJFUzI1NiJ9." + rfcPayload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	rfcNone  = "eyJhbGciOiJub25lIn0." + rfcPayload + "."

	rfcSecret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
	rfcN      = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
	rfcX      = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
	rfcY      = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
)

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pemOf(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func key(t *testing.T, id, algorithm string, data []byte) Key {
	t.Helper()
	k, err := ParseKey(id, algorithm, data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func verifier(t *testing.T, cfg Config, at int64) *Verifier {
	t.Helper()
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	v.now = func() time.Time { return time.Unix(at, 0) }
	return v
}

func rsaPEM(t *testing.T) []byte {
	t.Helper()
	return pemOf(t, &rsa.PublicKey{N: new(big.Int).SetBytes(bytesOf(t, rfcN)), E: 65537})
}

func ecPEM(t *testing.T) []byte {
	t.Helper()
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, bytesOf(t, rfcX), bytesOf(t, rfcY)))
	if err != nil {
		t.Fatal(err)
	}
	return pemOf(t, public)
}

// TestTokensOfRFC7515 lack a sub: that is said of a token whose signature is right, before its end.
func TestTokensOfRFC7515(t *testing.T) {
	keys := []Key{key(t, "", "HS256", bytesOf(t, rfcSecret)), key(t, "", "RS256", rsaPEM(t)), key(t, "", "ES256", ecPEM(t))}
	before, after := verifier(t, Config{Keys: keys, Issuer: "joe"}, rfcExpires-1), verifier(t, Config{Keys: keys}, rfcExpires+6)
	other := verifier(t, Config{Keys: keys, Issuer: "jane"}, rfcExpires-1)
	for i, text := range []string{rfcHS256, rfcRS256, rfcES256} {
		check := func(what string, v *Verifier, text string, want error) {
			t.Helper()
			if _, err := v.Verify(text); !errors.Is(err, want) {
				t.Errorf("token %d, %s: %v, want %v", i, what, err, want)
			}
		}
		check("before its end", before, text, ErrIncomplete)
		check("after it", after, text, ErrExpired)
		check("of another issuer", other, text, ErrWrongIssuer)
		check("changed", before, strings.Replace(text, "OjEzMDA4MTkzODAs", "OjEzMDA4MTkzODEs", 1), ErrForged)
		check("with another signature", before, text[:len(text)-20]+"A"+text[len(text)-19:], ErrForged)
		check("cut", before, text[:strings.LastIndexByte(text, '.')+1], ErrForged)
		one := verifier(t, Config{Keys: slices.Delete(slices.Clone(keys), i, i+1)}, rfcExpires-1)
		check("without its key", one, text, ErrForged)
	}
	if _, err := before.Verify(rfcNone); !errors.Is(err, ErrForged) {
		t.Errorf("alg none: %v", err)
	}
}

// TestKeysCannotBeConfused: an RSA public key, which everybody has, is no secret by which a token can be made.
func TestKeysCannotBeConfused(t *testing.T) {
	public := rsaPEM(t)
	forged := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "root", "exp": rfcExpires})
	text, err := forged.SignedString(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]Key{
		{key(t, "", "RS256", public)},
		{key(t, "", "RS256", public), key(t, "", "HS256", bytesOf(t, rfcSecret))},
	} {
		if c, err := verifier(t, Config{Keys: keys}, 1).Verify(text); !errors.Is(err, ErrForged) {
			t.Errorf("%+v, %v", c, err)
		}
	}
	if _, err := ParseKey("k", "HS256", public); !errors.Is(err, ErrBadKey) || !strings.Contains(err.Error(), "is no secret") {
		t.Errorf("as a secret: %v", err)
	}
}

// signers makes a signing key and its check for each algorithm.
func signers(t *testing.T) map[string][2]any {
	t.Helper()
	all := map[string][2]any{}
	rsaKey, err := rsa.GenerateKey(rand.Reader, minRSABits)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all["EdDSA"] = [2]any{private, pemOf(t, public)}
	for name, a := range algorithms {
		switch {
		case a.secret > 0:
			secret := make([]byte, a.secret)
			_, _ = rand.Read(secret) // never fails
			all[name] = [2]any{secret, secret}
		case a.curve != nil:
			k, err := ecdsa.GenerateKey(a.curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = [2]any{k, pemOf(t, &k.PublicKey)}
		case name != "EdDSA":
			all[name] = [2]any{rsaKey, pemOf(t, &rsaKey.PublicKey)}
		}
	}
	return all
}

func TestEveryAlgorithmChecksItsOwnTokensAlone(t *testing.T) {
	all := signers(t)
	tokens := map[string]string{}
	for name, s := range all {
		text, err := jwt.NewWithClaims(algorithms[name].method, jwt.MapClaims{"sub": name, "exp": 1000}).SignedString(s[0])
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = text
	}
	if len(tokens) != len(algorithms) {
		t.Fatalf("%d algorithms of %d", len(tokens), len(algorithms))
	}
	for name, s := range all {
		v := verifier(t, Config{Keys: []Key{key(t, "", name, s[1].([]byte))}}, 1) //nolint:forcetypeassert // a test's
		for of, text := range tokens {
			c, err := v.Verify(text)
			if of == name && (err != nil || c.Subject != name || c.Expires.Unix() != 1000) {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
			if of != name && !errors.Is(err, ErrForged) {
				t.Errorf("a token of %s by a key of %s: %+v, %v", of, name, c, err)
			}
		}
	}
}

// TestClaims: what a token says, or why it is refused, at second 100.
func TestClaims(t *testing.T) {
	secret := bytesOf(t, rfcSecret)
	v := verifier(t, Config{
		Keys:     []Key{key(t, "new", "HS256", secret), key(t, "old", "HS256", []byte(strings.Repeat("x", 32)))},
		Audience: "weir", Issuer: "us",
	}, 100)
	base := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{"sub": "alice", "exp": 200, "aud": []string{"web", "weir"}, "iss": "us"}
		change(c)
		return c
	}
	set := func(name string, value any) jwt.MapClaims { return base(func(c jwt.MapClaims) { c[name] = value }) }
	for _, tt := range []struct {
		name   string
		claims jwt.MapClaims
		header map[string]any
		want   error
	}{
		{"all right", base(func(jwt.MapClaims) {}), nil, nil},
		{"one audience", set("aud", "weir"), nil, nil},
		{"another audience", set("aud", "web"), nil, ErrWrongAudience},
		{"no audience", base(func(c jwt.MapClaims) { delete(c, "aud") }), nil, ErrIncomplete},
		{"another issuer", set("iss", "them"), nil, ErrWrongIssuer},
		{"no end", base(func(c jwt.MapClaims) { delete(c, "exp") }), nil, ErrIncomplete},
		{"no subject", base(func(c jwt.MapClaims) { delete(c, "sub") }), nil, ErrIncomplete},
		{"an empty subject", set("sub", ""), nil, ErrIncomplete},
		{"a subject that is too long", set("sub", strings.Repeat("a", MaxSubjectBytes+1)), nil, ErrMalformed},
		{"a class that is as long as may be", set("class", strings.Repeat("a", MaxClassBytes)), nil, nil},
		{"a class that is too long", set("class", strings.Repeat("a", MaxClassBytes+1)), nil, ErrMalformed},
		{"ended within the leeway", set("exp", 96), nil, nil},
		{"ended", set("exp", 95), nil, ErrExpired},
		{"not begun", set("nbf", 106), nil, ErrNotYet},
		{"begins within the leeway", set("nbf", 105), nil, nil},
		{"from the future", set("iat", 106), nil, ErrNotYet},
		{"end is no number", set("exp", "soon"), nil, ErrMalformed},
		{"end is huge", set("exp", 1e300), nil, ErrExpired},
		{"subject is no text", set("sub", 7), nil, ErrMalformed},
		{"topics are no lists", set("topics", "all"), nil, ErrMalformed},
		{"a topic that is none", set("topics", map[string]any{"publish": []string{"a..b"}}), nil, ErrMalformed},
		{"another kid", base(func(jwt.MapClaims) {}), map[string]any{"kid": "unknown"}, ErrForged},
		{"the kid of another key", base(func(jwt.MapClaims) {}), map[string]any{"kid": "old"}, ErrForged},
		{"kid is no text", base(func(jwt.MapClaims) {}), map[string]any{"kid": 7}, ErrForged},
		{"critical header", base(func(jwt.MapClaims) {}), map[string]any{"crit": []string{"b64"}, "b64": false}, ErrForged},
		{"brings its key", base(func(jwt.MapClaims) {}), map[string]any{"kid": "unknown", "jwk": map[string]any{"kty": "oct", "k": rfcSecret}}, ErrForged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token := jwt.NewWithClaims(jwt.SigningMethodHS256, tt.claims)
			token.Header["kid"] = "new"
			maps.Copy(token.Header, tt.header)
			text, err := token.SignedString(secret)
			if err != nil {
				t.Fatal(err)
			}
			c, err := v.Verify(text)
			if !errors.Is(err, tt.want) || (c == nil) != (tt.want != nil) || c != nil && c.Subject != "alice" {
				t.Errorf("%+v, %v, want %v", c, err, tt.want)
			}
		})
	}
}

func TestClaimsSayWhatMayBeDone(t *testing.T) {
	secret := bytesOf(t, rfcSecret)
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "alice", "exp": 200, "class": "gold",
		"topics": map[string]any{"subscribe": []string{"ticks.>", "chat.*"}, "publish": []string{"chat.alice"}},
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := verifier(t, Config{Keys: []Key{key(t, "", "HS256", secret)}}, 1).Verify(text)
	if err != nil || c.Class != "gold" {
		t.Fatalf("%+v, %v", c, err)
	}
	for p, want := range map[broker.Pattern]bool{
		"ticks.EURUSD": true, "ticks.*": true, "ticks.>": true, "ticks.a.b": true, "chat.bob": true, "chat.*": true,
		"chat.>": false, "chat.a.b": false, ">": false, "ticks": false, "*.EURUSD": false,
	} {
		if c.MaySubscribe(p) != want {
			t.Errorf("subscribe to %s: %v", p, !want)
		}
	}
	if !c.MayPublish("chat.alice") || c.MayPublish("chat.bob") || (&Claims{}).MayPublish("x") || (&Claims{}).MaySubscribe("x") {
		t.Error("publish")
	}
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	v := verifier(t, Config{Keys: []Key{key(t, "", "HS256", bytesOf(t, rfcSecret))}}, 1)
	for _, text := range []string{
		"", ".", "..", "...", "a.b.c", "e30.e30.", "e30.e30.e30", "null.null.null", rfcHS256 + ".", rfcHS256 + "=", " " + rfcHS256,
		rfcHS256[:40], strings.Repeat("a", MaxTokenBytes+1), strings.Repeat(".", MaxTokenBytes), "\x00", "bnVsbA.bnVsbA.bnVsbA",
		base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(`{"a":`, 1000))) + "..",
	} {
		if c, err := v.Verify(text); c != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrForged) {
			t.Errorf("%.40q: %+v, %v", text, c, err)
		}
	}
}

func TestBadKeysSayWhatToDo(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(small)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		algorithm string
		data      []byte
		want      string
	}{
		{"none", nil, "want one of ES256"},
		{"HS256", []byte("hunter2"), "too short for HS256: want 32"},
		{"HS512", make([]byte, 63), "want 64"},
		{"RS256", []byte("x"), "no PEM"},
		{"RS256", pemOf(t, &small.PublicKey), "1024 bits is too short"},
		{"RS256", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), "give the public key alone"},
		{"RS256", ecPEM(t), "curve P-256 is not for RS256"},
		{"ES384", ecPEM(t), "curve P-256 is not for ES384"},
		{"ES256", rsaPEM(t), "an RSA key is not for ES256"},
		{"EdDSA", rsaPEM(t), "an RSA key is not for EdDSA"},
		{"RS256", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "malformed certificate"},
	} {
		_, err := ParseKey("k", tt.algorithm, tt.data)
		if !errors.Is(err, ErrBadKey) || !strings.Contains(err.Error(), tt.want) || strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: %v, want %q", tt.algorithm, err, tt.want)
		}
	}
	for _, cfg := range []Config{{}, {Keys: []Key{{}}}, {Keys: []Key{key(t, "", "RS256", rsaPEM(t))}, Leeway: time.Hour}} {
		if v, err := New(cfg); v != nil || err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}

// FuzzVerify: no text makes it panic, or pass.
func FuzzVerify(f *testing.F) {
	secret, err := base64.RawURLEncoding.DecodeString(rfcSecret)
	if err != nil {
		f.Fatal(err)
	}
	k, err := ParseKey("", "HS256", secret)
	if err != nil {
		f.Fatal(err)
	}
	v, err := New(Config{Keys: []Key{k}})
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{rfcHS256, rfcRS256, rfcES256, rfcNone, "", "a.b.c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := v.Verify(text); err == nil {
			t.Fatalf("%q passes: %+v", text, c)
		}
	})
}

func TestFurtherClaimsAreKept(t *testing.T) {
	secret := bytesOf(t, rfcSecret)
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "alice", "exp": 200, "tenant": "t\u00e91", "level": 7, "beta": true, "none": nil, "list": []int{1}, "other": "x",
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := verifier(t, Config{Keys: []Key{key(t, "", "HS256", secret)}, Values: []string{"tenant", "level", "beta", "none", "list", "absent"}}, 1).Verify(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"tenant": "té1", "level": "7", "beta": "true", "none": "", "list": "", "absent": "", "other": ""} {
		if got, ok := c.Value(name); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}
