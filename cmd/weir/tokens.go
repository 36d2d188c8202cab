package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"weir/admin"
	"weir/broker"
	"weir/cmd/weir/config"
	"weir/token"
	"weir/token/jwks"
)

// newTokens is what clients' tokens are checked with, nil without keys; set is nil without a JWK set, and has no keys
// before it runs.
func newTokens(a *config.Auth, log *slog.Logger) (v *token.Verifier, set *jwks.Set, err error) {
	if set, err = newKeySet(a, log); err != nil {
		return nil, nil, err
	}
	v, err = newVerifier(a, set, nil)
	return v, set, err
}

// publishers lets who has a token publish to what its topics.publish has; nil without tokens.
func publishers(v *token.Verifier) admin.Publishers {
	if v == nil {
		return nil
	}
	return func(text string) (func(broker.Topic) bool, error) {
		claims, err := v.Verify(text)
		switch {
		case err == nil:
			return claims.MayPublish, nil
		case errors.Is(err, token.ErrNoKeys):
			return nil, token.ErrNoKeys
		}
		if public := token.Public(err); public != nil {
			return nil, public
		}
		return nil, errNoToken
	}
}

// errNoToken is said of what nothing is to be told about.
var errNoToken = errors.New("it cannot be checked")

// newKeySet is the JWK set of a configuration, nil without one.
func newKeySet(a *config.Auth, log *slog.Logger) (*jwks.Set, error) {
	if a.JWKS == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	from := a.Set()
	from.Proxy = http.ProxyFromEnvironment
	return jwks.New(from, log)
}

// newVerifier checks tokens by the keys of a configuration and of its set, and keeps values of them; nil without any keys.
func newVerifier(a *config.Auth, set *jwks.Set, values []string) (*token.Verifier, error) {
	if !a.Checks() {
		return nil, nil //nolint:nilnil // there is none
	}
	cfg, err := a.Tokens()
	if err != nil {
		return nil, fmt.Errorf("read auth.keys: %w", err)
	}
	if set != nil {
		cfg.Source = set
	}
	cfg.Values = values
	return token.New(cfg)
}
