package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"weir/edge/http1"
	"weir/edge/ws"
)

type subscribeCmd struct {
	Topics []string `arg:"" help:"Topics to subscribe to; * stands for any token, a last > for all that follow."`
	URL    string   `help:"Address of the edge." default:"ws://127.0.0.1:8000" env:"WEIR_EDGE_URL" placeholder:"URL"`
	Since  []string `help:"Go on after this position, one for each topic." placeholder:"EPOCH:OFFSET"`
	Count  int      `help:"End after so many events; 0: never." placeholder:"N"`
	JSON   bool     `help:"Print envelopes as JSON, controls too." name:"json"`

	Token string `help:"Token to bring, a JWT; the variable is better, as others see arguments." env:"WEIR_TOKEN" placeholder:"JWT"`

	CA       string `help:"Trust the certificates in this PEM file, instead of the system's." name:"ca" placeholder:"FILE" type:"path"`
	Insecure bool   `help:"Trust any certificate: whoever is in between can read and change all."`
}

// Help is printed below the flags.
func (*subscribeCmd) Help() string {
	return `Examples:
  weir subscribe ticks.EURUSD ticks.BTCUSD
  weir subscribe 'ticks.*' 'news.>'
  weir subscribe news --since 5f3a9c:120 --json
  weir subscribe --url wss://edge.example:8443 --ca ca.pem news
  WEIR_TOKEN=$(cat token) weir subscribe chat.alice`
}

// limits of what a server may send to this client.
var clientLimits = ws.Limits{MaxFrameBytes: 16 << 20, MaxMessageBytes: 16 << 20}

// Run prints events until the context or the connection ends.
func (c *subscribeCmd) Run(ctx context.Context, a *app) error {
	conn, rest, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing more is to be sent
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var decoder ws.Decoder
	buf, printed := rest, 0
	for {
		f, n, err := decoder.Next(buf, &clientLimits)
		if errors.Is(err, ws.ErrShort) {
			if buf, err = more(conn, buf); err == nil {
				continue
			}
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the edge went away: %w", err)
		}
		if err != nil {
			return fmt.Errorf("read a frame: %w", err)
		}
		done, err := c.frame(a, conn, f, &printed)
		if err != nil || done {
			return err
		}
		buf = buf[n:]
	}
}

// dial connects and shakes hands; rest is what came behind the answer.
func (c *subscribeCmd) dial(ctx context.Context) (conn net.Conn, rest []byte, err error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return nil, nil, &usageError{fmt.Errorf("--url %s: want ws://host:port or wss://host:port", c.URL)}
	}
	query := url.Values{"format": {"json"}, "topic": c.Topics}
	if len(c.Since) > 0 {
		query["since"] = c.Since
	}
	if conn, err = c.connect(ctx, u); err != nil {
		return nil, nil, err
	}
	target := strings.TrimSuffix(u.Path, "/") + "/ws?" + query.Encode()
	if rest, err = shake(conn, u.Host, target, c.headers()...); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("shake hands with %s: %w", c.URL, err), conn.Close())
	}
	return conn, rest, nil
}

// headers are those that bring the token.
func (c *subscribeCmd) headers() []string {
	if c.Token == "" {
		return nil
	}
	return []string{"Authorization: Bearer " + strings.TrimSpace(c.Token)}
}

// connect opens a connection, with TLS for wss://.
func (c *subscribeCmd) connect(ctx context.Context, u *url.URL) (net.Conn, error) {
	var cfg *tls.Config
	port := map[bool]string{false: "80", true: "443"}[u.Scheme == "wss"]
	if u.Scheme == "wss" {
		var err error
		if cfg, err = c.tlsConfig(u.Hostname()); err != nil {
			return nil, err
		}
	}
	if u.Port() != "" {
		port = u.Port()
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("no edge answers at %s: start one with weir serve, or name its address with --url: %w", c.URL, err)
	}
	if cfg == nil {
		return conn, nil
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
			err = fmt.Errorf("%w (--ca FILE trusts those in a file)", err)
		}
		return nil, errors.Join(fmt.Errorf("speak TLS with %s: %w", c.URL, err), conn.Close())
	}
	return secure, nil
}

