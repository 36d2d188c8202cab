package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/edge/admit"
	"weir/gateway/access"
	"weir/gateway/loop"
	"weir/gateway/policy"
	"weir/gateway/proxy"
	"weir/gateway/rls"
	"weir/gateway/trace"
	"weir/gateway/upstream"
	"weir/gateway/way"
	"weir/internal/certificates"
	"weir/ratelimit/local"
)

// Deps are what a Server is joined to. All may be left out.
type Deps struct {
	// Hooks are told of requests, beside the metrics and the access log.
	Hooks way.Hooks
	// Log is of accesses; nil for none.
	Log *access.Log
	// Trace traces requests; nil for none. The Server runs it.
	Trace *trace.Tracer
}

// Server is the gateway.
type Server struct {
	cfg          Config
	deps         Deps
	log          *slog.Logger
	epoch        time.Time
	certificates *certificates.Store
	gate         *admit.Gate
	conns        conns
	handshakes   chan struct{}
	store        *local.Store
	flight       *policy.Flight
	metrics      *access.Metrics
	hooks        way.Hooks
	handler      *proxy.Handler
	http         *http.Server
	loops        *loop.Server // nil without event loops
	left         *door        // what they leave to net/http
	rls          *rls.Server  // nil without Envoy's rate limit service

	reloading sync.Mutex
	now       *generation
	reloads   [2]atomic.Uint64 // taken, rejected
	pools     atomic.Pointer[map[string]*upstream.Pool]
	running   sync.WaitGroup // pools

	ready   chan struct{}
	addr    atomic.Pointer[net.TCPAddr]
	tlsAddr atomic.Pointer[net.TCPAddr]
}

// New returns a Server, which serves by a plan. Nothing listens before [Server.Run].
func New(cfg Config, plan Plan, deps Deps, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg.Defaults(), deps: deps, log: log, epoch: time.Now(), flight: &policy.Flight{}, ready: make(chan struct{})}
	s.metrics = access.NewMetrics(max(s.cfg.Loops, runtime.GOMAXPROCS(0)), s.epoch)
	s.conns.most = int64(s.cfg.MaxConns)
	s.handshakes = make(chan struct{}, s.cfg.TLSHandshakes)
	var err error
	if s.gate, err = admit.New(admit.Config{
		PrefixIPv4: s.cfg.PrefixIPv4, PrefixIPv6: s.cfg.PrefixIPv6, MaxConnsPerPrefix: s.cfg.MaxConnsPerPrefix,
		Rate: s.cfg.AcceptRate, RatePerPrefix: s.cfg.AcceptRatePerPrefix,
	}); err != nil {
		return nil, err
	}
	if s.store, err = local.New(local.Config{Clients: s.cfg.Clients}); err != nil {
		return nil, err
	}
	if s.cfg.TLSListen != "" {
		if s.certificates, err = certificates.New(certificates.Config{
			Pairs: s.cfg.TLSCertificates, Setting: "gateway.tls_certificates", Build: s.tlsConfig,
		}, log); err != nil {
			return nil, err
		}
	}
	if s.now, err = s.generation(plan, nil); err != nil {
		return nil, err
	}
	s.hooks = s.withHooks()
	s.handler = proxy.New(proxy.Config{IdentityField: s.cfg.IdentityField}, s.now.way(), s.hooks, log)
	s.http = s.newHTTP()
	if s.cfg.RLSListen != "" {
		s.rls = rls.NewServer(rls.ServerConfig{Listen: s.cfg.RLSListen, DrainTimeout: s.cfg.DrainTimeout, Decided: s.decided}, s.now.rls, s.handler.Now)
	}
	return s, nil
}

// withHooks are those of Deps, beside metrics, log and traces.
func (s *Server) withHooks() way.Hooks {
	hooks := s.deps.Hooks
	observe := hooks.Observe
	hooks.Observe = func(r *access.Record) {
		s.metrics.Observe(r)
		if s.deps.Log != nil {
			s.deps.Log.Observe(r)
		}
		if s.deps.Trace != nil {
			s.deps.Trace.Observe(r)
		}
		if observe != nil {
			observe(r)
		}
	}
	if s.deps.Trace != nil {
		hooks.Trace = s.deps.Trace.Start
	}
	return hooks
}

// decided counts what a policy said of a client of Envoy's.
func (s *Server) decided(shard uint32, name string, shadow, allowed bool) {
	s.metrics.Count(shard, access.Asked{Name: name, Shadow: shadow, Allowed: allowed})
}

// markRequests has the metrics know what became of requests lately.
func (s *Server) markRequests(ctx context.Context) {
	t := time.NewTicker(access.MarkEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			s.metrics.Mark(now)
		}
	}
}

