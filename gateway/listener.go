package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir/edge/admit"
	"weir/edge/proxyproto"
	"weir/gateway/proxy"
)

// door is what conns come in by: a listener whose conns are let in, named, and taken through TLS, each by a goroutine that is
// over before net/http has the conn.
type door struct {
	net.Listener
	server *Server
	tls    bool
	ready  chan net.Conn
	failed chan error
	done   chan struct{}
	closed sync.Once
	// mu is held while a conn is taken and while the door closes: whoever waits for those that go on has all of them.
	mu    sync.Mutex
	shut  bool
	going sync.WaitGroup
}

func newDoor(s *Server, ln net.Listener, isTLS bool) *door {
	return &door{Listener: ln, server: s, tls: isTLS, ready: make(chan net.Conn), failed: make(chan error, 1), done: make(chan struct{})}
}

// errDoorClosed ends Accept.
var errDoorClosed = fmt.Errorf("the gateway's listener: %w", net.ErrClosed)

// Accept implements [net.Listener].
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.ready:
		return c, nil
	case err := <-d.failed:
		return nil, err
	case <-d.done:
		return nil, errDoorClosed
	}
}

// Close implements [net.Listener].
func (d *door) Close() (err error) {
	d.closed.Do(func() {
		d.mu.Lock()
		d.shut = true
		close(d.done)
		d.mu.Unlock()
		if d.Listener != nil {
			err = d.Listener.Close()
		}
	})
	return err
}

// take takes a conn that was accepted elsewhere, with what was read of it. proxied says that it is not counted, nor let in yet.
func (d *door) take(raw net.Conn, read []byte, proxied bool) {
	h := &held{Conn: raw, server: d.server, gated: !proxied, left: read}
	if proxied && !d.server.conns.enter() {
		_ = raw.Close() // there is no room for an answer either
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		_ = h.Close() // it has been served nothing yet
		return
	}
	d.going.Go(func() {
		if proxied {
			d.admit(h)
			return
		}
		d.pass(proxy.NewScreen(h, d.server.screen(), nil))
	})
}

func (d *door) pass(c net.Conn) {
	select {
	case d.ready <- c:
	case <-d.done:
		_ = c.Close() // it has been served nothing yet
	}
}

// run accepts until the door is closed.
func (d *door) run() {
	defer d.going.Wait()
	if d.Listener == nil {
		<-d.done
		return
	}
	pause := time.Duration(0)
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			select {
			case <-d.done:
				return
			default:
			}
			if pause = min(2*pause+5*time.Millisecond, time.Second); !isTemporary(err) {
				d.failed <- err
				return
			}
			d.server.log.Warn("accept", "err", err)
			select {
			case <-time.After(pause):
			case <-d.done:
				return
			}
			continue
		}
		pause = 0
		if !d.server.conns.enter() {
			_ = c.Close() // there is no room for an answer either
			continue
		}
		d.going.Go(func() { d.admit(&held{Conn: c, server: d.server}) })
	}
}

// isTemporary reports whether a failed accept says nothing of the next one: descriptors are used up, or the client has gone.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// admit takes a conn to where it may be served, or closes it.
func (d *door) admit(h *held) {
	raw := h.Conn
	_ = raw.SetDeadline(time.Now().Add(d.server.cfg.HeadTimeout)) // a conn that is gone has none
	c, err := d.prepare(h)
	if err != nil {
		d.server.log.Debug("conn refused", "remote", raw.RemoteAddr().String(), "err", err)
		_ = h.Close()
		return
	}
	_ = raw.SetDeadline(time.Time{})
	d.pass(c)
}

// prepare reads the PROXY header, asks the gate, and does the handshake.
func (d *door) prepare(h *held) (net.Conn, error) {
	if err := h.readProxyHeader(); err != nil {
		d.server.conns.refused[refusedProxy].Add(1)
		return nil, err
	}
	if v, _ := d.server.gate.Admit(h.client(), admit.Ticks(time.Since(d.server.epoch))); v != admit.Admitted {
		d.server.conns.refused[refusedRate].Add(1)
		return nil, errors.New("over the conns of its client")
	}
	h.gated = true
	if !d.tls {
		return proxy.NewScreen(h, d.server.screen(), nil), nil
	}
	select {
	case d.server.handshakes <- struct{}{}:
		defer func() { <-d.server.handshakes }()
	default:
		d.server.conns.refused[refusedHandshakes].Add(1)
		return nil, errors.New("too many handshakes are under way")
	}
	c := tls.Server(h, d.server.certificates.Current())
	ctx, cancel := context.WithTimeout(context.Background(), d.server.cfg.HeadTimeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		d.server.conns.refused[refusedTLS].Add(1)
		return nil, err
	}
	state := c.ConnectionState()
	if state.NegotiatedProtocol == "h2" {
		return c, nil
	}
	return proxy.NewScreen(c, d.server.screen(), &state), nil
}

// held is a conn that counts, until it is closed; its remote address is the client's.
type held struct {
	net.Conn
	server *Server
	gated  bool
	source netip.AddrPort // of a PROXY header
	left   []byte         // what was read beyond it
	gone   sync.Once
	owner  proxy.Owner
}

// Owner is whose the conn is.
func (h *held) Owner() *proxy.Owner { return &h.owner }

// RemoteAddr implements [net.Conn].
func (h *held) RemoteAddr() net.Addr {
	if h.source.IsValid() {
		return net.TCPAddrFromAddrPort(h.source)
	}
	return h.Conn.RemoteAddr()
}

func (h *held) client() netip.Addr {
	a, _ := h.RemoteAddr().(*net.TCPAddr) //nolint:errcheck // a TCP listener has no others
	return a.AddrPort().Addr().Unmap().WithZone("")
}

// Read implements [net.Conn].
func (h *held) Read(p []byte) (int, error) {
	if len(h.left) > 0 {
		n := copy(p, h.left)
		h.left = h.left[n:]
		return n, nil
	}
	return h.Conn.Read(p)
}

// Close implements [net.Conn].
func (h *held) Close() error {
	h.gone.Do(func() {
		h.owner.End(&h.server.hooks)
		if h.gated {
			h.server.gate.Release(h.client())
		}
		h.server.conns.leave()
	})
	return h.Conn.Close()
}

// readProxyHeader reads the PROXY header of a proxy that sends one.
func (h *held) readProxyHeader() error {
	if !h.server.sendsHeader(h.client()) {
		return nil
	}
	b := make([]byte, 0, 512)
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, 2*cap(b)), b...)
		}
		n, err := h.Conn.Read(b[len(b):cap(b)])
		if err != nil {
			return fmt.Errorf("read a PROXY header: %w", err)
		}
		b = b[:len(b)+n]
		header, size, err := proxyproto.Parse(b)
		if errors.Is(err, proxyproto.ErrShort) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read a PROXY header: %w", err)
		}
		h.source, h.left = header.Source, b[size:]
		return nil
	}
}

// Why conns are refused.
const (
	refusedFull = iota
	refusedProxy
	refusedRate
	refusedHandshakes
	refusedTLS
	refusals
)

var refusalNames = [refusals]string{"full", "proxy_header", "client", "handshakes", "tls"}

// conns counts those held.
type conns struct {
	n        atomic.Int64
	most     int64
	accepted atomic.Uint64
	refused  [refusals]atomic.Uint64
}

func (c *conns) enter() bool {
	if c.n.Add(1) > c.most {
		c.n.Add(-1)
		c.refused[refusedFull].Add(1)
		return false
	}
	c.accepted.Add(1)
	return true
}

func (c *conns) leave() { c.n.Add(-1) }
