package jwks

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"weir/token"
)

// Bounds of what is fetched.
const (
	// MaxBytes bounds a set, MaxKeys the keys in it.
	MaxBytes = 1 << 20
	MaxKeys  = 100
	// MissPause is the least time from one fetch to another that an unknown key asks for.
	MissPause = 10 * time.Second
	// maxRedirects bounds the redirects of a fetch, each of which has to be to https://.
	maxRedirects = 3
	// leastRefresh is how soon max-age may have a set fetched again.
	leastRefresh = 30 * time.Second
	// fileRefresh is how often a file is looked at.
	fileRefresh = 5 * time.Second
	// retryFirst and retryLast are between which the pause after a failure grows.
	retryFirst = time.Second
	retryLast  = time.Minute
)

// DefaultAlgorithms are those of public keys; of several that fit a key the first.
func DefaultAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// Config configures a [Set].
type Config struct {
	// Location is where the set is: an https:// URL, an http:// one of a loopback address, or the path of a file.
	Location string
	// Refresh is the time between fetches of a URL, less a tenth at random; a file is looked at every 5 s. 30 s to
	// 24 h, default 5 min.
	Refresh time.Duration
	// MaxStale is how long a set holds that cannot be fetched anew. At least Refresh, at most 30 days, default 24 h.
	MaxStale time.Duration
	// Timeout bounds a fetch, redirects and body included. 100 ms to 1 min, default 5 s.
	Timeout time.Duration
	// Algorithms are those that keys may be for. Default [DefaultAlgorithms].
	Algorithms []string
	// Proxy is that of [http.Transport]; nil: none.
	Proxy func(*http.Request) (*url.URL, error)
}

// Defaults is c with every zero field at its default.
func (c Config) Defaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.Refresh, 5 * time.Minute}, {&c.MaxStale, 24 * time.Hour}, {&c.Timeout, 5 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Algorithms == nil {
		c.Algorithms = DefaultAlgorithms()
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.Defaults()
	var errs []error
	if _, err := parseLocation(c.Location); err != nil {
		errs = append(errs, err)
	}
	for _, r := range []struct {
		field            string
		value, low, high time.Duration
	}{
		{"JWKSRefresh", c.Refresh, leastRefresh, 24 * time.Hour},
		{"JWKSMaxStale", c.MaxStale, c.Refresh, 30 * 24 * time.Hour},
		{"JWKSTimeout", c.Timeout, 100 * time.Millisecond, time.Minute},
	} {
		if r.value < r.low || r.value > r.high {
			errs = append(errs, fmt.Errorf("auth.%s is %v: want %v to %v", r.field, r.value, r.low, r.high))
		}
	}
	if len(c.Algorithms) == 0 {
		errs = append(errs, fmt.Errorf("auth.JWKSAlgorithms is empty: want some of %s", strings.Join(DefaultAlgorithms(), ", ")))
	}
	for _, a := range c.Algorithms {
		switch {
		case token.IsSecret(a):
			errs = append(errs, fmt.Errorf("auth.JWKSAlgorithms is %q: its keys are secrets, which no set may have: give them by auth.keys", a))
		case !slices.Contains(token.Algorithms(), a):
			errs = append(errs, fmt.Errorf("auth.JWKSAlgorithms is %q: want some of %s", a, strings.Join(DefaultAlgorithms(), ", ")))
		}
	}
	return errors.Join(errs...)
}

// location is where a set is: at a URL, or if that is nil in a file.
type location struct {
	url  *url.URL
	path string
}

func (l location) String() string {
	if l.url != nil {
		return l.url.Scheme + "://" + l.url.Host + l.url.Path // a query may have secrets
	}
	return l.path
}

// parseLocation does not repeat a URL that it refuses: it may have a password.
func parseLocation(text string) (location, error) {
	scheme, _, isURL := strings.Cut(text, "://")
	if !isURL {
		if text == "" {
			return location{}, errors.New("auth.JWKS is empty: want an https:// URL, or a file")
		}
		return location{path: text}, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return location{}, errors.New("auth.JWKS is no URL: want https://host/path, or a file")
	case u.User != nil:
		return location{}, errors.New("auth.JWKS is a URL with a user: want one that needs no password")
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	default:
		return location{}, fmt.Errorf("auth.JWKS is a URL of scheme %s: want https://, since who changes the set on its way can make tokens; http:// is for loopback addresses alone", scheme)
	}
	return location{url: u}, nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
