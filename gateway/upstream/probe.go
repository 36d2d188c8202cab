package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// Prober checks servers.
type Prober interface {
	// Probe is nil if the server at an address, host:port with an address for host, is healthy by h, whose Host is
	// set. ctx ends with Health.Timeout; Probe returns soon after. It is called from several goroutines.
	Probe(ctx context.Context, address string, h Health) error
}

// maxHeadBytes bounds the head of an answer to a check; the rest is not read.
const maxHeadBytes = 16 << 10

// prober is the default: a GET or a connect, over a connection of its own, without proxies and redirects.
type prober struct {
	dialer    net.Dialer
	transport http.Transport
}

func newProber() *prober {
	p := &prober{}
	p.transport = http.Transport{
		DialContext:            p.dialer.DialContext,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeadBytes,
		ReadBufferSize:         1 << 10,
		WriteBufferSize:        1 << 10,
	}
	return p
}

// Probe checks a server. The error wraps ErrUnhealthy if it is the status code that is wrong.
func (p *prober) Probe(ctx context.Context, address string, h Health) (err error) {
	defer func() {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("check %s: no answer within %v: %w", address, h.Timeout, err)
		} else if err != nil {
			err = fmt.Errorf("check %s: %w", address, err)
		}
	}()
	if h.Path == "" {
		conn, err := p.dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+h.Path, http.NoBody)
	if err != nil {
		return err
	}
	req.Host = h.Host
	req.Header.Set("User-Agent", "weir-health-check")
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode < h.ExpectMin || resp.StatusCode > h.ExpectMax {
		return fmt.Errorf("%w: status %d, not %d to %d", ErrUnhealthy, resp.StatusCode, h.ExpectMin, h.ExpectMax)
	}
	return nil
}
