package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"weir/token"
)

// Ignored is why a key of a set is not used.
type Ignored uint8

// The reasons.
const (
	// IgnoredPrivate: it has private parts, which now everybody has.
	IgnoredPrivate Ignored = iota
	// IgnoredSecret: it is symmetric (oct), likewise.
	IgnoredSecret
	// IgnoredUse: it is for encryption, or not to verify with.
	IgnoredUse
	// IgnoredAlgorithm: it is for an algorithm that is not among Config.Algorithms, or none of those fits it.
	IgnoredAlgorithm
	// IgnoredType: its type or curve is not known here.
	IgnoredType
	// IgnoredMalformed: it cannot be read, is too weak, or no point of its curve.
	IgnoredMalformed
	// IgnoredDouble: another before it has its kid and algorithm.
	IgnoredDouble
	ignoredReasons

	used = ignoredReasons // it is
)

// String is the reason's label value.
func (i Ignored) String() string {
	return [...]string{"private", "secret", "use", "algorithm", "type", "malformed", "double"}[min(i, ignoredReasons-1)]
}

// parsed is what a set has.
type parsed struct {
	keys    []token.Key
	ignored [ignoredReasons]int
}

// jwk is a key on the wire: RFC 7517, section 4, RFC 7518, section 6, and RFC 8037, section 2.
type jwk struct {
	Type       string   `json:"kty"`
	Use        *string  `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  *string  `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	N          string   `json:"n"`
	E          string   `json:"e"`
	X          string   `json:"x"`
	Y          string   `json:"y"`

	// What only private keys and secrets have, of whatever type.
	D json.RawMessage `json:"d"`
	P json.RawMessage `json:"p"`
	K json.RawMessage `json:"k"`
}

// parse reads a set; keys may be for the algorithms. What is no key, or not one for us, is left out (RFC 7517, section
// 5). The error is ErrMalformed, ErrTooLarge or ErrNoKeys.
func parse(text []byte, algorithms []string) (p parsed, err error) {
	if len(text) > MaxBytes {
		return p, ErrTooLarge
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return p, ErrMalformed // what the decoder says may quote what came
	}
	if set.Keys == nil {
		return p, ErrMalformed
	}
	if len(set.Keys) > MaxKeys {
		return p, fmt.Errorf("%w: it has %d", ErrTooLarge, len(set.Keys))
	}
	known := map[[2]string]bool{}
	for _, raw := range set.Keys {
		k, why := parseKey(raw, algorithms)
		id := [2]string{k.ID(), k.Algorithm()}
		if why == used && known[id] {
			why = IgnoredDouble
		}
		if why != used {
			p.ignored[why]++
			continue
		}
		known[id] = true
		p.keys = append(p.keys, k)
	}
	if len(p.keys) == 0 {
		return p, fmt.Errorf("%w among its %d", ErrNoKeys, len(set.Keys))
	}
	return p, nil
}

// parseKey reads a key, or says why it is left out.
func parseKey(raw []byte, algorithms []string) (k token.Key, why Ignored) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return k, IgnoredMalformed
	}
	switch {
	case j.Type == "oct":
		return k, IgnoredSecret
	case j.D != nil || j.P != nil || j.K != nil:
		return k, IgnoredPrivate
	case j.Use != nil && *j.Use != "sig", j.Operations != nil && !slices.Contains(j.Operations, "verify"):
		return k, IgnoredUse
	}
	fits, read := j.kind()
	if read == nil {
		return k, IgnoredType
	}
	if j.Algorithm != nil {
		fits = []string{*j.Algorithm}
	}
	at := slices.IndexFunc(algorithms, func(a string) bool { return slices.Contains(fits, a) })
	if at < 0 {
		return k, IgnoredAlgorithm
	}
	public, err := read()
	if err == nil {
		k, err = token.NewKey(j.ID, algorithms[at], public)
	}
	if err != nil {
		return token.Key{}, IgnoredMalformed
	}
	return k, used
}

// kind is the algorithms that a key of j's type and curve can be for, and how it is read; nil if neither is known.
func (j *jwk) kind() (algorithms []string, read func() (crypto.PublicKey, error)) {
	switch {
	case j.Type == "RSA":
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, j.rsa
	case j.Type == "EC" && j.Curve == "P-256":
		return []string{"ES256"}, func() (crypto.PublicKey, error) { return j.ecdsa(elliptic.P256()) }
	case j.Type == "EC" && j.Curve == "P-384":
		return []string{"ES384"}, func() (crypto.PublicKey, error) { return j.ecdsa(elliptic.P384()) }
	case j.Type == "EC" && j.Curve == "P-521":
		return []string{"ES512"}, func() (crypto.PublicKey, error) { return j.ecdsa(elliptic.P521()) }
	case j.Type == "OKP" && j.Curve == "Ed25519":
		return []string{"EdDSA"}, j.ed25519
	}
	return nil, nil
}

// maxExponentBytes is what an exponent of an RSA key may have: package crypto/rsa takes 2^31-1.
const maxExponentBytes = 4

func (j *jwk) rsa() (crypto.PublicKey, error) {
	n, err := unbase64(j.N)
	if err != nil {
		return nil, err
	}
	e, err := unbase64(j.E)
	if err != nil || len(e) > maxExponentBytes {
		return nil, errors.New("the exponent cannot be read")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
}

// ecdsa takes coordinates of full length alone, as RFC 7518, section 6.2.1.2 has them.
func (j *jwk) ecdsa(curve elliptic.Curve) (crypto.PublicKey, error) {
	size := (curve.Params().BitSize + 7) / 8
	x, err := unbase64(j.X)
	if err != nil {
		return nil, err
	}
	y, err := unbase64(j.Y)
	if err != nil || len(x) != size || len(y) != size {
		return nil, errors.New("the coordinates have not the curve's length")
	}
	return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
}

func (j *jwk) ed25519() (crypto.PublicKey, error) {
	x, err := unbase64(j.X)
	if err != nil || len(x) != ed25519.PublicKeySize {
		return nil, errors.New("the key has not the curve's length")
	}
	return ed25519.PublicKey(x), nil
}

func unbase64(text string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(text) }
