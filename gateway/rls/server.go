package rls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// Limits of the listener. An Envoy has a conn for each of its threads, and asks them all of its calls.
const (
	maxStreams      = 1000     // calls at once of a conn
	maxMessageBytes = 64 << 10 // of a call
	maxHeadBytes    = 16 << 10 // of its head
	handshakeWithin = 10 * time.Second
	idlePing        = 30 * time.Second // after which a conn that is idle is asked whether it lives
	pingWithin      = 10 * time.Second // for its answer
	pingsEvery      = 10 * time.Second // or less often; who pings more is gone
)

// ServerConfig configures a [Server].
type ServerConfig struct {
	// Listen is the TCP address to serve, host:port.
	Listen string
	// MaxConns bounds the conns held at once; past it new ones are closed, and counted. 1 to 1 million, default 1024.
	MaxConns int
	// DrainTimeout bounds how long calls, and watches of health, may go on at shutdown. 0 for none.
	DrainTimeout time.Duration
	// Decided is told what a policy said of a client, of each call that was decided; shard spreads what is counted. It must not wait.
	// Nil for nobody.
	Decided func(shard uint32, policy string, shadow, allowed bool)
}

// Server serves the rate limit service, and gRPC's own of health (grpc.health.v1), without TLS.
type Server struct {
	pb.UnimplementedRateLimitServiceServer
	cfg      ServerConfig
	now      func() uint64
	rules    atomic.Pointer[Rules]
	calls    sync.Pool
	made     atomic.Uint32 // calls
	metrics  *metrics
	listener net.Listener
	addr     atomic.Pointer[net.TCPAddr]
	conns    atomic.Int64
	refused  atomic.Uint64
}

// NewServer returns a Server, which decides by rules; now is in ticks of the clock that their stores are asked by. Nothing
// listens before [Server.Listen].
func NewServer(cfg ServerConfig, rules *Rules, now func() uint64) *Server {
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 1024
	}
	s := &Server{cfg: cfg, now: now, metrics: newMetrics()}
	s.calls.New = func() any { return &call{shard: s.made.Add(1)} }
	s.rules.Store(rules)
	return s
}

// Replace has calls that come from now on decided by other rules; a call ends by those that it began with.
func (s *Server) Replace(rules *Rules) { s.rules.Store(rules) }

// Listen takes the address. The error says what to do.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.cfg.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: the port is in use: stop what uses it (ss -ltnp) or set gateway.rls_listen to another: %w", s.cfg.Listen, err)
	case err != nil:
		return fmt.Errorf("listen on %s: set gateway.rls_listen to an address of this host: %w", s.cfg.Listen, err)
	}
	s.listener = l
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		s.addr.Store(a)
	}
	return nil
}

// Addr is the address that is served, nil before Listen.
func (s *Server) Addr() net.Addr {
	if a := s.addr.Load(); a != nil {
		return a
	}
	return nil
}

// Run serves what [Server.Listen] took until ctx ends, then takes no new calls, and lets those there are end for the drain timeout.
func (s *Server) Run(ctx context.Context) error {
	g := grpc.NewServer(
		grpc.MaxConcurrentStreams(maxStreams), grpc.MaxRecvMsgSize(maxMessageBytes), grpc.MaxHeaderListSize(maxHeadBytes),
		grpc.ConnectionTimeout(handshakeWithin),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: idlePing, Timeout: pingWithin}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsEvery, PermitWithoutStream: true}),
	)
	pb.RegisterRateLimitServiceServer(g, s)
	alive := health.NewServer()
	alive.SetServingStatus(pb.RateLimitService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(g, alive)
	failed := make(chan error, 1)
	go func() { failed <- g.Serve(bounded{s.listener, s}) }()
	select {
	case err := <-failed:
		g.Stop()
		return fmt.Errorf("serve the rate limit service: %w", err)
	case <-ctx.Done():
	}
	alive.Shutdown() // who looks goes elsewhere
	late := time.AfterFunc(s.cfg.DrainTimeout, g.Stop)
	g.GracefulStop()
	late.Stop()
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // that is said if it had not begun
		return fmt.Errorf("serve the rate limit service: %w", err)
	}
	return nil
}

// ShouldRateLimit implements the service.
func (s *Server) ShouldRateLimit(ctx context.Context, req *pb.RateLimitRequest) (*pb.RateLimitResponse, error) {
	begun := time.Now()
	x := s.calls.Get().(*call) //nolint:errcheck,forcetypeassert // there is nothing else in it
	x.reset(s.rules.Load())
	defer func() {
		x.reset(nil)
		s.calls.Put(x)
	}()
	allowed, err := x.decide(ctx, s.now(), req)
	if err != nil {
		s.metrics.count(x, codeInvalid, time.Since(begun))
		return nil, err
	}
	x.tell(s.cfg.Decided)
	out := x.answer(allowed)
	c := codeOK
	switch {
	case allowed:
	case x.gone:
		c = codeUnavailable
	default:
		c = codeOverLimit
	}
	s.metrics.count(x, c, time.Since(begun))
	return out, nil
}

// bounded closes conns that are too many.
type bounded struct {
	net.Listener
	s *Server
}

// Accept implements [net.Listener].
func (b bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // it is grpc's to say
		}
		if b.s.conns.Add(1) <= int64(b.s.cfg.MaxConns) {
			return &counted{Conn: c, s: b.s}, nil
		}
		b.s.conns.Add(-1)
		b.s.refused.Add(1)
		_ = c.Close() // it was told nothing yet
	}
}

// counted is a conn that counts until it is closed.
type counted struct {
	net.Conn
	s      *Server
	closed atomic.Bool
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	if !c.closed.Swap(true) {
		c.s.conns.Add(-1)
	}
	return c.Conn.Close() //nolint:wrapcheck // it is grpc's to say
}
