package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// minRSABits is RFC 7518, section 3.3; a signature of maxRSABits takes 4 ms to check, 50 times one of 2048.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// algorithms are those of RFC 7518 and RFC 8037 that are known here, with what their keys have to be.
var algorithms = map[string]struct {
	method jwt.SigningMethod
	secret int            // HMAC: bytes at least, RFC 7518, section 3.2
	curve  elliptic.Curve // ECDSA
}{
	"HS256": {jwt.SigningMethodHS256, 32, nil},
	"HS384": {jwt.SigningMethodHS384, 48, nil},
	"HS512": {jwt.SigningMethodHS512, 64, nil},
	"RS256": {jwt.SigningMethodRS256, 0, nil},
	"RS384": {jwt.SigningMethodRS384, 0, nil},
	"RS512": {jwt.SigningMethodRS512, 0, nil},
	"PS256": {jwt.SigningMethodPS256, 0, nil},
	"PS384": {jwt.SigningMethodPS384, 0, nil},
	"PS512": {jwt.SigningMethodPS512, 0, nil},
	"ES256": {jwt.SigningMethodES256, 0, elliptic.P256()},
	"ES384": {jwt.SigningMethodES384, 0, elliptic.P384()},
	"ES512": {jwt.SigningMethodES512, 0, elliptic.P521()},
	"EdDSA": {jwt.SigningMethodEdDSA, 0, nil},
}

// Key checks the tokens of one algorithm. The zero value is none.
type Key struct {
	id        string
	algorithm string
	key       any // []byte of HMAC, else a public key
}

// ID is the kid of its tokens; empty if it checks tokens of any.
func (k Key) ID() string { return k.id }

// Algorithm is the one whose tokens it checks.
func (k Key) Algorithm() string { return k.algorithm }

// KeySet is keys by which tokens are checked. It does not change.
type KeySet struct{ byID map[string][]Key }

// NewKeySet is a set of keys. The error wraps [ErrBadKey]: one was not made by this package.
func NewKeySet(keys []Key) (*KeySet, error) {
	s := &KeySet{byID: map[string][]Key{}}
	for _, k := range keys {
		if k.key == nil {
			return nil, badKey(k.id, "make it by ParseKey or NewKey")
		}
		s.byID[k.id] = append(s.byID[k.id], k)
	}
	return s, nil
}

// appendFor appends what may have signed a token of a kid by an algorithm: keys of that kid, and those without one.
func (s *KeySet) appendFor(keys []jwt.VerificationKey, id, algorithm string) []jwt.VerificationKey {
	if s == nil {
		return keys
	}
	for _, k := range s.byID[""] {
		if k.algorithm == algorithm {
			keys = append(keys, k.key)
		}
	}
	if id == "" {
		return keys
	}
	for _, k := range s.byID[id] {
		if k.algorithm == algorithm {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// ParseKey makes a key of an algorithm: for HS256, HS384 and HS512 data is the secret itself, of at least as many
// bytes as the hash; for all others a public key or a certificate in PEM. id is the kid of its tokens; empty for one
// that checks tokens of any. The error wraps [ErrBadKey], and never has the secret in it.
func ParseKey(id, algorithm string, data []byte) (Key, error) {
	a, known := algorithms[algorithm]
	if !known {
		return Key{}, badKey(id, "algorithm %q: want one of %s", algorithm, strings.Join(Algorithms(), ", "))
	}
	if a.secret > 0 {
		if len(data) < a.secret {
			return Key{}, badKey(id, "a secret of %d bytes is too short for %s: want %d or more, at random", len(data), algorithm, a.secret)
		}
		if block, _ := pem.Decode(data); block != nil {
			return Key{}, badKey(id, "a %s is no secret: whoever has it could forge tokens; use RS256, ES256 or EdDSA with it", strings.ToLower(block.Type))
		}
		return Key{id: id, algorithm: algorithm, key: slices.Clone(data)}, nil
	}
	public, err := publicKey(data)
	if err != nil {
		return Key{}, badKey(id, "%v", err)
	}
	return NewKey(id, algorithm, public)
}

func badKey(id, format string, args ...any) error {
	return fmt.Errorf("%w %q: %s", ErrBadKey, id, fmt.Sprintf(format, args...))
}

// NewKey makes a key of an algorithm, other than HS256, HS384 and HS512, from a public key of package crypto, which
// it keeps. id and the error are as in [ParseKey].
func NewKey(id, algorithm string, public crypto.PublicKey) (Key, error) {
	a, known := algorithms[algorithm]
	if !known || a.secret > 0 {
		return Key{}, badKey(id, "algorithm %q is not one for public keys", algorithm)
	}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if algorithm[0] != 'R' && algorithm[0] != 'P' {
			return Key{}, badKey(id, "an RSA key is not for %s", algorithm)
		}
		if n := p.N.BitLen(); n < minRSABits || n > maxRSABits {
			return Key{}, badKey(id, "an RSA key of %d bits is too %s: want %d to %d", n, map[bool]string{true: "short", false: "long"}[n < minRSABits], minRSABits, maxRSABits)
		}
		if p.E < 3 || p.E%2 == 0 || p.E > math.MaxInt32 {
			return Key{}, badKey(id, "an RSA key of exponent %d: want an odd one, 3 to 2^31-1", p.E)
		}
	case *ecdsa.PublicKey:
		if a.curve == nil || p.Curve != a.curve {
			return Key{}, badKey(id, "a key on curve %s is not for %s", p.Curve.Params().Name, algorithm)
		}
	case ed25519.PublicKey:
		if algorithm != "EdDSA" {
			return Key{}, badKey(id, "an Ed25519 key is not for %s", algorithm)
		}
	default:
		return Key{}, badKey(id, "a %T is not for tokens", public)
	}
	return Key{id: id, algorithm: algorithm, key: public}, nil
}

// Algorithms are those known here, sorted.
func Algorithms() []string { return slices.Sorted(maps.Keys(algorithms)) }

// IsSecret reports whether an algorithm's keys are secrets, with which tokens can be made as well as checked.
func IsSecret(algorithm string) bool { return algorithms[algorithm].secret > 0 }

// publicKey reads the first block of PEM.
func publicKey(data []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("no PEM: want a block BEGIN PUBLIC KEY or BEGIN CERTIFICATE")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	default:
		return nil, fmt.Errorf("a %s is not what checks tokens: give the public key alone", strings.ToLower(block.Type))
	}
}
