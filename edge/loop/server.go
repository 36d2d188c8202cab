package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/edge/admit"
	"weir/edge/hub"

	"github.com/panjf2000/gnet/v2"
)

// Server runs the event loops. Its exported methods may be called from any goroutine.
type Server struct {
	cfg        Config
	hub        *hub.Hub
	log        *slog.Logger
	maxFD      int // a descriptor from here on is refused
	gate       *admit.Gate
	identities *admit.Identities
	checks     *checks
	start      time.Time // the gate's clock begins here

	conns   atomic.Int64
	started chan struct{} // closed when gnet's loops run
	ready   chan struct{}
	gone    chan struct{} // closed when another process has taken over
	addr    atomic.Pointer[net.TCPAddr]
	claimed *Held // the address, until the loops listen

	predecessor *predecessor // nil: none
	hooks       Hooks

	accepts acceptMeter
	tls     *tlsDoor      // nil: none
	stopped chan struct{} // closed when the loops are

	engine gnet.Engine // set before started

	mu    sync.Mutex
	loops map[gnet.EventLoop]*loop
}

// New returns a Server for h. Nothing runs before [Server.Run].
func New(cfg Config, h *hub.Hub, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure edge: %w", err)
	}
	cfg = cfg.Defaults()
	if cfg.Anonymous == AnonymousOff && cfg.Tokens == nil {
		return nil, fmt.Errorf("configure edge: %w", &FieldError{"Anonymous", cfg.Anonymous, "on, or keys to check tokens with: nobody could connect"})
	}
	gate, err := admit.New(cfg.admission())
	if err != nil {
		return nil, fmt.Errorf("configure edge: %w", err)
	}
	s := &Server{
		cfg:        cfg,
		hub:        h,
		log:        log,
		maxFD:      DescriptorLimit() - spareDescriptors,
		gate:       gate,
		identities: admit.NewIdentities(cfg.MaxConnsPerIdentity),
		checks:     newChecks(cfg.Tokens),
		start:      time.Now(),
		started:    make(chan struct{}),
		ready:      make(chan struct{}),
		gone:       make(chan struct{}),
		stopped:    make(chan struct{}),
		loops:      make(map[gnet.EventLoop]*loop),
	}
	s.SetHooks(Hooks{})
	if s.tls, err = newTLSDoor(s); err != nil {
		return nil, err
	}
	return s, nil
}

// Run listens, or takes over if TakeOver was called, and serves until ctx ends or another process has
// taken over. Then it closes the conns that are left over a window of at most DrainTimeout and returns.
// An error says why it could not listen, what became of the takeover, or what stopped the loops.
func (s *Server) Run(ctx context.Context) error {
	addrs, err := s.addresses()
	if err != nil {
		return err
	}
	defer s.release()
	defer s.checks.wait() // when the engine has stopped
	if s.tls != nil {
		if err := s.tls.listen(); err != nil {
			return err
		}
		s.tls.open(s.ready)
		defer s.tls.close()
	}
	ticks, stopTicks := context.WithCancel(context.Background())
	defer stopTicks()
	ended := make(chan error, 1)
	go func() {
		defer close(s.stopped)
		ended <- gnet.Rotate(&handler{s}, addrs,
			gnet.WithNumEventLoop(s.cfg.Loops),
			gnet.WithReusePort(true),
			gnet.WithTicker(true),
			gnet.WithReuseAddr(true), // conns of an edge that was killed must not keep the next one off the port
			gnet.WithLogger(gnetLog{s.log}),
		)
	}()
	select { // an engine that is still starting cannot be stopped
	case <-s.started:
	case err = <-ended:
		return fmt.Errorf("serve %s: %w", s.Addr(), orStopped(err))
	}
	s.release()
	s.kickOff()
	if s.predecessor != nil {
		if err := s.take(ctx); err != nil {
			err = fmt.Errorf("take over from process %d, which serves on: %w", s.predecessor.hello.PID, err)
			return errors.Join(err, s.stopEngine(ended))
		}
	}
	go s.runTicks(ticks)
	offers, stopTakeovers := context.WithCancel(ctx)
	defer stopTakeovers()
	served := make(chan struct{})
	found := s.openTakeovers()
	go func() {
		defer close(served)
		s.serveTakeovers(offers, found)
	}()
	close(s.ready)
	select {
	case err = <-ended:
		return fmt.Errorf("serve %s: %w", s.Addr(), orStopped(err))
	case <-ctx.Done():
	case <-s.gone:
	}
	stopTakeovers()
	<-served
	if s.tls != nil {
		s.tls.close()
	}
	s.drain()
	return s.stopEngine(ended)
}

