package jwks

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/testtoken"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fetcherOf fetches from a location, and trusts a server's certificate.
func fetcherOf(t *testing.T, at string, trusts *httptest.Server) *fetcher {
	t.Helper()
	l, err := parseLocation(at)
	if err != nil {
		t.Fatal(err)
	}
	f := newFetcher(Config{Timeout: 500 * time.Millisecond}, l)
	if trusts != nil {
		pool := x509.NewCertPool()
		pool.AddCert(trusts.Certificate())
		transport := f.client.Transport.(*http.Transport) //nolint:forcetypeassert // it is made so
		transport.TLSClientConfig = trusts.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		transport.TLSClientConfig.RootCAs = pool
	}
	return f
}

// TestAnEndpointThatIsSlowWrongOrHuge has a row for each result of a fetch that fails but those of parse.
func TestAnEndpointThatIsSlowWrongOrHuge(t *testing.T) {
	produced := map[Result]bool{ResultUpdated: true, ResultUnchanged: true, ResultMalformed: true, ResultNoKeys: true} // by others
	done := make(chan struct{})
	defer close(done)
	var plain, secure *httptest.Server
	mux := http.NewServeMux()
	answer := func(path string, f http.HandlerFunc) { mux.HandleFunc(path, f) }
	answer("/good", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=120")
		fmt.Fprint(w, rfc7517)
	})
	answer("/missing", http.NotFound)
	answer("/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	answer("/huge", func(w http.ResponseWriter, _ *http.Request) {
		for range MaxBytes/1024 + 1 {
			_, _ = w.Write(bytes.Repeat([]byte(" "), 1024))
		}
	})
	answer("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 1024)); err != nil {
				return
			}
		}
	})
	wait := func(r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-done:
		}
	}
	answer("/silent", func(_ http.ResponseWriter, r *http.Request) { wait(r) })
	answer("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, rfc7517[:100])
		w.(http.Flusher).Flush() //nolint:forcetypeassert // every server's is
		wait(r)
	})
	answer("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "x")
	})
	answer("/header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100<<10)) })
	to := func(url func() string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url(), http.StatusFound) }
	}
	answer("/moved", to(func() string { return secure.URL + "/good" }))
	answer("/loop", to(func() string { return secure.URL + "/loop" }))
	answer("/down", to(func() string { return plain.URL + "/good" }))
	plain = httptest.NewServer(mux)
	defer plain.Close()
	secure = httptest.NewTLSServer(mux)
	defer secure.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "set.json")
	if err := os.WriteFile(file, []byte(rfc7517), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, at string
		want     error
		trusts   *httptest.Server
	}{
		{"good", plain.URL + "/good", nil, nil},
		{"good over TLS", secure.URL + "/good", nil, secure},
		{"of a certificate that is not trusted", secure.URL + "/good", ErrUnreachable, nil},
		{"not there", plain.URL + "/missing", ErrStatus, nil},
		{"no content", plain.URL + "/empty", ErrStatus, nil},
		{"too large", plain.URL + "/huge", ErrTooLarge, nil},
		{"endless", plain.URL + "/endless", ErrTooLarge, nil},
		{"no answer", plain.URL + "/silent", ErrUnreachable, nil},
		{"half an answer", plain.URL + "/slow", ErrUnreachable, nil},
		{"an answer that is cut", plain.URL + "/cut", ErrUnreachable, nil},
		{"a huge header", plain.URL + "/header", ErrUnreachable, nil},
		{"nobody there", "http://" + nobody.Addr().String(), ErrUnreachable, nil},
		{"moved to https://", plain.URL + "/moved", nil, secure},
		{"moved in circles", secure.URL + "/loop", ErrRedirect, secure},
		{"moved to http://", secure.URL + "/down", ErrRedirect, secure},
		{"a file", file, nil, nil},
		{"no file", file + ".none", ErrUnreachable, nil},
		{"a directory", dir, ErrUnreachable, nil},
		{"a pipe", fifo, ErrUnreachable, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := tt.at
			if strings.Contains(at, "://") {
				at += "?key=hunter2"
			}
			got, err := fetcherOf(t, at, tt.trusts).fetch(t.Context())
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || err == nil && string(got.text) != rfc7517 {
				t.Errorf("%d bytes, %v", len(got.text), err)
			}
			if err != nil {
				produced[failure(err)] = true
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the query is told: %v", err)
				}
			}
			if strings.HasSuffix(tt.at, "/good") && err == nil && got.maxAge != 2*time.Minute {
				t.Errorf("max-age %v", got.maxAge)
			}
		})
	}
	for r := range results {
		if !produced[r] {
			t.Errorf("no fetch has the result %v", r)
		}
	}
}

func TestProxyIsAsked(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, rfc7517) }))
	defer proxy.Close()
	at, err := parseLocation("http://127.0.0.1:1/set")
	if err != nil {
		t.Fatal(err)
	}
	f := newFetcher(Config{Timeout: 5 * time.Second, Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }}, at)
	if _, err := f.fetch(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMaxAge(t *testing.T) {
	for field, want := range map[string]time.Duration{
		"": 0, "no-store": 0, "max-age=60": time.Minute, "public, MAX-AGE=\"60\"": time.Minute, "s-maxage=60": 0,
		"max-age=-1": 0, "max-age=1e9": 0, "max-age=99999999999999999999": 0, "max-age": 0,
	} {
		if got := maxAge(field); got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"https", Config{Location: "https://a.example/set?x=y"}, ""},
		{"http on loopback", Config{Location: "http://[::1]:8080/set"}, ""},
		{"http on localhost", Config{Location: "http://localhost/set"}, ""},
		{"a file", Config{Location: "/etc/weir/set.json"}, ""},
		{"nothing", Config{}, "auth.JWKS is empty: want an https:// URL"},
		{"http elsewhere", Config{Location: "http://a.example/set"}, "want https://"},
		{"another scheme", Config{Location: "ftp://a.example/set"}, "want https://"},
		{"no host", Config{Location: "https:///set"}, "is no URL"},
		{"a password", Config{Location: "https://me:hunter2@a.example/set"}, "is a URL with a user"},
		{"a password in what is no URL", Config{Location: "https://me:hunter2@a b/"}, "is no URL"},
		{"too often", Config{Location: "x", Refresh: time.Second}, "auth.JWKSRefresh is 1s: want 30s to 24h"},
		{"a set that is old at once", Config{Location: "x", MaxStale: time.Second}, "auth.JWKSMaxStale is 1s: want 5m0s to"},
		{"no time to fetch", Config{Location: "x", Timeout: time.Millisecond}, "auth.JWKSTimeout is 1ms"},
		{"HMAC", Config{Location: "x", Algorithms: []string{"HS256"}}, "its keys are secrets"},
		{"none", Config{Location: "x", Algorithms: []string{"none"}}, `auth.JWKSAlgorithms is "none": want some of RS256`},
		{"no algorithm", Config{Location: "x", Algorithms: []string{}}, "auth.JWKSAlgorithms is empty"},
	} {
		s, err := New(tt.cfg, slog.New(slog.DiscardHandler))
		if (tt.want == "") != (err == nil) || (s == nil) != (err != nil) || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestASetFromARealEndpoint has the parts work together; when it is fetched is tested under synthetic time.
func TestASetFromARealEndpoint(t *testing.T) {
	k := testtoken.New(t, "a")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, testtoken.Set(k)) }))
	defer srv.Close()
	s, err := New(Config{Location: srv.URL}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if s.Ready() == nil || s.KeySet() != nil {
		t.Error("it is ready before it is fetched")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); s.Ready() != nil; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(s.Ready())
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
