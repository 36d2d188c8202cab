package tlsconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/testcert"
)

func (r *rig) wantResult(tb testing.TB, result Result, n uint64) {
	tb.Helper()
	if got := r.Stats().Handshakes; got[result] != n {
		tb.Errorf("%v: %d, want %d (all: %v)", result, got[result], n, got)
	}
}

// resume does a handshake with a client that has a ticket of the handshake before.
func (r *rig) resume(t *testing.T, cfg *tls.Config) *peer {
	t.Helper()
	p := r.mustShake(t, cfg)
	if p.Records != nil { // the ticket comes with what is read next
		p.send(p.seal("x"))
		p.wantRead("x")
	}
	return r.mustShake(t, cfg)
}

func TestTicketResumesAlsoOverAReload(t *testing.T) {
	for _, kernel := range []bool{false, true} { // which has another way to tickets, where there is a kernel or not
		for name, version := range versions {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, Config{Kernel: kernel})
				cfg := r.cert.Client()
				cfg.MaxVersion, cfg.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
				if p := r.resume(t, cfg); !p.Resumed || !p.client.ConnectionState().DidResume {
					t.Error("not resumed")
				}
				r.cert.Renew(t, time.Now().Add(time.Hour), "localhost")
				r.certificates.Refresh()
				if p := r.mustShake(t, cfg); !p.Resumed {
					t.Error("not resumed after the certificate was renewed")
				}
				r.wantResult(t, ResultOK, 1)
				r.wantResult(t, ResultResumed, 2)
			})
		}
	}
}

