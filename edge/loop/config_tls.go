package loop

import (
	"crypto/tls"
	"fmt"
	"strings"

	"weir/edge/tlsconn"
)

// Values of [Config.TLSMinVersion] and of [Config.KTLS].
const (
	TLS12 = "1.2"
	TLS13 = "1.3"

	KTLSAuto = "auto"
	KTLSOff  = "off"
)

// defaultTLS sets what is not said of TLS.
func (c *Config) defaultTLS() {
	if c.TLSMinVersion == "" {
		c.TLSMinVersion = TLS12
	}
	if c.TLSHandshakes == 0 {
		c.TLSHandshakes = 1024
	}
	if c.KTLS == "" {
		c.KTLS = KTLSAuto
	}
}

// tls is c's part of the handshaker.
func (c *Config) tls() tlsconn.Config {
	t := tlsconn.Config{
		Certificates: c.TLSCertificates, MinVersion: tls.VersionTLS12,
		Handshakes: c.TLSHandshakes, Kernel: c.KTLS == KTLSAuto,
	}
	if c.TLSMinVersion == TLS13 {
		t.MinVersion = tls.VersionTLS13
	}
	return t
}

// checkTLS reports what is wrong about TLS. The files of certificates are looked at by [New].
func (c *Config) checkTLS() (errs []error) {
	if c.TLSListen != "" && len(c.TLSCertificates) == 0 {
		errs = append(errs, &FieldError{"TLSCertificates", "empty", "the files of a certificate and its key, as CERT.pem:KEY.pem, since edge.tls_listen is set"})
	}
	if c.TLSListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		errs = append(errs, &FieldError{"TLSListen", c.TLSListen, "another address than edge.listen has"})
	}
	if c.TLSMinVersion != TLS12 && c.TLSMinVersion != TLS13 {
		errs = append(errs, &FieldError{"TLSMinVersion", c.TLSMinVersion, "1.2 or 1.3"})
	}
	if n := c.TLSHandshakes; n < 1 || n > tlsconn.MaxHandshakes {
		errs = append(errs, &FieldError{"TLSHandshakes", n, fmt.Sprintf("1 to %d", tlsconn.MaxHandshakes)})
	}
	if c.KTLS != KTLSAuto && c.KTLS != KTLSOff {
		errs = append(errs, &FieldError{"KTLS", c.KTLS, "auto or off"})
	}
	return errs
}
