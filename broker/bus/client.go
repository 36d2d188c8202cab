package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"weir/broker"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// callTimeout bounds one call to the server, whatever its caller allows.
	callTimeout = 5 * time.Second
	// dialTimeout bounds one try to connect.
	dialTimeout = 2 * time.Second
	// reconnectFirst and reconnectLast are between which the pause before the next try grows.
	reconnectFirst = 50 * time.Millisecond
	reconnectLast  = 2 * time.Second
	// pingInterval is how often a connection is asked whether it lives; after two pings without
	// an answer it is made anew.
	pingInterval = 2 * time.Second
)

var errDisconnected = errors.New("the connection to the bus broke")

// client is one connection to the bus, made anew as often as it breaks, and what is known of the
// shards by it. What was read by one session says nothing about the next: another server may
// answer there.
type client struct {
	bus *Bus
	nc  *nats.Conn
	js  jetstream.JetStream
	// begun is called with each session before anything can come by it, and after all that came
	// by the one before was handed on. It may wait.
	begun   func(*session)
	session atomic.Pointer[session]
	shards  [broker.Shards]shard
	// trouble is why the last try to connect failed.
	trouble atomic.Pointer[string]
}

// session is one TCP connection (or pipe) of a client.
type session struct {
	net.Conn
	number uint64 // from 1
	// ctx ends with the connection: calls by it are answered no more.
	ctx    context.Context //nolint:containedctx // it is the connection's own life
	cancel context.CancelCauseFunc
	ready  atomic.Bool // logged in
}

// Close ends the session; nats.go calls it before it connects anew.
func (s *session) Close() error {
	s.cancel(errDisconnected)
	return s.Conn.Close()
}

// dial opens a client. Embedded it is connected when this returns; of a remote bus it may come to be
// later.
func (b *Bus) dial(name string, begun func(*session), opts ...nats.Option) (*client, error) {
	c := &client{bus: b, begun: begun}
	noteErr := nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.noteTrouble(err) })
	ready := func(*nats.Conn) { c.markReady() }
	all := append([]nats.Option{
		nats.Name(name),
		nats.UserInfo(busUser, b.secret),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // the secret may be mended at the other end
		nats.ReconnectBufSize(-1),   // a call fails at once while there is no connection
		nats.CustomReconnectDelay(reconnectDelay),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(ready), nats.ReconnectHandler(func(nc *nats.Conn) {
			ready(nc)
			b.log.Info("connected to the bus again", "client", name, "bus", b.where())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("the connection to the bus broke", "client", name, "bus", b.where(), "err", err)
			}
		}),
		noteErr,
	}, opts...)
	var err error
	if !b.cfg.remote() {
		c.nc, err = nats.Connect("", append(all, nats.InProcessServer(c))...)
	} else {
		c.nc, err = nats.Connect(b.urls(), append(all, nats.SetCustomDialer(c), nats.RetryOnFailedConnect(true))...)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the bus at %s: %w", b.where(), err)
	}
	if c.nc.IsConnected() {
		c.markReady()
	}
	if c.js, err = jetstream.New(c.nc, jetstream.WithPublishAsyncMaxPending(maxInFlight)); err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("open the bus's streams: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients = append(b.clients, c)
	return c, nil
}

// reconnectDelay is the pause after all servers were tried so many times: twice as long each time,
// and up to a half of it less, so that not all edges come at once.
func reconnectDelay(tries int) time.Duration {
	d := reconnectLast
	if tries < 7 {
		d = min(d, reconnectFirst<<max(tries-1, 0))
	}
	return d - rand.N(d/2) //nolint:gosec // spread needs no secrecy
}

// Dial implements [nats.CustomDialer].
func (c *client) Dial(network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.Dial(network, address)
	if err != nil {
		c.noteTrouble(err)
		return nil, err
	}
	return c.begin(conn), nil
}

// InProcessConn implements [nats.InProcessConnProvider].
func (c *client) InProcessConn() (net.Conn, error) {
	srv := c.bus.srv.Load()
	if srv == nil {
		return nil, errSuspended
	}
	conn, err := srv.InProcessConn()
	if err != nil {
		return nil, err
	}
	return c.begin(conn), nil
}

// begin makes conn the session. nats.go has joined the reader of the one before.
func (c *client) begin(conn net.Conn) net.Conn {
	s := &session{Conn: conn, number: 1}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if old := c.session.Load(); old != nil {
		old.cancel(errDisconnected)
		s.number = old.number + 1
	}
	c.session.Store(s)
	if c.begun != nil {
		c.begun(s)
	}
	return s
}

func (c *client) markReady() {
	c.trouble.Store(nil)
	if s := c.session.Load(); s != nil {
		s.ready.Store(true)
	}
}

func (c *client) noteTrouble(err error) {
	text := err.Error()
	if errors.Is(err, nats.ErrAuthorization) {
		text = secretRefused
	}
	if old := c.trouble.Swap(&text); errors.Is(err, nats.ErrAuthorization) && (old == nil || *old != text) {
		c.bus.log.Error("not let in to the bus", "bus", c.bus.where(), "err", text)
	}
}

// up is the session if it can be used, else an error that says why it cannot; it wraps
// broker.ErrUnavailable.
func (c *client) up() (*session, error) {
	s := c.session.Load()
	if s != nil && s.ready.Load() && s.ctx.Err() == nil {
		return s, nil
	}
	why := "the connection broke, it is being made anew"
	if t := c.trouble.Load(); t != nil {
		why = *t
	}
	return nil, fmt.Errorf("%w: no broker at %s: %s: try again in a second", broker.ErrUnavailable, c.bus.where(), why)
}

// call bounds a call by callTimeout, and by the end of the session that it goes by.
func (c *client) call(ctx context.Context) (context.Context, context.CancelFunc, error) {
	s, err := c.up()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

func (c *client) close() {
	c.bus.mu.Lock()
	c.bus.clients = slices.DeleteFunc(c.bus.clients, func(o *client) bool { return o == c })
	c.bus.mu.Unlock()
	c.nc.Close()
	if s := c.session.Load(); s != nil {
		s.cancel(errDisconnected)
	}
}
