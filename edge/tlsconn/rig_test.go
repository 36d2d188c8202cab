package tlsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"weir/internal/testcert"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitFor bounds every wait.
const waitFor = 10 * time.Second

// rig is a Handshaker, and a certificate that it serves.
type rig struct {
	*Handshaker
	cert *testcert.Cert
}

func newRig(tb testing.TB, cfg Config) *rig {
	tb.Helper()
	r := &rig{cert: testcert.New(tb)}
	if cfg.Certificates == nil {
		cfg.Certificates = []string{r.cert.Pair()}
	}
	if cfg.Handshakes == 0 {
		cfg.Handshakes = 4
	}
	var err error
	if r.Handshaker, err = New(cfg, slog.New(slog.DiscardHandler)); err != nil {
		tb.Fatal(err)
	}
	return r
}

// socketPair is a TCP connection.
func socketPair(tb testing.TB) (server, client net.Conn) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // nothing waits there
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		tb.Fatal(err)
	}
	for _, c := range []net.Conn{server, client} {
		_ = c.SetDeadline(time.Now().Add(waitFor))
		tb.Cleanup(func() { _ = c.Close() })
	}
	return server, client
}

// peer is the client's end after a handshake, and the server's.
type peer struct {
	tb     testing.TB
	client *tls.Conn
	socket net.Conn
	Session
}

// shake is a handshake between a client and r, to its end.
func (r *rig) shake(tb testing.TB, cfg *tls.Config) (*peer, error) {
	tb.Helper()
	socket, clientSocket := socketPair(tb)
	p := &peer{tb: tb, client: tls.Client(clientSocket, cfg), socket: socket}
	type result struct {
		s   Session
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := r.Handshake(tb.Context(), socket, nil)
		if err != nil {
			_ = socket.Close()
		}
		done <- result{s, err}
	}()
	clientErr := p.client.HandshakeContext(context.WithoutCancel(tb.Context()))
	res := <-done
	p.Session = res.s
	return p, errors.Join(clientErr, res.err)
}

func (r *rig) mustShake(tb testing.TB, cfg *tls.Config) *peer {
	tb.Helper()
	p, err := r.shake(tb, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// send gives the client bytes.
func (p *peer) send(b []byte) {
	p.tb.Helper()
	if _, err := p.socket.Write(b); err != nil {
		p.tb.Fatal(err)
	}
}

// arrive reads what the client sent, some of it.
func (p *peer) arrive() []byte {
	p.tb.Helper()
	b := make([]byte, 64<<10)
	n, err := p.socket.Read(b)
	if err != nil {
		p.tb.Fatal(err)
	}
	return b[:n]
}

// want opens what arrives until it is text.
func (p *peer) want(text string) {
	p.tb.Helper()
	var got []byte
	for len(got) < len(text) {
		var err error
		if got, err = p.Records.Open(got, p.arrive()); err != nil {
			p.tb.Fatal(err)
		}
	}
	if string(got) != text {
		p.tb.Fatalf("opened %.100q, want %.100q", got, text)
	}
}

// wantRead reads text at the client.
func (p *peer) wantRead(text string) {
	p.tb.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(p.client, got); err != nil {
		p.tb.Fatal(err)
	}
	if string(got) != text {
		p.tb.Fatalf("the client read %.100q, want %.100q", got, text)
	}
}

// seal is text in records.
func (p *peer) seal(text string) []byte {
	p.tb.Helper()
	b, err := p.Records.Seal(nil, []byte(text))
	if err != nil {
		p.tb.Fatal(err)
	}
	return b
}

// say has the client send text.
func (p *peer) say(text string) {
	p.tb.Helper()
	if _, err := io.WriteString(p.client, text); err != nil {
		p.tb.Fatal(err)
	}
}
