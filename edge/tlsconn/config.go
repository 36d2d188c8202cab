package tlsconn

import (
	"crypto/tls"
	"log/slog"

	"weir/internal/certificates"
)

// MaxHandshakes bounds [Config.Handshakes].
const MaxHandshakes = 1 << 16

// Config configures a [Handshaker].
type Config struct {
	// Certificates are pairs of PEM files, "CERT.pem:KEY.pem", at least one. A client that names a
	// server is given the first that is for that name, else the first of all.
	Certificates []string
	// MinVersion is the oldest version spoken, [tls.VersionTLS12] or [tls.VersionTLS13]. Default the
	// first.
	MinVersion uint16
	// Handshakes bounds those under way at once, each with a goroutine; as many more wait. 1 to
	// [MaxHandshakes].
	Handshakes int
	// Kernel is whether the kernel is given the record layer where it takes it.
	Kernel bool
}

// tlsConfig is what a conn of a snapshot of the certificates is served by.
func (c *Config) tlsConfig(served []tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: served,
		MinVersion:   max(c.MinVersion, tls.VersionTLS12),
		NextProtos:   []string{"http/1.1"},
		// An event is mostly smaller than a segment anyhow, and a batch is best cut into few records.
		DynamicRecordSizingDisabled: true,
	}
}

// newCertificates reads those of a Config.
func newCertificates(cfg Config, log *slog.Logger) (*certificates.Store, error) {
	return certificates.New(certificates.Config{Pairs: cfg.Certificates, Setting: "edge.tls_certificates", Build: cfg.tlsConfig}, log)
}