func (c *subscribeCmd) tlsConfig(name string) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: name, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: c.Insecure} //nolint:gosec // by a flag that says what it does
	if c.CA == "" {
		return cfg, nil
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("read the certificates to trust: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(text) {
		return nil, &usageError{fmt.Errorf("--ca %s: it has no certificate: want PEM", c.CA)}
	}
	return cfg, nil
}

// shake is a client's handshake; rest is what came behind the answer.
func shake(conn net.Conn, host, target string, headers ...string) (rest []byte, err error) {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	key := base64.StdEncoding.EncodeToString(raw[:])
	if _, err := conn.Write(ws.AppendClientHandshake(nil, host, target, key, headers...)); err != nil {
		return nil, err
	}
	var buf []byte
	var head http1.Response
	for {
		if buf, err = more(conn, buf); err != nil {
			return nil, err
		}
		n, err := head.Parse(buf, http1.Limits{MaxHeadBytes: 16 << 10, MaxFields: 64})
		if errors.Is(err, http1.ErrShort) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := ws.CheckServerHandshake(buf[:n], key); err != nil {
			body, _ := io.ReadAll(io.LimitReader(conn, 64<<10)) // it may say why
			return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(buf[n:])+string(body)))
		}
		return buf[n:], conn.SetDeadline(time.Time{})
	}
}

// more reads once, behind what is there.
func more(conn net.Conn, buf []byte) ([]byte, error) {
	part := make([]byte, 64<<10)
	n, err := conn.Read(part)
	if n > 0 {
		return append(slices.Clip(buf), part[:n]...), nil
	}
	return buf, err
}

// envelope is what the edge sends with format=json.
type envelope struct {
	Topic      string          `json:"topic"`
	Epoch      string          `json:"epoch"`
	Offset     uint64          `json:"offset"`
	Data       json.RawMessage `json:"data"`
	Text       *string         `json:"text"`
	B64        *string         `json:"b64"`
	Subscribed bool            `json:"subscribed"`
	Recovered  *bool           `json:"recovered"`
	Skipped    uint64          `json:"skipped"`
}

// frame handles one frame; done after the last event wanted.
func (c *subscribeCmd) frame(a *app, conn net.Conn, f ws.Frame, printed *int) (done bool, err error) {
	switch f.OpCode {
	case ws.OpPing:
		_, err = conn.Write(ws.AppendMaskedFrame(nil, ws.OpPong, true, [4]byte{}, f.Payload))
		return false, err
	case ws.OpClose:
		code, reason, _ := ws.ParseClose(f.Payload)
		return true, fmt.Errorf("the edge closed the connection: %d %s", code, reason)
	case ws.OpText:
	default:
		return false, nil
	}
	var e envelope
	if err := json.Unmarshal(f.Payload, &e); err != nil {
		return true, fmt.Errorf("read an envelope: %w", err)
	}
	isEvent := e.Data != nil || e.Text != nil || e.B64 != nil
	switch {
	case c.JSON:
		_, err = fmt.Fprintf(a.stdout, "%s\n", f.Payload)
	case isEvent:
		_, err = fmt.Fprintf(a.stdout, "%s %s:%d %s\n", e.Topic, e.Epoch, e.Offset, e.payload())
	case e.Skipped > 0:
		_, err = fmt.Fprintf(a.stderr, "weir: %s: %d events were skipped for newer ones, since this client did not keep up\n", e.Topic, e.Skipped)
	case e.Recovered != nil && !*e.Recovered:
		_, err = fmt.Fprintf(a.stderr, "weir: %s: events may be missing before %s:%d\n", e.Topic, e.Epoch, e.Offset)
	}
	if isEvent {
		*printed++
	}
	return c.Count > 0 && *printed == c.Count, err
}

func (e *envelope) payload() string {
	switch {
	case e.Text != nil:
		return *e.Text
	case e.B64 != nil:
		return "base64:" + *e.B64
	default:
		return string(e.Data)
	}
}
