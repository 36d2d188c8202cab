// Package jwks keeps the keys of a JWK set (RFC 7517) that is at a URL or in a file: fetched again and again, so that
// an issuer may change its keys, and bounded, so that neither a slow, wrong or huge endpoint nor a flood of forged
// tokens costs more than a fetch every few seconds.
//
// # What is taken
//
// Public keys for signatures: RSA, the curves P-256, P-384 and P-521, and Ed25519. Each is bound to one algorithm, that
// which it names, or else the first of Config.Algorithms that fits it. Private keys, secrets (oct), keys for encryption
// and what cannot be read are left out and counted: a secret that everybody can fetch is none. Of several keys of one
// kid and algorithm the first is taken, so that a token is checked with one key of the set, however many it has. What a
// key brings beside itself (x5c, x5u) is not looked at.
//
// # When it is fetched
//
// At once, then every Config.Refresh, or sooner if Cache-Control says max-age; an issuer that publishes a key that long
// before its first token is never missed. A token of a key that is not known has it fetched too, [MissPause] after the
// last fetch at the earliest. Nobody waits for that: the token is refused, and its client comes again. While fetches
// fail, the last good set holds, for Config.MaxStale; a set without a usable key is a failure.
//
// One goroutine does all of it, [Set.Run]; [Set.KeySet] reads what it has published.
package jwks
