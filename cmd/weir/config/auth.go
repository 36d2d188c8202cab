package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"weir/edge/loop"
	"weir/token"
	"weir/token/jwks"
)

// Auth is the section of tokens, for edge and gateway.
type Auth struct {
	// Keys are ALG:KID:FILE; Material is what those files have.
	Keys     []string
	Material []AuthKey
	// JWKS is where a JWK set is; empty: there is none.
	JWKS                      string
	JWKSRefresh, JWKSMaxStale time.Duration
	JWKSAlgorithms            []string
	Issuer, Audience          string
	Leeway                    time.Duration
}

// AuthKey is a key as its file has it.
type AuthKey struct {
	ID, Algorithm string
	Data          []byte
}

func defaultAuth() Auth {
	set := jwks.Config{}.Defaults()
	return Auth{JWKSRefresh: set.Refresh, JWKSMaxStale: set.MaxStale, JWKSAlgorithms: set.Algorithms, Leeway: token.DefaultLeeway}
}

// Checks reports whether there is anything to check tokens with.
func (a *Auth) Checks() bool { return len(a.Keys) > 0 || a.JWKS != "" }

// Set is a's part of a JWK set.
func (a *Auth) Set() jwks.Config {
	return jwks.Config{Location: a.JWKS, Refresh: a.JWKSRefresh, MaxStale: a.JWKSMaxStale, Algorithms: a.JWKSAlgorithms}
}

// Tokens is a's part of a verifier, its keys but for those of the set. The error wraps [token.ErrBadKey].
func (a *Auth) Tokens() (token.Config, error) {
	c := token.Config{Issuer: a.Issuer, Audience: a.Audience, Leeway: a.Leeway}
	for _, m := range a.Material {
		k, err := token.ParseKey(m.ID, m.Algorithm, m.Data)
		if err != nil {
			return c, err
		}
		c.Keys = append(c.Keys, k)
	}
	return c, nil
}

// parseAuthKey reads ALG:KID:FILE; KID may be empty.
func parseAuthKey(text string) (k AuthKey, file string, err error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) < 3 || parts[0] == "" || parts[2] == "" {
		return k, "", fmt.Errorf("is %q: want ALG:KID:FILE, such as RS256:2026-01:/etc/weir/2026-01.pem, KID empty for tokens of any", text)
	}
	known := token.Algorithms()
	for _, a := range known {
		if a == parts[0] {
			return AuthKey{ID: parts[1], Algorithm: a}, parts[2], nil
		}
	}
	return k, "", fmt.Errorf("is %q: %s is no algorithm%s", text, parts[0], suggestion(parts[0], known))
}

// readAuthKeys reads the files of auth.keys. A secret is what its file has, without a line end.
func (l *loader) readAuthKeys() {
	const key = "auth.keys"
	a := &l.config.Auth
	for _, text := range a.Keys {
		k, path, err := parseAuthKey(text)
		if err != nil {
			continue // check says so
		}
		l.source = sourceOr(l.source)
		if k.Data, err = os.ReadFile(path); err != nil {
			l.fail(l.lines[key], key, "is %q, which cannot be read: %s", text, err)
			continue
		}
		if token.IsSecret(k.Algorithm) {
			k.Data = []byte(strings.TrimSuffix(strings.TrimSuffix(string(k.Data), "\n"), "\r"))
		}
		if _, err := token.ParseKey(k.ID, k.Algorithm, k.Data); err != nil {
			l.fail(l.lines[key], key, "is %q: %s", text, err)
			continue
		}
		a.Material = append(a.Material, k)
	}
}

// validate reports what of a, and of who else is let in, is wrong; files are not looked at.
func (a *Auth) validate(anonymous string) error {
	var errs []error
	for _, text := range a.Keys {
		if _, _, err := parseAuthKey(text); err != nil {
			errs = append(errs, fmt.Errorf("auth.Keys %w", err))
		}
	}
	if a.JWKS != "" {
		errs = append(errs, flatten(a.Set().Validate())...)
	}
	if a.Leeway < time.Second || a.Leeway > token.MaxLeeway {
		errs = append(errs, fmt.Errorf("auth.Leeway is %v: want 1s to %v", a.Leeway, token.MaxLeeway))
	}
	if a.Checks() {
		return errors.Join(errs...)
	}
	const missing = "a key to check tokens with: set auth.keys or auth.jwks"
	if anonymous == loop.AnonymousOff {
		errs = append(errs, fmt.Errorf("edge.Anonymous is off, and nobody could connect: want %s", missing))
	}
	for _, f := range []struct{ field, value string }{{"Issuer", a.Issuer}, {"Audience", a.Audience}} {
		if f.value != "" {
			errs = append(errs, fmt.Errorf("auth.%s is %q, and no token is looked at: want %s", f.field, f.value, missing))
		}
	}
	return errors.Join(errs...)
}