func TestServerNamePicksTheCertificate(t *testing.T) {
	a, b := testcert.New(t, "a.example"), testcert.New(t, "b.example")
	r := newRig(t, Config{Certificates: []string{a.Pair(), b.Pair()}})
	for name, cert := range map[string]*testcert.Cert{"a.example": a, "b.example": b, "localhost": a} {
		if p, err := r.shake(t, &tls.Config{RootCAs: cert.Pool, ServerName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if p.client.ConnectionState().ServerName != name {
			t.Errorf("%s: %+v", name, p.client.ConnectionState())
		}
	}
}

func TestHandshakesThatFailAreCounted(t *testing.T) {
	for name, cfg := range map[string]*tls.Config{
		"only HTTP/2":   {InsecureSkipVerify: true, NextProtos: []string{"h2"}},
		"an old client": {InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
		"no trust":      {ServerName: "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{MinVersion: tls.VersionTLS13})
			p, err := r.shake(t, cfg)
			if err == nil && p.Records != nil { // a client that does not trust says so behind its Finished
				t.Error("it worked")
			}
			if name != "no trust" {
				r.wantResult(t, ResultFailed, 1)
			}
		})
	}
}

func TestGarbageFailsAHandshakeAtOnce(t *testing.T) {
	r := newRig(t, Config{})
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x80\x2e\x01\x03\x01", "\x16\x03\x01\xff\xff", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"} {
		server, client := socketPair(t)
		if _, err := io.WriteString(client, garbage); err != nil {
			t.Fatal(err)
		}
		_ = client.(*net.TCPConn).CloseWrite()
		if _, err := r.Handshake(t.Context(), server, nil); err == nil {
			t.Errorf("%q is a handshake", garbage)
		}
	}
	r.wantResult(t, ResultFailed, 4)
}

// TestClientThatStalls holds for each place that a client's first flight may be cut at.
func TestClientThatStallsIsEndedByItsDeadline(t *testing.T) {
	r := newRig(t, Config{})
	var hello bytes.Buffer
	_ = tls.Client(recorder{&hello}, r.cert.Client()).HandshakeContext(t.Context())
	for cut := 0; cut <= hello.Len(); cut += 97 {
		server, client := socketPair(t)
		if _, err := client.Write(hello.Bytes()[:cut]); err != nil {
			t.Fatal(err)
		}
		_ = server.SetDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := r.Handshake(t.Context(), server, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if len(r.cpu) > 0 {
		t.Errorf("%d are still computing", len(r.cpu))
	}
}

// recorder keeps what a client sends, and answers nothing.
type recorder struct{ to *bytes.Buffer }

func (r recorder) Write(p []byte) (int, error)    { return r.to.Write(p) }
func (recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (recorder) Close() error                     { return nil }
func (recorder) LocalAddr() net.Addr              { return nil }
func (recorder) RemoteAddr() net.Addr             { return nil }
func (recorder) SetDeadline(time.Time) error      { return nil }
func (recorder) SetReadDeadline(time.Time) error  { return nil }
func (recorder) SetWriteDeadline(time.Time) error { return nil }

func TestHandshakeEndsWithItsContext(t *testing.T) {
	r := newRig(t, Config{})
	server, _ := socketPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := r.Handshake(ctx, server, nil)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestStalledClientsDoNotKeepOthersFromComputing has more clients stall than may compute.
func TestStalledClientsDoNotKeepOthersFromComputing(t *testing.T) {
	r := newRig(t, Config{})
	var wg sync.WaitGroup
	var ends []net.Conn
	for range 4 * cap(r.cpu) {
		server, client := socketPair(t)
		ends = append(ends, client)
		wg.Go(func() { _, _ = r.Handshake(context.Background(), server, nil) })
	}
	r.mustShake(t, r.cert.Client())
	for _, c := range ends {
		_ = c.Close()
	}
	wg.Wait()
}

func TestPoolRunsAndHoldsAsManyAsItMay(t *testing.T) {
	r := newRig(t, Config{Handshakes: 2})
	release := make(chan struct{})
	var order []int
	var mu sync.Mutex
	for i := range 4 {
		if !r.Go(func() {
			<-release
			mu.Lock()
			defer mu.Unlock()
			order = append(order, i)
		}) {
			t.Fatalf("%d is refused", i)
		}
	}
	if r.Go(func() {}) {
		t.Error("a fifth is not refused")
	}
	r.wantResult(t, ResultRefused, 1)
	close(release)
	r.Wait()
	if len(order) != 4 {
		t.Errorf("%v ran", order)
	}
}

func TestFilesThatCannotBeServedAreSaid(t *testing.T) {
	good, other := testcert.New(t), testcert.New(t)
	expired := testcert.New(t)
	expired.Renew(t, time.Now().Add(-time.Minute), "localhost")
	junk := t.TempDir() + "/junk.pem"
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		pairs []string
		want  string
	}{
		{nil, "name one in edge.tls_certificates"},
		{[]string{"cert.pem"}, "CERT.pem:KEY.pem"},
		{[]string{"/nowhere/cert.pem:" + good.KeyFile}, "/nowhere/cert.pem"},
		{[]string{good.CertFile + ":/nowhere/key.pem"}, "/nowhere/key.pem"},
		{[]string{good.CertFile + ":" + other.KeyFile}, "its own key"},
		{[]string{good.Pair(), junk + ":" + good.KeyFile}, junk},
		{[]string{expired.Pair()}, "renew it"},
	} {
		_, err := newCertificates(Config{Certificates: tt.pairs}, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.pairs, err, tt.want)
		}
	}
}

func TestCertificatesAreReadAgainAndBadOnesAreNotTaken(t *testing.T) {
	r := newRig(t, Config{})
	old := r.cert.Pool
	trusts := func() bool {
		cfg := r.cert.Client()
		cfg.RootCAs = old
		p, err := r.shake(t, cfg)
		if err == nil {
			_ = p.client.Close()
		}
		return err == nil
	}
	r.certificates.Refresh() // nothing has changed
	if err := os.WriteFile(r.cert.CertFile, []byte("half of a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 { // said once
		r.certificates.Refresh()
	}
	if s := r.Stats(); s.Rejected != 1 || s.Reloaded != 0 || !trusts() {
		t.Errorf("%+v", s)
	}
	r.cert.Renew(t, time.Now().Add(2*time.Hour), "localhost")
	r.certificates.Refresh()
	if s := r.Stats(); s.Reloaded != 1 || time.Until(s.Expires) < 90*time.Minute || trusts() {
		t.Errorf("%+v", s)
	}
	r.mustShake(t, r.cert.Client())
}

func TestTrafficKeysAreThoseOfTheStandard(t *testing.T) {
	// RFC 8448 section 3: the server's application traffic secret, and the keys from it.
	s := secrets{}
	if _, err := s.Write([]byte("SERVER_TRAFFIC_SECRET_0 00 a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643\n")); err != nil {
		t.Fatal(err)
	}
	key, iv, err := suites[tls.TLS_AES_128_GCM_SHA256].trafficKeys(s.server)
	if err != nil {
		t.Fatal(err)
	}
	wantKey := []byte{0x9f, 0x02, 0x28, 0x3b, 0x6c, 0x9c, 0x07, 0xef, 0xc2, 0x6b, 0xb9, 0xf2, 0xac, 0x92, 0xe3, 0x56}
	wantIV := []byte{0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84}
	if !bytes.Equal(key, wantKey) || !bytes.Equal(iv, wantIV) {
		t.Errorf("key % x, iv % x", key, iv)
	}
}
