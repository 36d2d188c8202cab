package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/edge/admit"
	"weir/edge/hub"

	"github.com/panjf2000/gnet/v2"
)

// Server runs the event loops. Its exported methods may be called from any goroutine.
type Server struct {
	cfg   Config
	hub   *hub.Hub
	log   *slog.Logger
	maxFD int // a descriptor from here on is refused
	gate  *admit.Gate
	start time.Time // the gate's clock begins here

	conns atomic.Int64
	ready chan struct{}
	addr  atomic.Pointer[net.TCPAddr]

	accepts acceptMeter
	tls     *tlsDoor      // nil: none
	looping chan struct{} // closed once conns can be given to loops
	stopped chan struct{} // closed when the loops are
	begin   sync.Once     // closes it

	mu     sync.Mutex
	loops  map[gnet.EventLoop]*loop
	engine gnet.Engine
}

// New returns a Server for h. Nothing runs before [Server.Run].
func New(cfg Config, h *hub.Hub, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure edge: %w", err)
	}
	cfg = cfg.Defaults()
	gate, err := admit.New(cfg.admission())
	if err != nil {
		return nil, fmt.Errorf("configure edge: %w", err)
	}
	s := &Server{
		cfg:   cfg,
		hub:   h,
		log:   log,
		maxFD: DescriptorLimit() - spareDescriptors,
		gate:  gate,
		start: time.Now(),
		ready: make(chan struct{}),
		loops: make(map[gnet.EventLoop]*loop),

		looping: make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if s.tls, err = newTLSDoor(s); err != nil {
		return nil, err
	}
	return s, nil
}

// Run listens and serves until ctx ends, then closes the conns over a window of at most DrainTimeout and
// returns. An error says why it could not listen, or what stopped the loops.
func (s *Server) Run(ctx context.Context) error {
	addr, err := s.claim()
	if err != nil {
		return err
	}
	if s.tls != nil {
		if err := s.tls.listen(); err != nil {
			return err
		}
		s.tls.open(s.looping)
		defer s.tls.close()
	}
	// gnet takes [::] for IPv6 alone, and no host for both.
	at := addr.String()
	if addr.IP.IsUnspecified() && addr.IP.To4() == nil {
		at = fmt.Sprintf(":%d", addr.Port)
	}
	ticks, stopTicks := context.WithCancel(context.Background())
	defer stopTicks()
	ended := make(chan error, 1)
	go func() {
		defer close(s.stopped)
		ended <- gnet.Run(&handler{s}, "tcp://"+at,
			gnet.WithNumEventLoop(s.cfg.Loops),
			gnet.WithReusePort(true),
			gnet.WithLoadBalancing(gnet.LeastConnections), // of conns that come from a handshake
			gnet.WithTicker(true),
			gnet.WithLogger(gnetLog{s.log}),
		)
	}()
	go s.runTicks(ticks)
	select {
	case err = <-ended:
		return fmt.Errorf("serve %s: %w", addr, orStopped(err))
	case <-ctx.Done():
	}
	select { // an engine that is still starting cannot be stopped
	case <-s.ready:
	case err = <-ended:
		return err
	}
	if s.tls != nil {
		s.tls.close()
	}
	s.drain()
	stopCtx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.mu.Lock()
	engine := s.engine
	s.mu.Unlock()
	err = engine.Stop(stopCtx)
	err = errors.Join(err, <-ended)
	s.closeKicks()
	return err
}

func orStopped(err error) error {
	if err == nil {
		return errors.New("the event loops stopped")
	}
	return err
}

// claim finds the address to serve: with SO_REUSEPORT, as the loops listen, a second edge on
// the same port would go unnoticed, and port 0 would be another one for each loop.
func (s *Server) claim() (*net.TCPAddr, error) {
	ln, err := net.Listen("tcp", s.cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use: stop what uses it (ss -ltnp) or set edge.listen to another: %w", s.cfg.Listen, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: set edge.listen to an address of this host: %w", s.cfg.Listen, err)
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	if err := ln.Close(); err != nil || !ok {
		return nil, fmt.Errorf("listen on %s: %w", s.cfg.Listen, err)
	}
	s.addr.Store(addr)
	return addr, nil
}

// Ready is closed once the server accepts conns.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is the address served, nil before Run found it.
func (s *Server) Addr() net.Addr {
	if a := s.addr.Load(); a != nil {
		return a
	}
	return nil
}

// TLSAddr is the address of TLS conns, nil if there is none or before Run found it.
func (s *Server) TLSAddr() net.Addr {
	if s.tls == nil {
		return nil
	}
	return s.tls.addr()
}

// Conns is the number of conns held.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// each calls f on every loop, as its task.
func (s *Server) each(f func(*loop)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for el, l := range s.loops {
		_ = el.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
			f(l)
			return nil
		}))
	}
}

func (s *Server) runTicks(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.each((*loop).onTick)
			s.accepts.tick(s.accepted())
		}
	}
}

// accepted is how many handshakes were answered with a subscription.
func (s *Server) accepted() (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		n += l.stats.accepted.Load()
	}
	return n
}

func (s *Server) closeKicks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		if l.kick != nil {
			l.kick.close()
		}
	}
}

// loopOf is the loop of a conn, made at its first one. Called on that loop.
func (s *Server) loopOf(el gnet.EventLoop) *loop {
	s.mu.Lock()
	l := s.loops[el]
	if l == nil {
		l = newLoop(s, el)
		s.loops[el] = l
	}
	s.mu.Unlock()
	if l.kick == nil {
		s.addKick(l)
	}
	return l
}

// addKick gives l its kick; until gnet has taken it in, slices go on as tasks.
func (s *Server) addKick(l *loop) {
	k, err := newKick()
	if err != nil {
		s.log.Error("event loop goes without a kick", "err", err)
		return
	}
	l.kick = k
	if _, err := l.el.Enroll(gnet.NewContext(context.Background(), k), k.end); err != nil {
		s.log.Error("event loop goes without a kick", "err", err)
	}
}

// handler receives gnet's callbacks.
type handler struct{ s *Server }

func (h *handler) OnBoot(e gnet.Engine) gnet.Action {
	h.s.mu.Lock()
	h.s.engine = e
	h.s.mu.Unlock()
	close(h.s.ready)
	return gnet.None
}

func (h *handler) OnShutdown(gnet.Engine) {}

// OnTick is called first when all loops are known to the engine: which OnBoot is not.
func (h *handler) OnTick() (time.Duration, gnet.Action) {
	h.s.begin.Do(func() { close(h.s.looping) })
	return time.Hour, gnet.None
}

func (h *handler) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	l := h.s.loopOf(gc.EventLoop())
	switch from := gc.Context().(type) {
	case *kick:
		l.kickReady.Store(true)
	case *arrival:
		l.onArrival(gc, from)
	default:
		l.onOpen(gc)
	}
	return nil, gnet.None
}

func (h *handler) OnTraffic(gc gnet.Conn) gnet.Action {
	switch c := gc.Context().(type) {
	case *conn:
		c.received()
	case *kick:
		_, _ = gc.Discard(gc.InboundBuffered())
		h.s.loopOf(gc.EventLoop()).run()
	}
	return gnet.None
}

func (h *handler) OnClose(gc gnet.Conn, err error) gnet.Action {
	if c, ok := gc.Context().(*conn); ok {
		c.closedBy(err)
		c.loop.onClose(c)
	}
	return gnet.None
}
