// Package certificates keeps the certificates of a server as their files have them: files that change are read again, and what
// cannot be served is not taken.
package certificates

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// lookAgain is how often the files of certificates are looked at.
const lookAgain = 5 * time.Second

// Config configures a [Store].
type Config struct {
	// Pairs are the PEM files of each certificate and its key, "CERT.pem:KEY.pem". At least one.
	Pairs []string
	// Setting is what errors call it, such as edge.tls_certificates.
	Setting string
	// Build makes of certificates what conns are served by.
	Build func([]tls.Certificate) *tls.Config
}

// Store is certificates, as their files had them last.
type Store struct {
	cfg     Config
	log     *slog.Logger
	files   []string
	seen    []os.FileInfo // nil for one that was not there
	current atomic.Pointer[tls.Config]
	expires atomic.Int64 // the first of them, in seconds since 1970

	reloaded, rejected atomic.Uint64
}

// New reads the certificates.
func New(cfg Config, log *slog.Logger) (*Store, error) {
	c := &Store{cfg: cfg, log: log}
	if len(cfg.Pairs) == 0 {
		return nil, fmt.Errorf("no certificate to serve TLS with: name one in %s, as CERT.pem:KEY.pem", cfg.Setting)
	}
	for _, pair := range cfg.Pairs {
		cert, key, ok := strings.Cut(pair, ":")
		if !ok || cert == "" || key == "" {
			return nil, fmt.Errorf("%s is %q: want the files of a certificate and of its key, as CERT.pem:KEY.pem", cfg.Setting, pair)
		}
		c.files = append(c.files, cert, key)
	}
	c.seen = c.look() // before they are read: what changes meanwhile is read again
	return c, c.load()
}

// load reads all files, and takes what they have if all of it can be served.
func (c *Store) load() error {
	var all []tls.Certificate
	var first time.Time
	for i := 0; i < len(c.files); i += 2 {
		cert, err := c.loadPair(c.files[i], c.files[i+1])
		if err != nil {
			return err
		}
		if all = append(all, cert); first.IsZero() || cert.Leaf.NotAfter.Before(first) {
			first = cert.Leaf.NotAfter
		}
	}
	c.current.Store(c.cfg.Build(all))
	c.expires.Store(first.Unix())
	return nil
}

func (c *Store) loadPair(certFile, keyFile string) (cert tls.Certificate, err error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return cert, fmt.Errorf("read a certificate: put one there that weir may read, or change %s: %w", c.cfg.Setting, err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return cert, fmt.Errorf("read the key of %s: put it there so that weir may read it, or change %s: %w", certFile, c.cfg.Setting, err)
	}
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return cert, fmt.Errorf("certificate %s and key %s: want PEM, the certificate before those that signed it, and its own key: %w", certFile, keyFile, err)
	}
	if now := time.Now(); now.After(cert.Leaf.NotAfter) {
		return cert, fmt.Errorf("certificate %s has expired, at %s: renew it, or take it out of %s", certFile, cert.Leaf.NotAfter.Format(time.RFC3339), c.cfg.Setting)
	}
	return cert, nil
}

// Watch looks at the files until ctx ends.
func (c *Store) Watch(ctx context.Context) {
	t := time.NewTicker(lookAgain)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.Refresh()
		}
	}
}

// Refresh reads the files again if one is another than it was. What cannot be served is not taken,
// and said once.
func (c *Store) Refresh() {
	seen := c.look()
	same := true
	for i, f := range seen {
		same = same && sameFile(f, c.seen[i])
	}
	if same {
		return
	}
	c.seen = seen
	if err := c.load(); err != nil {
		c.rejected.Add(1)
		c.log.Warn("certificates stay as they were", "err", err)
		return
	}
	c.reloaded.Add(1)
	c.log.Info("certificates reloaded", "first_expires", time.Unix(c.expires.Load(), 0))
}

func (c *Store) look() []os.FileInfo {
	seen := make([]os.FileInfo, len(c.files))
	for i, file := range c.files {
		seen[i], _ = os.Stat(file) // one that is not there is nil
	}
	return seen
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// Current is what conns are served by now.
func (c *Store) Current() *tls.Config { return c.current.Load() }

// Changes are how often changed files were taken, and how often not.
func (c *Store) Changes() (reloaded, rejected uint64) { return c.reloaded.Load(), c.rejected.Load() }

// Expires is when the first of them ends.
func (c *Store) Expires() time.Time { return time.Unix(c.expires.Load(), 0) }
