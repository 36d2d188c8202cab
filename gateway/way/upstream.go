package way

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"weir/gateway/upstream"
)

// Protocol is what an upstream speaks.
type Protocol uint8

// The protocols.
const (
	// HTTP1 is HTTP/1.1.
	HTTP1 Protocol = iota
	// HTTP2 is HTTP/2: over TLS, or without it by prior knowledge, as gRPC servers speak it.
	HTTP2
)

var protocolNames = [...]string{"http/1.1", "http/2"}

// String is the name that ParseProtocol reads.
func (p Protocol) String() string { return protocolNames[p] }

// ParseProtocol reads http/1.1 or http/2; the empty text is HTTP1.
func ParseProtocol(text string) (Protocol, error) {
	for i, name := range protocolNames {
		if text == name || text == "" {
			return Protocol(i), nil //nolint:gosec // there are two
		}
	}
	return 0, fmt.Errorf("is %q: want http/1.1 or http/2", text)
}

// UpstreamConfig configures an [Upstream].
type UpstreamConfig struct {
	// Protocol is what its servers speak.
	Protocol Protocol
	// TLS is how they are spoken to over TLS; nil without.
	TLS *tls.Config
	// ConnectTimeout bounds the time to connect, TLS included. 1 ms to 1 min, default 2 s.
	ConnectTimeout time.Duration
	// AnswerTimeout bounds the time from the end of a request to the head of its answer, of one attempt. 1 ms to 1 h,
	// default 30 s.
	AnswerTimeout time.Duration
	// IdleConns is how many conns to each server are kept open. 0 to 65536, default 256; -1 for none.
	IdleConns int
	// IdleTimeout is how long. 1 s to 1 h, default 60 s: less than that of the servers, so that a request seldom meets a
	// conn that is being closed.
	IdleTimeout time.Duration
}

// ErrBadUpstream is wrapped by every error about an UpstreamConfig.
var ErrBadUpstream = errors.New("bad upstream")

func (c UpstreamConfig) withDefaults() UpstreamConfig {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&c.ConnectTimeout, 2 * time.Second}, {&c.AnswerTimeout, 30 * time.Second}, {&c.IdleTimeout, time.Minute}} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	if c.IdleConns == 0 {
		c.IdleConns = 256
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c UpstreamConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, d := range []struct {
		field       string
		value       time.Duration
		least, most time.Duration
	}{
		{"connect_timeout", c.ConnectTimeout, time.Millisecond, time.Minute},
		{"answer_timeout", c.AnswerTimeout, time.Millisecond, time.Hour},
		{"idle_timeout", c.IdleTimeout, time.Second, time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			errs = append(errs, fmt.Errorf("%w: %s is %v: want %v to %v", ErrBadUpstream, d.field, d.value, d.least, d.most))
		}
	}
	if c.IdleConns < -1 || c.IdleConns > 65536 {
		errs = append(errs, fmt.Errorf("%w: idle_conns is %d: want 0 to 65536, or none", ErrBadUpstream, c.IdleConns))
	}
	return errors.Join(errs...)
}

// Upstream is a pool of servers, and how they are spoken to.
type Upstream struct {
	Pool *upstream.Pool
	// Config is how, with defaults.
	Config UpstreamConfig
	// Transport keeps the conns of net/http's way, which are Scheme's.
	Transport *http.Transport
	Scheme    string
}

// NewUpstream returns an Upstream. [Upstream.Close] ends what it keeps open.
func NewUpstream(pool *upstream.Pool, cfg UpstreamConfig) (*Upstream, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	u := &Upstream{Pool: pool, Config: cfg, Scheme: "http"}
	protocols := &http.Protocols{}
	switch {
	case cfg.TLS != nil:
		u.Scheme = "https"
		protocols.SetHTTP1(cfg.Protocol == HTTP1)
		protocols.SetHTTP2(cfg.Protocol == HTTP2)
	case cfg.Protocol == HTTP2:
		protocols.SetUnencryptedHTTP2(true)
	default:
		protocols.SetHTTP1(true)
	}
	dialer := &net.Dialer{Timeout: cfg.ConnectTimeout, KeepAlive: 30 * time.Second}
	u.Transport = &http.Transport{
		Proxy: nil, // the servers are reached directly, whatever the environment says
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, &ConnectError{err}
			}
			return c, nil
		},
		TLSClientConfig:        cfg.TLS,
		TLSHandshakeTimeout:    cfg.ConnectTimeout,
		ResponseHeaderTimeout:  cfg.AnswerTimeout,
		MaxIdleConnsPerHost:    cfg.IdleConns,
		IdleConnTimeout:        cfg.IdleTimeout,
		DisableKeepAlives:      cfg.IdleConns < 0,
		DisableCompression:     true, // what client and server agree on is theirs
		MaxResponseHeaderBytes: maxAnswerHead,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
		ForceAttemptHTTP2:      cfg.Protocol == HTTP2,
		Protocols:              protocols,
	}
	return u, nil
}

// maxAnswerHead bounds the head of an answer, bytes.
const maxAnswerHead = 256 << 10

// Close closes the conns that are idle; those in use when they are.
func (u *Upstream) Close() { u.Transport.CloseIdleConnections() }

// ConnectError says that there was no conn: the server has seen nothing of the request.
type ConnectError struct{ err error }

func (e *ConnectError) Error() string { return e.err.Error() }
func (e *ConnectError) Unwrap() error { return e.err }
