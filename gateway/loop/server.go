package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"weir/gateway/way"
	"weir/internal/sockets"
	"weir/internal/wheel"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"
)

// Server serves on event loops.
type Server struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	current atomic.Pointer[way.Generation]
	engine  gnet.Engine
	conns   atomic.Int64
	started chan struct{}
	ready   chan struct{}
	stopped chan struct{} // closed when the loops are

	mu    sync.Mutex
	loops map[gnet.EventLoop]*loop

	draining atomic.Bool
}

// New returns a Server, which serves by a Generation. Nothing listens before [Server.Run].
func New(cfg Config, g *way.Generation, deps Deps, log *slog.Logger) *Server {
	s := &Server{cfg: cfg, deps: deps, log: log, started: make(chan struct{}), ready: make(chan struct{}), stopped: make(chan struct{}), loops: map[gnet.EventLoop]*loop{}}
	s.current.Store(g)
	return s
}

// Replace has requests that come from now on served by another Generation.
func (s *Server) Replace(g *way.Generation) { s.current.Store(g) }

// Conns is the number of clients' conns held.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// Ready is closed once the server accepts conns.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// errStopped says that gnet gave up.
var errStopped = errors.New("the event loops stopped")

// Run serves until ctx ends, then lets requests end for the drain timeout.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() {
		defer close(s.stopped)
		ended <- gnet.Run(&handler{s: s}, "tcp://"+s.cfg.Listen,
			gnet.WithNumEventLoop(s.cfg.Loops), gnet.WithReusePort(true), gnet.WithTCPNoDelay(gnet.TCPNoDelay),
			gnet.WithTicker(true), gnet.WithLogger(silent{}), gnet.WithLogLevel(logging.FatalLevel))
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", s.cfg.Listen, errors.Join(errStopped, err))
	case <-s.started:
	}
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	anchors := s.dropAnchors()
	defer func() {
		for _, a := range anchors {
			_ = a.Close() // nobody waits for it
		}
	}()
	running.Go(func() { s.runTicks(inner) })
	close(s.ready)
	var err error
	select {
	case e := <-ended:
		stop()
		running.Wait()
		return fmt.Errorf("serve %s: %w", s.cfg.Listen, errors.Join(errStopped, e))
	case <-ctx.Done():
	}
	s.drain()
	stop()
	running.Wait()
	end, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = s.engine.Stop(end)
	return errors.Join(err, <-ended)
}

// anchor is what a loop has a conn for from its begin, so that it is known, and its descriptors are, before it has any client.
type anchor struct{}

// dropAnchors gives each loop an anchor: gnet registers conns with one loop after the other. They are the other ends.
func (s *Server) dropAnchors() (others []net.Conn) {
	for range s.cfg.Loops {
		end, other, err := pair()
		if err == nil {
			others = append(others, other)
			ctx := gnet.NewNetConnContext(gnet.NewContext(context.Background(), anchor{}), end)
			var opened <-chan gnet.RegisteredResult
			if opened, err = s.engine.Register(ctx); err == nil {
				err = (<-opened).Err
			}
		}
		if err != nil {
			s.log.Error("an event loop is not known before it has a conn", "err", err)
		}
	}
	return others
}

// drain has no new conns come, ends those that idle, and waits for the requests of the others.
func (s *Server) drain() {
	s.draining.Store(true)
	s.each((*loop).drain)
	deadline := time.NewTimer(s.cfg.DrainTimeout)
	defer deadline.Stop()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for s.conns.Load() > 0 {
		select {
		case <-deadline.C:
			return
		case <-t.C:
		}
	}
}

func (s *Server) runTicks(ctx context.Context) {
	t := time.NewTicker(wheel.Tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			due := time.Now()
			for _, l := range s.allLoops() {
				_ = l.lag.Ask(due, l.do, l.tick) // after the engine's end there is nothing to tick
			}
		}
	}
}

// each calls f on every loop, as its task.
func (s *Server) each(f func(*loop)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		_ = l.do(func() { f(l) })
	}
}

// loopOf is the loop of a conn, made at its first one. Called on that loop.
func (s *Server) loopOf(el gnet.EventLoop) *loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.loops[el]
	if l == nil {
		l = newLoop(s, el, uint32(len(s.loops))) //nolint:gosec // there are few
		s.loops[el] = l
	}
	return l
}

// handler receives gnet's callbacks.
type handler struct{ s *Server }

// OnBoot implements [gnet.EventHandler].
func (h *handler) OnBoot(e gnet.Engine) gnet.Action {
	h.s.engine = e
	return gnet.None
}

// OnShutdown implements [gnet.EventHandler].
func (h *handler) OnShutdown(gnet.Engine) {}

// OnTick is called first when all loops run; their ticks are tasks of their own.
func (h *handler) OnTick() (time.Duration, gnet.Action) {
	select {
	case <-h.s.started:
	default:
		close(h.s.started)
	}
	return time.Hour, gnet.None
}

// OnOpen implements [gnet.EventHandler].
func (h *handler) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	l := h.s.loopOf(gc.EventLoop())
	if l.poller < 0 {
		var err error
		if l.poller, err = sockets.PollerOf(gc.Fd()); err != nil {
			h.s.log.Warn("bodies are not held back on an event loop", "err", err)
			l.poller = 0 // not looked for again
		}
	}
	l.clock()
	switch from := gc.Context().(type) {
	case *origin:
		l.onConnected(gc, from)
	case anchor:
	default:
		l.onClient(gc)
	}
	return nil, gnet.None
}

// OnTraffic implements [gnet.EventHandler].
func (h *handler) OnTraffic(gc gnet.Conn) gnet.Action {
	switch c := gc.Context().(type) {
	case *client:
		c.l.clock()
		c.onTraffic()
	case *origin:
		c.l.clock()
		c.onTraffic()
	}
	return gnet.None
}

// OnClose implements [gnet.EventHandler].
func (h *handler) OnClose(gc gnet.Conn, _ error) gnet.Action {
	switch c := gc.Context().(type) {
	case *client:
		c.l.clock()
		c.onClose()
	case *origin:
		c.l.clock()
		c.onClose()
	}
	return gnet.None
}

// silent is gnet's log: what it says is of single conns.
type silent struct{}

func (silent) Debugf(string, ...any) {}
func (silent) Infof(string, ...any)  {}
func (silent) Warnf(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}

// addrOf is an address of a socket.
func addrOf(a net.Addr) (ip *net.TCPAddr) {
	ip, _ = a.(*net.TCPAddr) //nolint:errcheck // these are TCP conns
	return ip
}
