package test

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/testcert"
)

// serveTLS is serve with wss:// and https:// at the host:port that it returns.
func serveTLS(t *testing.T, cert *testcert.Cert) (p *process, at string) {
	t.Helper()
	at = strings.Replace(freePort(t), "127.0.0.1", "localhost", 1)
	config := filepath.Join(t.TempDir(), "weir.yaml")
	text := fmt.Sprintf("edge:\n  tls_listen: %q\n  tls_certificates: [%q]\n", at, cert.Pair())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return serve(t, "--config", config), at
}

func TestE2EClientsNobodyHereWroteSpeakTLS(t *testing.T) {
	cert := testcert.New(t)
	p, at := serveTLS(t, cert)
	clientsNobodyHereWrote(t, p, "wss://"+at, "https://"+at, cert.CertFile)
	if out := p.out.String(); !strings.Contains(out, "wss://") || !strings.Contains(out, "https://") {
		t.Errorf("the screen does not say where TLS is:\n%s", out)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.out.String())
	}
}

// TestE2EOpenSSLResumes has OpenSSL shake hands, and again with the ticket that it was given.
func TestE2EOpenSSLResumes(t *testing.T) {
	cert := testcert.New(t)
	_, at := serveTLS(t, cert)
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		session := filepath.Join(t.TempDir(), "session")
		// The ticket of TLS 1.3 comes with the answer.
		request := "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
		for _, tt := range []struct{ flag, want string }{{"-sess_out", "New, TLSv1."}, {"-sess_in", "Reused, TLSv1."}} {
			cmd := exec.CommandContext(t.Context(), "openssl", "s_client", "-connect", at, "-servername", "localhost", "-CAfile", cert.CertFile,
				"-verify_return_error", "-alpn", "http/1.1", version, "-ign_eof", tt.flag, session)
			cmd.Stdin = strings.NewReader(request)
			out, err := cmd.CombinedOutput()
			for _, want := range []string{tt.want, "ALPN protocol: http/1.1", "HTTP/1.1 404"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("%s %s: %v, no %q in\n%s", version, tt.flag, err, want, out)
				}
			}
		}
	}
}

func TestE2ECertificateIsReloadedUnderOpenConnections(t *testing.T) {
	cert := testcert.New(t)
	p, at := serveTLS(t, cert)
	first := cert.Client()
	open, err := tls.Dial("tcp", at, first)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close() //nolint:errcheck // nothing more is to be sent
	cert.Renew(t, time.Now().Add(time.Hour), "localhost")
	p.until("the new certificate", func() error {
		c, err := tls.Dial("tcp", at, cert.Client())
		if err != nil {
			return err
		}
		return c.Close()
	})
	if _, err := fmt.Fprint(open, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = open.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 64)
	if n, err := open.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 404") {
		t.Errorf("the connection of before reads %q, %v", b[:n], err)
	}
	if !strings.Contains(p.get("/metrics"), "\nweir_edge_tls_reloads_total{result=\"taken\"} 1\n") {
		t.Error("the reload is not counted")
	}
	if _, errs, code := weir(t, "subscribe", "--url", "wss://"+at, "news"); code != 1 || !strings.Contains(errs, "--ca FILE") {
		t.Errorf("a certificate that nobody trusts: %d %q", code, errs)
	}
}