// addresses are what gnet is to listen at.
func (s *Server) addresses() ([]string, error) {
	if s.predecessor != nil {
		return s.predecessor.dummyListeners(s.cfg.Loops), nil
	}
	find := s.claim
	if s.cfg.SharedPort {
		find = s.shared
	}
	addr, err := find()
	if err != nil {
		return nil, err
	}
	// gnet takes [::] for IPv6 alone, and no host for both.
	if addr.IP.IsUnspecified() && addr.IP.To4() == nil {
		return []string{fmt.Sprintf("tcp://:%d", addr.Port)}, nil
	}
	return []string{"tcp://" + addr.String()}, nil
}

// stopEngine stops gnet, which closes what is left.
func (s *Server) stopEngine(ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := s.engine.Stop(ctx)
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

// claim takes the address to serve: with SO_REUSEPORT, as the loops listen, a second edge on the same port
// would go unnoticed, and port 0 would be another one for each loop. It is held until they listen.
func (s *Server) claim() (addr *net.TCPAddr, err error) {
	if s.claimed, err = Hold("edge.listen", s.cfg.Listen); err != nil {
		return nil, err
	}
	addr = s.claimed.Addr()
	s.addr.Store(addr)
	return addr, nil
}

// release ends that.
func (s *Server) release() {
	if s.claimed != nil {
		s.claimed.Close()
		s.claimed = nil
	}
}

func inUse(setting, listen string, err error) error {
	return fmt.Errorf("listen on %s: the port is in use: stop what uses it (ss -ltnp) or set %s to another: %w", listen, setting, err)
}

func notOurs(setting, listen string, err error) error {
	return fmt.Errorf("listen on %s: set %s to an address of this host: %w", listen, setting, err)
}

// shared is the address to serve beside others.
func (s *Server) shared() (*net.TCPAddr, error) {
	addr, err := net.ResolveTCPAddr("tcp", s.cfg.Listen)
	if err != nil {
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
	for _, l := range s.loops {
		_ = l.ask(func() { f(l) })
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
			due := time.Now()
			for _, l := range s.allLoops() {
				_ = l.lag.Ask(due, l.ask, l.onTick) // after the engine's end there is nothing to tick
			}
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

// allLoops are those made so far: all, once Run has kicked off.
func (s *Server) allLoops() []*loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.loops))
}

// loopOf is the loop of a conn, made at its first one. Called on that loop.
func (s *Server) loopOf(el gnet.EventLoop) *loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.loops[el]
	if l == nil {
		l = newLoop(s, el)
		s.loops[el] = l
	}
	return l
}

// kickOff gives each loop a kick, as gnet registers conns with one after the other. A loop without
// one goes on with slices as tasks.
func (s *Server) kickOff() {
	for range s.cfg.Loops {
		k, err := newKick()
		if err == nil {
			ctx := gnet.NewNetConnContext(gnet.NewContext(context.Background(), k), k.end)
			var ch <-chan gnet.RegisteredResult
			if ch, err = s.engine.Register(ctx); err == nil {
				err = (<-ch).Err
			}
		}
		if err != nil {
			s.log.Error("event loop goes without a kick", "err", err)
		}
	}
}

// handler receives gnet's callbacks.
type handler struct{ s *Server }

func (h *handler) OnBoot(e gnet.Engine) gnet.Action {
	h.s.engine = e
	return gnet.None
}

func (h *handler) OnShutdown(gnet.Engine) {}

// OnTick is called first when all loops run. Their ticks are tasks of their own: this is none of them.
func (h *handler) OnTick() (time.Duration, gnet.Action) {
	select {
	case <-h.s.started:
	default:
		close(h.s.started)
	}
	return time.Hour, gnet.None
}

func (h *handler) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	l := h.s.loopOf(gc.EventLoop())
	switch from := gc.Context().(type) {
	case *kick:
		l.onKick(gc, from)
	case *tlsArrival:
		l.onTLSArrival(gc, from)
	case *handed:
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