func (s *Server) tlsConfig(served []tls.Certificate) *tls.Config {
	c := &tls.Config{Certificates: served, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if s.cfg.TLSMinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

func (s *Server) screen() proxy.ScreenConfig {
	return proxy.ScreenConfig{MaxHeadBytes: s.cfg.MaxHeadBytes, MaxFields: s.cfg.MaxFields}
}

func (s *Server) newHTTP() *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s.handler.Screened(),
		ConnContext:       proxy.ConnContext,
		ReadHeaderTimeout: s.cfg.HeadTimeout,
		IdleTimeout:       s.cfg.KeepAlive,
		MaxHeaderBytes:    s.cfg.MaxHeadBytes,
		Protocols:         protocols,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Run serves until ctx ends, then lets requests end for the drain timeout.
func (s *Server) Run(ctx context.Context) error {
	doors, err := s.listen()
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	failed := make(chan error, len(doors)+2)
	s.begin(inner)
	running.Go(func() { s.markRequests(inner) })
	if s.deps.Trace != nil {
		running.Go(func() { s.deps.Trace.Run(inner) })
	}
	if s.certificates != nil {
		running.Go(func() { s.certificates.Watch(inner) })
	}
	if s.cfg.Strain > 0 {
		running.Go(func() { s.watchStrain(inner) })
	}
	for _, d := range doors {
		running.Go(d.run)
		running.Go(func() {
			if err := s.http.Serve(d); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				failed <- fmt.Errorf("serve the gateway: %w", err)
			}
		})
	}
	if s.loops != nil {
		running.Go(func() {
			if err := s.loops.Run(ctx); err != nil {
				failed <- err
			}
		})
		select {
		case <-s.loops.Ready():
		case err := <-failed:
			failed <- err
		}
	}
	if s.rls != nil {
		running.Go(func() {
			if err := s.rls.Run(ctx); err != nil {
				failed <- err
			}
		})
	}
	close(s.ready)
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	end()
	s.drain(doors)
	stop()
	running.Wait()
	s.running.Wait()
	s.now.close()
	return err
}

// Alive says which of the event loops do not answer by the end of ctx; nil if all do, or there are none.
func (s *Server) Alive(ctx context.Context) error {
	if loops := s.serving(); loops != nil {
		return loops.Alive(ctx)
	}
	return nil
}

// serving are the event loops; nil if there are none, or before they serve.
func (s *Server) serving() *loop.Server {
	select {
	case <-s.ready:
		return s.loops
	default:
		return nil
	}
}

// drain has no new conns come, and ends those there are when their requests end, or their time.
func (s *Server) drain(doors []*door) {
	for _, d := range doors {
		_ = d.Close() // it is closed
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.DrainTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // whoever is still served had its time
	}
}

func (s *Server) listen() (doors []*door, err error) {
	for _, l := range []struct {
		address string
		isTLS   bool
		at      *atomic.Pointer[net.TCPAddr]
		setting string
	}{{s.cfg.Listen, false, &s.addr, "gateway.listen"}, {s.cfg.TLSListen, true, &s.tlsAddr, "gateway.tls_listen"}} {
		if l.address == "" || l.address == Off {
			continue
		}
		ln, err := net.Listen("tcp", l.address)
		if err != nil {
			for _, d := range doors {
				_ = d.Close() // nobody was served yet
			}
			if errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("listen on %s: the port is in use: stop what uses it (ss -ltnp) or set %s to another: %w", l.address, l.setting, err)
			}
			return nil, fmt.Errorf("listen on %s: set %s to an address of this host: %w", l.address, l.setting, err)
		}
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			l.at.Store(a)
		}
		if !l.isTLS && s.cfg.Way == WayLoops {
			_ = ln.Close() // it was to find whether the address is free, and its port
			s.left = s.newLoops(ln.Addr())
			doors = append(doors, s.left)
			continue
		}
		doors = append(doors, newDoor(s, ln, l.isTLS))
	}
	if s.rls != nil {
		if err := s.rls.Listen(); err != nil {
			for _, d := range doors {
				_ = d.Close() // nobody was served yet
			}
			return nil, err
		}
	}
	return doors, nil
}

// newLoops has event loops serve an address, and returns the door of what they leave to net/http.
func (s *Server) newLoops(at net.Addr) *door {
	d := newDoor(s, nil, false)
	listen := at.String()
	if a, ok := at.(*net.TCPAddr); ok && a.IP.IsUnspecified() && a.IP.To4() == nil { // gnet takes [::] for IPv6 alone
		listen = fmt.Sprintf(":%d", a.Port)
	}
	s.loops = loop.New(loop.Config{
		Listen: listen, Loops: s.cfg.Loops, MaxHeadBytes: s.cfg.MaxHeadBytes, MaxFields: s.cfg.MaxFields, HeadTimeout: s.cfg.HeadTimeout,
		KeepAlive: s.cfg.KeepAlive, DrainTimeout: s.cfg.DrainTimeout, IdentityField: s.cfg.IdentityField,
	}, s.now.way(), loop.Deps{
		Hooks: s.hooks, Admit: s.admit, Release: s.release, Proxied: s.sendsHeader, Decline: d.take, Ticks: s.handler.Ticks, Malformed: s.handler.Malformed,
	}, s.log)
	return d
}

// admit counts a conn, and says whether its client may have it.
func (s *Server) admit(client netip.Addr) bool {
	if !s.conns.enter() {
		return false
	}
	if v, _ := s.gate.Admit(client, admit.Ticks(time.Since(s.epoch))); v != admit.Admitted {
		s.conns.refused[refusedRate].Add(1)
		s.conns.leave()
		return false
	}
	return true
}

func (s *Server) release(client netip.Addr) {
	s.gate.Release(client)
	s.conns.leave()
}

// sendsHeader reports whether conns of a peer begin with a PROXY header.
func (s *Server) sendsHeader(peer netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.ProxyProtocol, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// Ready is closed once the gateway serves.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is the address served without TLS, TLSAddr that with it; nil for none.
func (s *Server) Addr() net.Addr { return addrOf(&s.addr) }

// RLSAddr is the address of Envoy's rate limit service, nil for none or before it listens.
func (s *Server) RLSAddr() net.Addr {
	if s.rls == nil {
		return nil
	}
	return s.rls.Addr()
}

// TLSAddr is documented at [Server.Addr].
func (s *Server) TLSAddr() net.Addr { return addrOf(&s.tlsAddr) }

func addrOf(at *atomic.Pointer[net.TCPAddr]) net.Addr {
	if a := at.Load(); a != nil {
		return a
	}
	return nil
}
