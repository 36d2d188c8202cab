// Package testtoken makes tokens for tests, signed by EdDSA, and the keys that check them.
package testtoken

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Key signs tokens.
type Key struct {
	// ID is the kid of its tokens; empty: they have none.
	ID      string
	private ed25519.PrivateKey
}

// New is a new key.
func New(tb testing.TB, id string) *Key {
	tb.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return &Key{id, private}
}

// Sign is a token with the claims.
func (k *Key) Sign(tb testing.TB, claims map[string]any) string {
	tb.Helper()
	header := map[string]any{"alg": "EdDSA"}
	if k.ID != "" {
		header["kid"] = k.ID
	}
	return k.SignText(part(tb, header) + "." + part(tb, claims))
}

// SignText is a token of header and claims that are encoded already, as HEADER.CLAIMS.
func (k *Key) SignText(text string) string {
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(k.private, []byte(text)))
}

// For is a token of a client that ends at a time, and may subscribe to the patterns; without any it does not say to what.
func (k *Key) For(tb testing.TB, subject string, ends time.Time, patterns ...string) string {
	tb.Helper()
	claims := map[string]any{"sub": subject, "exp": ends.Unix(), "class": "gold"}
	if len(patterns) > 0 {
		claims["topics"] = map[string]any{"subscribe": patterns}
	}
	return k.Sign(tb, claims)
}

func part(tb testing.TB, v any) string {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func (k *Key) public() ed25519.PublicKey {
	return k.private.Public().(ed25519.PublicKey) //nolint:forcetypeassert // of ed25519 it is
}

// PEM is the public key.
func (k *Key) PEM(tb testing.TB) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.public())
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// JWK is the public key as one.
func (k *Key) JWK() string {
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":%q,"x":%q}`, k.ID, base64.RawURLEncoding.EncodeToString(k.public()))
}

// Set is the JWK set of keys.
func Set(keys ...*Key) string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.JWK()
	}
	return `{"keys":[` + strings.Join(all, ",") + `]}`
}
