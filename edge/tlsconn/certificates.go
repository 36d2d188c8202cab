package tlsconn

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

// certificates are those of a Config, as their files had them last.
type certificates struct {
	cfg     Config
	log     *slog.Logger
	files   []string
	seen    []os.FileInfo // nil for one that was not there
	current atomic.Pointer[tls.Config]
	expires atomic.Int64 // the first of them, in seconds since 1970

	reloaded, rejected atomic.Uint64
}

func newCertificates(cfg Config, log *slog.Logger) (*certificates, error) {
	c := &certificates{cfg: cfg, log: log}
	if len(cfg.Certificates) == 0 {
		return nil, fmt.Errorf("no certificate to serve TLS with: name one in edge.tls_certificates, as CERT.pem:KEY.pem")
	}
	for _, pair := range cfg.Certificates {
		cert, key, ok := strings.Cut(pair, ":")
		if !ok || cert == "" || key == "" {
			return nil, fmt.Errorf("edge.tls_certificates is %q: want the files of a certificate and of its key, as CERT.pem:KEY.pem", pair)
		}
		c.files = append(c.files, cert, key)
	}
	c.seen = c.look() // before they are read: what changes meanwhile is read again
	return c, c.load()
}

// load reads all files, and takes what they have if all of it can be served.
func (c *certificates) load() error {
	var all []tls.Certificate
	var first time.Time
	for i := 0; i < len(c.files); i += 2 {
		cert, err := loadPair(c.files[i], c.files[i+1])
		if err != nil {
			return err
		}
		if all = append(all, cert); first.IsZero() || cert.Leaf.NotAfter.Before(first) {
			first = cert.Leaf.NotAfter
		}
	}
	c.current.Store(c.cfg.tlsConfig(all))
	c.expires.Store(first.Unix())
	return nil
}

func loadPair(certFile, keyFile string) (cert tls.Certificate, err error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return cert, fmt.Errorf("read a certificate: put one there that weir may read, or change edge.tls_certificates: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return cert, fmt.Errorf("read the key of %s: put it there so that weir may read it, or change edge.tls_certificates: %w", certFile, err)
	}
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return cert, fmt.Errorf("certificate %s and key %s: want PEM, the certificate before those that signed it, and its own key: %w", certFile, keyFile, err)
	}
	if now := time.Now(); now.After(cert.Leaf.NotAfter) {
		return cert, fmt.Errorf("certificate %s has expired, at %s: renew it, or take it out of edge.tls_certificates", certFile, cert.Leaf.NotAfter.Format(time.RFC3339))
	}
	return cert, nil
}

// watch looks at the files until ctx ends.
func (c *certificates) watch(ctx context.Context) {
	t := time.NewTicker(lookAgain)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.refresh()
		}
	}
}

// refresh reads the files again if one is another than it was. What cannot be served is not taken,
// and said once.
func (c *certificates) refresh() {
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

func (c *certificates) look() []os.FileInfo {
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
