// Package token checks JSON Web Tokens (RFC 7519) for gateway and edge: who a client is, which topics it may subscribe
// and publish to, and what quota it has. It does no I/O: keys are given to it, or come from a [Source], as those of
// package jwks.
//
// # What is refused
//
// A key is of one algorithm, which the operator names, and checks tokens of that one alone: a token cannot choose, so
// alg "none" and an RSA key used as an HMAC secret are refused like any forgery. A token without an end, of another
// issuer or for another audience is refused, and one that is longer than [MaxTokenBytes]. Headers that name a key to
// be fetched (jku, x5u) or bring one (jwk, x5c) are not looked at. Critical headers (crit), of which none is known,
// refuse a token, RFC 7515, section 4.1.11.
package token
