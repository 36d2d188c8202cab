package main

import (
	"fmt"
	"log/slog"
	"net/http"

	"weir/cmd/weir/config"
	"weir/token"
	"weir/token/jwks"
)

// newTokens is what clients' tokens are checked with, nil without keys; set is nil without a JWK set, and has no keys
// before it runs.
func newTokens(a *config.Auth, log *slog.Logger) (v *token.Verifier, set *jwks.Set, err error) {
	if !a.Checks() {
		return nil, nil, nil
	}
	cfg, err := a.Tokens()
	if err != nil {
		return nil, nil, fmt.Errorf("read auth.keys: %w", err)
	}
	if a.JWKS != "" {
		from := a.Set()
		from.Proxy = http.ProxyFromEnvironment
		if set, err = jwks.New(from, log); err != nil {
			return nil, nil, err
		}
		cfg.Source = set
	}
	v, err = token.New(cfg)
	return v, set, err
}
