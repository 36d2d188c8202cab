package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// Of RFC 7520, section 4: one payload, which is no claims, and a header each, in which is the kid.
const (
	hobbitPayload = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
	hobbitID      = "bilbo.baggins@hobbiton.example"

	hobbitRS256 = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." + hobbitPayload + ".MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"
	hobbitPS384 = "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." + hobbitPayload + ".cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"
	hobbitES512 = "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." + hobbitPayload + ".AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2"
	hobbitHS256 = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9." + hobbitPayload + ".s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"

	hobbitN      = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"
	hobbitX      = "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt"
	hobbitY      = "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"
	hobbitSecret = "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"

	// Of RFC 8037, appendix A.4, its key of A.2.
	edToken = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	edKey   = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

	// Of RFC 7519, section 6.1, a token of nobody; of appendix A.1, and of RFC 7516, appendix A.1, encrypted ones.
	unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
	encrypted = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoTCVJRgckCL9kiMT03JGeipsEdY3mx_etLbbWSrFr05kLzcSr4qKAq7YN7e9jwQRb23nfa6c9d-StnImGyFDbSv04uVuxIp5Zms1gNxKKK2Da14B8S4rzVRltdYwam_lDp5XnZAYpQdb76FdIKLaVmqgfwX7XWRxv2322i-vDxRfqNzo_tETKzpVLzfiwQyeyPGLBIO56YJ7eObdv0je81860ppamavo35UgoRdbYaBcoh9QcfylQr66oc6vFWXRcZ_ZT2LawVCWTIy3brGPi6UklfCpIMfIjf7iGdXKHzg.48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ"
)

func newKey(t *testing.T, id, algorithm string, public crypto.PublicKey) Key {
	t.Helper()
	k, err := NewKey(id, algorithm, public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSignaturesOfRFC7520And8037 are right, which cannot be told by Verify: what they sign are no claims.
func TestSignaturesOfRFC7520And8037(t *testing.T) {
	curve := elliptic.P521()
	p521, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, bytesOf(t, hobbitX), bytesOf(t, hobbitY)))
	if err != nil {
		t.Fatal(err)
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(bytesOf(t, hobbitN)), E: 65537}
	secretID := "018c0ae5-4d9b-471b-bfd6-eef314bc7037"
	all := []Key{
		newKey(t, hobbitID, "RS256", public), newKey(t, hobbitID, "PS384", public), newKey(t, hobbitID, "ES512", p521),
		key(t, secretID, "HS256", bytesOf(t, hobbitSecret)), newKey(t, "", "EdDSA", ed25519.PublicKey(bytesOf(t, edKey))),
	}
	set, err := NewKeySet(all)
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, Config{Keys: all}, 1)
	for i, text := range []string{hobbitRS256, hobbitPS384, hobbitES512, hobbitHS256, edToken} {
		dot := strings.LastIndexByte(text, '.')
		signature, k := bytesOf(t, text[dot+1:]), all[i]
		fits := set.appendFor(nil, k.ID(), k.Algorithm())
		if len(fits) != 1 {
			t.Fatalf("%s: %d keys fit", k.Algorithm(), len(fits))
		}
		method := jwt.GetSigningMethod(k.Algorithm())
		if err := method.Verify(text[:dot], signature, fits[0]); err != nil {
			t.Errorf("%s: %v", k.Algorithm(), err)
		}
		signature[len(signature)/2] ^= 1
		if method.Verify(text[:dot], signature, fits[0]) == nil {
			t.Errorf("%s: another signature passes", k.Algorithm())
		}
		if _, err := v.Verify(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: what is no claims: %v", k.Algorithm(), err)
		}
	}
}

func TestTokensOfNobodyAndEncryptedOnesAreRefused(t *testing.T) {
	v := verifier(t, Config{Keys: []Key{key(t, "", "RS256", rsaPEM(t))}}, 1)
	if _, err := v.Verify(unsecured); !errors.Is(err, ErrForged) {
		t.Errorf("unsecured: %v", err)
	}
	if _, err := v.Verify(encrypted); !errors.Is(err, ErrMalformed) {
		t.Errorf("encrypted: %v", err)
	}
	for _, header := range []string{`{"alg":"nOnE"}`, `{"alg":"NONE"}`, `{"alg":""}`, `{}`, `{"alg":null}`, `{"alg":["RS256"]}`, `{"alg":"RS256","alg":"none"}`} {
		text := b64(header) + "." + rfcPayload + "."
		if _, err := v.Verify(text); !errors.Is(err, ErrForged) && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", header, err)
		}
	}
}
