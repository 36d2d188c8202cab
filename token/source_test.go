package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"weir/internal/testtoken"

	"github.com/golang-jwt/jwt/v5"
)

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// source is a Source with keys that a test sets.
type source struct {
	set    *KeySet
	missed int
}

func (s *source) KeySet() *KeySet { return s.set }
func (s *source) Missed()         { s.missed++ }

func TestKeysOfASourceBesideThoseGiven(t *testing.T) {
	given, fetched, other := testtoken.New(t, "given"), testtoken.New(t, "fetched"), testtoken.New(t, "other")
	nameless := testtoken.New(t, "")
	parse := func(k *testtoken.Key) Key { return key(t, k.ID, "EdDSA", k.PEM(t)) }
	set, err := NewKeySet([]Key{parse(fetched)})
	if err != nil {
		t.Fatal(err)
	}
	src := &source{}
	v := verifier(t, Config{Keys: []Key{parse(given)}, Source: src}, 1)
	for _, tt := range []struct {
		name   string
		set    *KeySet
		by     *testtoken.Key
		as     string // kid
		want   error
		missed int
	}{
		{"a given one, without a set", nil, given, "given", nil, 0},
		{"one of the set, before it is there", nil, fetched, "fetched", ErrNoKeys, 1},
		{"one of the set", set, fetched, "fetched", nil, 0},
		{"a given one, beside a set", set, given, "given", nil, 0},
		{"one that is not known", set, other, "other", ErrForged, 1},
		{"forged in the name of a given one, without a set", nil, other, "given", ErrForged, 0},
		{"forged in the name of one of the set", set, other, "fetched", ErrForged, 0},
		{"without a kid", set, nameless, "", ErrForged, 1},
	} {
		src.set, src.missed = tt.set, 0
		as := *tt.by
		as.ID = tt.as
		_, err := v.Verify(as.Sign(t, map[string]any{"sub": "alice", "exp": 100}))
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || src.missed != tt.missed {
			t.Errorf("%s: %v, missed %d", tt.name, err, src.missed)
		}
	}
	forged := b64(`{"alg":"none","kid":"other"}`) + "." + b64(`{"sub":"alice","exp":100}`) + "."
	src.set, src.missed = nil, 0
	if _, err := v.Verify(forged); !errors.Is(err, ErrForged) || src.missed != 0 {
		t.Errorf("alg none: %v, missed %d", err, src.missed)
	}
	if _, err := New(Config{Source: src}); err != nil {
		t.Errorf("a source alone: %v", err)
	}
}

func TestAListOfTopicsThatIsEmptyIsNotNone(t *testing.T) {
	k := testtoken.New(t, "")
	v := verifier(t, Config{Keys: []Key{key(t, "", "EdDSA", k.PEM(t))}}, 1)
	for topics, isNil := range map[string]bool{`{}`: true, `{"subscribe":null}`: true, `{"subscribe":[]}`: false, `{"subscribe":["a"]}`: false} {
		c, err := v.Verify(k.SignText(b64(`{"alg":"EdDSA"}`) + "." + b64(`{"sub":"alice","exp":100,"topics":`+topics+`}`)))
		if err != nil || (c.Subscribe == nil) != isNil || c.MaySubscribe("b") {
			t.Errorf("%s: %+v, %v", topics, c, err)
		}
		if err == nil && c.Until.Sub(c.Expires) != DefaultLeeway {
			t.Errorf("until %v, expires %v", c.Until, c.Expires)
		}
	}
}

// TestClientsAreToldNoPartOfAToken: what Explain gives has none of what they sent.
func TestClientsAreToldNoPartOfAToken(t *testing.T) {
	const sent = "hunter2"
	v := verifier(t, Config{Keys: []Key{key(t, "", "HS256", bytesOf(t, rfcSecret))}}, 1000)
	claims := jwt.MapClaims{"sub": sent, "exp": 1, "iss": sent, "topics": map[string]any{"subscribe": []string{sent + ".."}}}
	for _, change := range []func(*jwt.Token){
		func(*jwt.Token) {},
		func(tok *jwt.Token) { tok.Header["kid"] = sent },
		func(tok *jwt.Token) { tok.Header["crit"] = []string{sent} },
		func(*jwt.Token) { claims["exp"] = 2000 },
		func(*jwt.Token) { claims["sub"] = []string{sent} },
	} {
		tok := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
		change(tok)
		text, err := tok.SignedString(bytesOf(t, rfcSecret))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = v.Verify(text); err == nil || Explain(err) == nil || strings.Contains(Explain(err).Error(), sent) || !errors.Is(err, Explain(err)) {
			t.Errorf("%v is told as %v", err, Explain(err))
		}
	}
}

func TestPublicKeysAreForTheirAlgorithms(t *testing.T) {
	if _, err := NewKey("", "HS256", ed25519.PublicKey("x")); !errors.Is(err, ErrBadKey) {
		t.Errorf("HMAC: %v", err)
	}
	if _, err := NewKey("", "none", nil); !errors.Is(err, ErrBadKey) {
		t.Errorf("none: %v", err)
	}
	if _, err := NewKey("", "EdDSA", nil); !errors.Is(err, ErrBadKey) {
		t.Errorf("no key: %v", err)
	}
	if len(Algorithms()) != 13 || !IsSecret("HS512") || IsSecret("RS256") || IsSecret("none") {
		t.Error(Algorithms())
	}
}

// BenchmarkVerify is what a check costs: why the edge does it beside its event loops.
func BenchmarkVerify(b *testing.B) {
	t := &testing.T{}
	for name, s := range signers(t) {
		k, err := ParseKey("", name, s[1].([]byte)) //nolint:forcetypeassert // a test's
		if err != nil {
			b.Fatal(err)
		}
		v, err := New(Config{Keys: []Key{k}})
		if err != nil {
			b.Fatal(err)
		}
		text, err := jwt.NewWithClaims(algorithms[name].method, jwt.MapClaims{"sub": "alice", "exp": 1 << 33}).SignedString(s[0])
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
