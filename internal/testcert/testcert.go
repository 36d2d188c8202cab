// Package testcert makes certificates for tests.
package testcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Cert is a certificate that signs itself, and its key, in files of the test's.
type Cert struct {
	// CertFile and KeyFile are PEM.
	CertFile, KeyFile string
	// Pool trusts it.
	Pool *x509.CertPool
}

// Pair is how edge.tls_certificates names it.
func (c *Cert) Pair() string { return c.CertFile + ":" + c.KeyFile }

// Client is a client's configuration that trusts the certificate for its first name.
func (c *Cert) Client() *tls.Config {
	return &tls.Config{RootCAs: c.Pool, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
}

// New makes a certificate for localhost and names that holds for an hour.
func New(tb testing.TB, names ...string) *Cert {
	tb.Helper()
	dir := tb.TempDir()
	c := &Cert{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	c.Renew(tb, time.Now().Add(time.Hour), append([]string{"localhost"}, names...)...)
	return c
}

// Renew puts another certificate and key into the files; it expires at end.
func (c *Cert) Renew(tb testing.TB, end time.Time, names ...string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "weir test"}, DNSNames: names, NotBefore: end.Add(-2 * time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.Pool = x509.NewCertPool()
	c.Pool.AppendCertsFromPEM(certPEM)
	write(tb, c.CertFile, certPEM)
	write(tb, c.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// write replaces a file as a whole, as tools that renew certificates do.
func write(tb testing.TB, file string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		tb.Fatal(err)
	}
}
