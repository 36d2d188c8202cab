package jwks

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"weir/internal/testtoken"
	"weir/token"
)

// rfc7517 is the set of RFC 7517, appendix A.1: a key for encryption, and an RSA key.
const rfc7517 = `{"keys":[
 {"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"},
 {"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}]}`

const (
	// The keys of RFC 7515, appendix A, and of RFC 7520, section 3.
	rfcRSA   = `"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"`
	rfcP256  = `"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	rfcP521  = `"kty":"EC","crv":"P-521","x":"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt","y":"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"`
	rfcEd    = `"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"` // RFC 8037, appendix A.2
	rfcOct   = `"kty":"oct","k":"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"`
	rfc512   = `"kty":"RSA","e":"AQAB","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXbw"`
	rfcToken = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)

func set(keys ...string) string {
	for i := range keys {
		if !strings.HasPrefix(keys[i], "{") {
			keys[i] = "{" + keys[i] + "}"
		}
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

func TestSetOfRFC7517(t *testing.T) {
	p, err := parse([]byte(rfc7517), DefaultAlgorithms())
	if err != nil || len(p.keys) != 1 || p.keys[0].ID() != "2011-04-29" || p.keys[0].Algorithm() != "RS256" || p.ignored[IgnoredUse] != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestEveryKeyHasItsAlgorithmOrAReason has a row for each reason; one without a row fails it.
func TestEveryKeyHasItsAlgorithmOrAReason(t *testing.T) {
	produced := map[Ignored]bool{}
	none := used
	few := []string{"PS384", "ES256"}
	for _, tt := range []struct {
		name, key  string
		algorithms []string
		want       string
		why        Ignored
	}{
		{"its own algorithm", rfcRSA + `,"alg":"PS512","use":"sig"`, nil, "PS512", none},
		{"an RSA key without one", rfcRSA, nil, "RS256", none},
		{"an RSA key without one, where some are allowed", rfcRSA, few, "PS384", none},
		{"a curve has but one", rfcP256, few, "ES256", none},
		{"P-521", rfcP521, nil, "ES512", none},
		{"Ed25519", rfcEd + `,"key_ops":["verify"]`, nil, "EdDSA", none},
		{"members that are not known", rfcEd + `,"x5c":["x"],"x5u":"http://x","ext":true`, nil, "EdDSA", none},
		{"a secret", rfcOct, nil, "", IgnoredSecret},
		{"a secret that says to be for RS256", rfcOct + `,"alg":"RS256"`, nil, "", IgnoredSecret},
		{"an RSA key with a private part", rfcRSA + `,"d":"AQ"`, nil, "", IgnoredPrivate},
		{"an RSA key with a prime", rfcRSA + `,"p":7`, nil, "", IgnoredPrivate},
		{"a private Ed25519 key", rfcEd + `,"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"`, nil, "", IgnoredPrivate},
		{"an RSA key that brings a secret", rfcRSA + `,"k":"x"`, nil, "", IgnoredPrivate},
		{"for encryption", rfcRSA + `,"use":"enc"`, nil, "", IgnoredUse},
		{"to sign with", rfcRSA + `,"key_ops":["sign"]`, nil, "", IgnoredUse},
		{"an RSA key for HMAC", rfcRSA + `,"alg":"HS256"`, nil, "", IgnoredAlgorithm},
		{"for none", rfcRSA + `,"alg":"none"`, nil, "", IgnoredAlgorithm},
		{"an algorithm that is not allowed", rfcRSA + `,"alg":"RS256"`, few, "", IgnoredAlgorithm},
		{"a type that none is allowed for", rfcEd, few, "", IgnoredAlgorithm},
		{"for key agreement", `"kty":"OKP","crv":"X25519","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"`, nil, "", IgnoredType},
		{"a curve that is not known", `"kty":"EC","crv":"secp256k1","x":"AQ","y":"AQ"`, nil, "", IgnoredType},
		{"no type", `"n":"AQ"`, nil, "", IgnoredType},
		{"another's algorithm", rfcP256 + `,"alg":"RS256"`, nil, "", IgnoredMalformed},
		{"another curve's algorithm", rfcP256 + `,"alg":"ES512"`, nil, "", IgnoredMalformed},
		{"512 bits of RSA", rfc512, nil, "", IgnoredMalformed},
		{"16384 bits of RSA", `"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("_", 2731) + `"`, nil, "", IgnoredMalformed},
		{"an exponent of 1", strings.Replace(rfcRSA, "AQAB", "AQ", 1), nil, "", IgnoredMalformed},
		{"an exponent of 2^32", strings.Replace(rfcRSA, "AQAB", "AQAAAAA", 1), nil, "", IgnoredMalformed},
		{"no exponent", strings.Replace(rfcRSA, "AQAB", "", 1), nil, "", IgnoredMalformed},
		{"a modulus that is no base64url", strings.Replace(rfcRSA, "ofg", "o+g", 1), nil, "", IgnoredMalformed},
		{"padded base64", strings.Replace(rfcEd, `URo"`, `URo="`, 1), nil, "", IgnoredMalformed},
		{"a point that is not on the curve", strings.Replace(rfcP256, "f83O", "f83P", 1), nil, "", IgnoredMalformed},
		{"a coordinate that is cut", strings.Replace(rfcP256, "f83O", "", 1), nil, "", IgnoredMalformed},
		{"a short Ed25519 key", `"kty":"OKP","crv":"Ed25519","x":"AQ"`, nil, "", IgnoredMalformed},
		{"a modulus that is a number", `"kty":"RSA","n":7,"e":"AQAB"`, nil, "", IgnoredMalformed},
		{"no object", "7", nil, "", IgnoredMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.algorithms == nil {
				tt.algorithms = DefaultAlgorithms()
			}
			text := "{" + tt.key + "}"
			if tt.key == "7" {
				text = "7"
			}
			k, why := parseKey([]byte(text), tt.algorithms)
			if k.Algorithm() != tt.want || why != tt.why {
				t.Errorf("%q, %v, want %q, %v", k.Algorithm(), why, tt.want, tt.why)
			}
		})
		produced[tt.why] = true
	}
	p, err := parse([]byte(set(rfcEd+`,"kid":"a"`, rfcEd+`,"kid":"b"`, rfcEd+`,"kid":"a"`, rfcP256+`,"kid":"a"`)), DefaultAlgorithms())
	if err != nil || len(p.keys) != 3 || p.ignored[IgnoredDouble] != 1 {
		t.Errorf("a kid twice: %d keys, %v ignored, %v", len(p.keys), p.ignored, err)
	}
	produced[IgnoredDouble] = true
	for i := range ignoredReasons {
		if !produced[i] {
			t.Errorf("nothing is ignored for %v", i)
		}
	}
}

func TestWhatIsNoSetIsAnError(t *testing.T) {
	many := make([]string, MaxKeys+1)
	for i := range many {
		many[i] = fmt.Sprintf(`%s,"kid":"%d"`, rfcEd, i)
	}
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"nothing", "", ErrMalformed},
		{"a page", "<html>sign in</html>", ErrMalformed},
		{"a list", "[]", ErrMalformed},
		{"null", "null", ErrMalformed},
		{"no keys", "{}", ErrMalformed},
		{"keys that are no list", `{"keys":{}}`, ErrMalformed},
		{"more behind it", rfc7517 + "x", ErrMalformed},
		{"cut", rfc7517[:len(rfc7517)-2], ErrMalformed},
		{"deep", strings.Repeat(`{"keys":[`, 20_000), ErrMalformed},
		{"an empty list", `{"keys":[]}`, ErrNoKeys},
		{"secrets alone", set(rfcOct), ErrNoKeys},
		{"a key too many", set(many...), ErrTooLarge},
		{"a byte too many", strings.Repeat(" ", MaxBytes+1), ErrTooLarge},
	} {
		if p, err := parse([]byte(tt.text), DefaultAlgorithms()); !errors.Is(err, tt.want) || len(p.keys) > 0 {
			t.Errorf("%s: %d keys, %v", tt.name, len(p.keys), err)
		}
	}
	if p, err := parse([]byte(set(many[:MaxKeys]...)), DefaultAlgorithms()); err != nil || len(p.keys) != MaxKeys {
		t.Errorf("as many as may be: %d keys, %v", len(p.keys), err)
	}
}

// TestPublicKeysAreNoSecrets: with a key of a set nobody can make a token that its verifier takes by HMAC.
func TestPublicKeysAreNoSecrets(t *testing.T) {
	k := testtoken.New(t, "a")
	p, err := parse([]byte(set(k.JWK(), rfcP256)), DefaultAlgorithms())
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.New(token.Config{Keys: p.keys})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(rfcToken); !errors.Is(err, token.ErrExpired) { // which is said of a right signature alone
		t.Errorf("the token of RFC 7515, appendix A.3: %v", err)
	}
	if _, err := v.Verify("eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ" + rfcToken[strings.IndexByte(rfcToken, '.'):]); !errors.Is(err, token.ErrForged) {
		t.Errorf("by HMAC: %v", err)
	}
}

// FuzzParse: nothing makes it panic, or take a secret or more keys than may be.
func FuzzParse(f *testing.F) {
	f.Add([]byte(rfc7517))
	f.Add([]byte(set(rfcRSA, rfcP256, rfcP521, rfcEd, rfcOct, rfc512)))
	f.Add([]byte(`{"keys":[null,7,"x",[],{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parse(text, DefaultAlgorithms())
		if (err == nil) != (len(p.keys) > 0) || len(p.keys) > MaxKeys {
			t.Fatalf("%d keys, %v", len(p.keys), err)
		}
		for _, k := range p.keys {
			if token.IsSecret(k.Algorithm()) {
				t.Fatalf("a key of %s", k.Algorithm())
			}
		}
	})
}
