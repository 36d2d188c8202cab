package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// fetched is a set as it came. maxAge is 0 if the answer does not say.
type fetched struct {
	text   []byte
	maxAge time.Duration
}

// fetcher gets a set from its URL.
type fetcher struct {
	at     location
	client *http.Client
}

func newFetcher(cfg Config, at location) *fetcher {
	return &fetcher{at: at, client: &http.Client{
		Timeout:       cfg.Timeout,
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:                  cfg.Proxy,
			DisableKeepAlives:      true, // the next fetch is minutes away
			DisableCompression:     true, // what is small on the wire would not be here
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}}
}

func checkRedirect(next *http.Request, before []*http.Request) error {
	if next.URL.Scheme != "https" || len(before) > maxRedirects {
		return ErrRedirect
	}
	return nil
}

// fetch gets the set. The error wraps one of this package's.
func (f *fetcher) fetch(ctx context.Context) (fetched, error) {
	if f.at.url == nil {
		return f.read()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.at.url.String(), nil)
	if err != nil {
		return fetched{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", "weir")
	res, err := f.client.Do(req)
	switch {
	case errors.Is(err, ErrRedirect):
		return fetched{}, ErrRedirect
	case err != nil:
		return fetched{}, fmt.Errorf("%w: %w", ErrUnreachable, withoutURL(err))
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	if res.StatusCode != http.StatusOK {
		return fetched{}, fmt.Errorf("%w but %d", ErrStatus, res.StatusCode)
	}
	text, err := readBounded(res.Body)
	return fetched{text, maxAge(res.Header.Get("Cache-Control"))}, err
}

// read gets the set from its file.
func (f *fetcher) read() (fetched, error) {
	info, err := os.Stat(f.at.path)
	if err == nil && !info.Mode().IsRegular() { // one that can be waited for at
		err = errors.New("it is no file")
	}
	if err != nil {
		return fetched{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	file, err := os.Open(f.at.path)
	if err != nil {
		return fetched{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer file.Close() //nolint:errcheck // it was read
	text, err := readBounded(file)
	return fetched{text: text}, err
}

func readBounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, withoutURL(err))
	case len(text) > MaxBytes:
		return nil, ErrTooLarge
	}
	return text, nil
}

// withoutURL is an error of net/http's without the URL, whose query may have secrets.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// maxAge is that of a Cache-Control field (RFC 9111, section 5.2.2.1), 0 without one. What forbids to keep the set at
// all is not heeded: there is nothing to check tokens with then.
func maxAge(field string) time.Duration {
	for part := range strings.SplitSeq(field, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil && seconds > 0 {
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}
