package admin

import (
	"context"
	"crypto/subtle"
	_ "embed" // the page
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/broker"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of the server.
const (
	maxConns        = 256
	maxBodyBytes    = 12 << 20 // a payload at the bus's own limit, in base64
	headTimeout     = 5 * time.Second
	shutdownTimeout = 2 * time.Second
)

// Publisher stores events. broker/bus's Bus is one, behind cmd/weir's adapter.
type Publisher interface {
	// Publish stores an event of a key, which may be empty. The errors wrap broker.ErrBadKey,
	// broker.ErrTooLarge and broker.ErrUnavailable.
	Publish(ctx context.Context, t broker.Topic, data []byte, key, idempotencyKey string) (broker.Position, error)
}

// Gateway is what the API can ask of and do to the gateway.
type Gateway interface {
	// Show is a picture of it, JSON-able.
	Show() any
	// Explain says what its quotas say of a client, an address or an identity; JSON-able. An error is the caller's mistake.
	Explain(client string) (any, error)
	// Reload reads its routes again; the error says what is wrong with them.
	Reload(ctx context.Context) error
	// Top is the first n clients by requests, limited, bytes or seconds, JSON-able; the error says that it is none of these.
	Top(by string, n int) (any, error)
}

// Deps is what the server shows and reaches.
type Deps struct {
	// Publisher is nil without a bus.
	Publisher Publisher
	// Gateway is nil without one.
	Gateway Gateway
	// Quotas is nil when XDP is off; QuotasOff then says why.
	Quotas    Quotas
	QuotasOff string
	// Publishers is nil where no tokens are checked.
	Publishers Publishers
	// Why says what became of a client's conns; JSON-able. An error is the caller's mistake.
	Why func(ctx context.Context, client string) (any, error)
	// Numbers is the JSON-able state for /api/info and the page.
	Numbers func() Numbers
	// Ready is nil when all parts serve, else says which does not.
	Ready func() error
	// Listener is served instead of Config.Listen; nil to listen there. Run closes it.
	Listener net.Listener
	Gatherer prometheus.Gatherer
}

// Server is the admin server.
type Server struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	addr  atomic.Pointer[net.TCPAddr]
	ready chan struct{}
	done  chan struct{}

	requests *prometheus.CounterVec
}

// New returns a Server. Nothing runs before [Server.Run].
func New(cfg Config, deps Deps, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure admin: %w", err)
	}
	s := &Server{cfg: cfg.Defaults(), deps: deps, log: log, ready: make(chan struct{}), done: make(chan struct{})}
	s.initMetrics()
	return s, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	ln, err := s.deps.Listener, error(nil)
	if ln == nil {
		ln, err = net.Listen("tcp", s.cfg.Listen)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: the port is in use: stop what uses it (ss -ltnp) or set admin.listen to another: %w", s.cfg.Listen, err)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: set admin.listen to an address of this host: %w", s.cfg.Listen, err)
	}
	if addr, ok := ln.Addr().(*net.TCPAddr); ok {
		s.addr.Store(addr)
	}
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(&limitListener{Listener: ln, slots: make(chan struct{}, maxConns)}) }()
	close(s.ready)
	select {
	case err := <-served:
		return fmt.Errorf("serve admin: %w", err)
	case <-ctx.Done():
	}
	close(s.done) // ends the streams of the page
	stop, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close() // whoever is still connected had its time
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin: %w", err)
	}
	return nil
}

// Ready is closed once the server listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is the address served; nil before Run found it.
func (s *Server) Addr() net.Addr {
	if a := s.addr.Load(); a != nil {
		return a
	}
	return nil
}

// Handler is the server's routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, route string, open bool, h http.HandlerFunc) {
		if !open {
			h = s.guard(h)
		}
		mux.HandleFunc(pattern, s.count(route, h))
	}
	handle("/healthz", "healthz", true, s.health)
	handle("/readyz", "readyz", true, s.readiness)
	handle("POST /api/publish", "publish", true, s.guardPublisher(s.publish))
	handle("POST /api/broadcast", "broadcast", true, s.guardPublisher(s.broadcast))
	handle("/api/info", "info", false, s.info)
	handle("GET /api/why", "why", false, s.why)
	handle("GET /api/quota", "quota", false, s.quota)
	handle("POST /api/quota/mode", "quota_mode", false, s.quotaMode)
	handle("GET /api/quota/top", "quota_top", false, s.quotaTop)
	handle("GET /api/quota/explain", "quota_explain", false, s.quotaExplain)
	handle("POST /api/quota/apply", "quota_apply", false, s.quotaApply)
	handle("POST /api/quota/confirm", "quota_confirm", false, s.quotaConfirm)
	handle("POST /api/quota/edit", "quota_edit", false, s.quotaEdit)
	handle("GET /api/quota/events", "quota_events", false, s.quotaEvents)
	handle("GET /api/gateway", "gateway", false, s.gateway)
	handle("GET /api/gateway/explain", "gateway_explain", false, s.gatewayExplain)
	handle("GET /api/gateway/top", "gateway_top", false, s.gatewayTop)
	handle("POST /api/gateway/reload", "gateway_reload", false, s.gatewayReload)
	handle("/api/", "other", false, s.unknownMethod)
	handle("GET /metrics", "metrics", false, promhttp.HandlerFor(s.deps.Gatherer, promhttp.HandlerOpts{}).ServeHTTP)
	handle("GET /stats/stream", "stats", false, s.stream)
	handle("GET /debug/pprof/", "pprof", false, pprof.Index)
	handle("GET /debug/pprof/profile", "pprof", false, pprof.Profile)
	handle("GET /debug/pprof/symbol", "pprof", false, pprof.Symbol)
	handle("GET /debug/pprof/trace", "pprof", false, pprof.Trace)
	handle("GET /debug/pprof/cmdline", "pprof", false, pprof.Cmdline)
	handle("GET /{$}", "page", true, s.page)
	handle("/", "other", true, func(w http.ResponseWriter, r *http.Request) {
		writeError(w, r, http.StatusNotFound, codeNotFound, "no such path: the page is at /, the API below /api/")
	})
	return mux
}

// guard asks for the key, if there is one.
func (s *Server) guard(next http.HandlerFunc) http.HandlerFunc {
	if s.cfg.APIKey == "" {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("X-API-Key")
		if auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), "apikey "); ok && key == "" {
			key = auth
		}
		if subtle.ConstantTimeCompare([]byte(key), []byte(s.cfg.APIKey)) != 1 {
			writeError(w, r, http.StatusUnauthorized, codeUnauthorized, "the API key is missing or wrong: send the configured admin.api_key as X-API-Key")
			return
		}
		next(w, r)
	}
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) readiness(w http.ResponseWriter, _ *http.Request) {
	if err := s.deps.Ready(); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "reason": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

//go:embed page.html
var pageHTML []byte

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(pageHTML) // a client that went needs no page
}

// limitListener bounds the conns held at once: a conn over it waits in the kernel's queue.
type limitListener struct {
	net.Listener
	slots chan struct{}
}

func (l *limitListener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

type limitConn struct {
	net.Conn
	release func()
}

func (c *limitConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
