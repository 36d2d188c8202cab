package token

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// Errors of [Verifier.Verify], to be tested for with [errors.Is]. A client may be told them: none says more than
// the client could know.
var (
	// ErrMalformed says that it is no token, or has claims of a wrong type.
	ErrMalformed = errors.New("the token cannot be read")
	// ErrForged says that no key of ours has signed it, by that key's algorithm.
	ErrForged = errors.New("the token is not signed by a key that is known here")
	// ErrNoKeys says that the keys which could check it are not there: the set that they are in was never got, or
	// not for too long. It says nothing about the token.
	ErrNoKeys = errors.New("the keys to check tokens with are not there yet: try again later")
	// ErrExpired says that its exp has passed. The client is to get a new one.
	ErrExpired = errors.New("the token has expired")
	// ErrNotYet says that its nbf or iat is still to come.
	ErrNotYet = errors.New("the token is not valid yet")
	// ErrWrongIssuer and ErrWrongAudience say that it is from somebody else, or for somebody else.
	ErrWrongIssuer   = errors.New("the token is from another issuer")
	ErrWrongAudience = errors.New("the token is for another audience")
	// ErrIncomplete says that it lacks a claim that is needed here: exp or sub.
	ErrIncomplete = errors.New("the token lacks exp or sub")

	// ErrBadKey is wrapped by every error about a key.
	ErrBadKey = errors.New("bad key")
)

// outcomes are what the library says, by what it means here; the first that holds.
var outcomes = []struct{ theirs, ours error }{
	{ErrNoKeys, ErrNoKeys},
	{jwt.ErrTokenMalformed, ErrMalformed},
	{jwt.ErrTokenUnverifiable, ErrForged},
	{jwt.ErrTokenSignatureInvalid, ErrForged},
	{jwt.ErrTokenRequiredClaimMissing, ErrIncomplete},
	{jwt.ErrTokenExpired, ErrExpired},
	{jwt.ErrTokenNotValidYet, ErrNotYet},
	{jwt.ErrTokenUsedBeforeIssued, ErrNotYet},
	{jwt.ErrTokenInvalidIssuer, ErrWrongIssuer},
	{jwt.ErrTokenInvalidAudience, ErrWrongAudience},
}

// Explain is the error of this package that an error of [Verifier.Verify] wraps, which is all that a client is to be
// told: what else the error has may be a part of the token.
func Explain(err error) error {
	for _, e := range []error{ErrMalformed, ErrForged, ErrNoKeys, ErrExpired, ErrNotYet, ErrWrongIssuer, ErrWrongAudience, ErrIncomplete} {
		if errors.Is(err, e) {
			return e
		}
	}
	return ErrMalformed
}

func outcome(err error) error {
	for _, o := range outcomes {
		if errors.Is(err, o.theirs) {
			return o.ours
		}
	}
	return ErrMalformed
}
