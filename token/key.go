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
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// minRSABits is RFC 7518, section 3.3.
const minRSABits = 2048

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

// ParseKey makes a key of an algorithm: for HS256, HS384 and HS512 data is the secret itself, of at least as many
// bytes as the hash; for all others a public key or a certificate in PEM. id is the kid of its tokens; empty for one
// that checks tokens of any. The error wraps [ErrBadKey], and never has the secret in it.
func ParseKey(id, algorithm string, data []byte) (Key, error) {
	bad := func(format string, args ...any) (Key, error) {
		return Key{}, fmt.Errorf("%w %q: %s", ErrBadKey, id, fmt.Sprintf(format, args...))
	}
	a, known := algorithms[algorithm]
	if !known {
		return bad("algorithm %q: want one of %s", algorithm, strings.Join(slices.Sorted(maps.Keys(algorithms)), ", "))
	}
	k := Key{id: id, algorithm: algorithm}
	if a.secret > 0 {
		if len(data) < a.secret {
			return bad("a secret of %d bytes is too short for %s: want %d or more, at random", len(data), algorithm, a.secret)
		}
		if block, _ := pem.Decode(data); block != nil {
			return bad("a %s is no secret: whoever has it could forge tokens; use RS256, ES256 or EdDSA with it", strings.ToLower(block.Type))
		}
		k.key = slices.Clone(data)
		return k, nil
	}
	public, err := publicKey(data)
	if err != nil {
		return bad("%v", err)
	}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if algorithm[0] != 'R' && algorithm[0] != 'P' {
			return bad("an RSA key is not for %s", algorithm)
		}
		if p.N.BitLen() < minRSABits {
			return bad("an RSA key of %d bits is too short: want %d or more", p.N.BitLen(), minRSABits)
		}
	case *ecdsa.PublicKey:
		if a.curve == nil || p.Curve != a.curve {
			return bad("a key on curve %s is not for %s", p.Curve.Params().Name, algorithm)
		}
	case ed25519.PublicKey:
		if algorithm != "EdDSA" {
			return bad("an Ed25519 key is not for %s", algorithm)
		}
	default:
		return bad("a %T is not for tokens", public)
	}
	k.key = public
	return k, nil
}

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
