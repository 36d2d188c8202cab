package edge

import (
	"context"
	"log/slog"
	"net"

	"weir/broker"
	"weir/edge/hub"
	"weir/edge/loop"
)

// Config configures a [Server]. The zero value is valid: one loop per CPU on :8000.
type Config = loop.Config

// ModeRule gives topics their mode: what a subscriber that does not keep up is sent.
type ModeRule = hub.ModeRule

// ParseModeRule reads "PATTERN=log" or "PATTERN=latest".
func ParseModeRule(s string) (ModeRule, error) { return hub.ParseModeRule(s) }

// Stats are the edge's counters.
type Stats = loop.Stats

// Source is what the edge needs of the node's broker.
type Source = hub.Source

// Server is one edge. Its methods may be called from any goroutine.
type Server struct {
	hub   *hub.Hub
	loops *loop.Server
}

// New returns a Server that takes its topics from src. Nothing runs before [Server.Run].
func New(cfg Config, src Source, log *slog.Logger) (*Server, error) {
	h, err := hub.New(hub.Config{Modes: cfg.Modes}, src)
	if err != nil {
		return nil, err
	}
	l, err := loop.New(cfg, h, log)
	if err != nil {
		return nil, err
	}
	return &Server{hub: h, loops: l}, nil
}

// Hooks tie a takeover to what the process has beside its conns.
type Hooks = loop.Hooks

// SetHooks is called before Run and TakeOver.
func (s *Server) SetHooks(h Hooks) { s.loops.SetHooks(h) }

// TakeOver makes Run go on with the listeners and conns of the process that serves Config.Takeover,
// which ends then. The error says why that is not possible; that process serves on.
func (s *Server) TakeOver(ctx context.Context) error { return s.loops.TakeOver(ctx) }

// Run listens and serves until ctx ends, then drains over at most Config.DrainTimeout. It returns nil
// after a drain, also that which ends what another process has taken over, and an error that says what to do if it could not listen.
func (s *Server) Run(ctx context.Context) error {
	hubCtx, stopHub := context.WithCancel(context.WithoutCancel(ctx))
	hubDone := make(chan error, 1)
	go func() { hubDone <- s.hub.Run(hubCtx) }()
	err := s.loops.Run(ctx)
	stopHub()
	if hubErr := <-hubDone; err == nil {
		err = hubErr
	}
	return err
}

// Deliver hands the edge events of topics it subscribed to, each topic's in order. It waits
// while a loop is behind by more than its inbox holds. Called by one goroutine at a time.
func (s *Server) Deliver(batch []*broker.Event) { s.hub.Deliver(batch) }

// Reset says that continuity of a topic or pattern was lost: delivery goes on after head, and
// subscribers are told recovered=false.
func (s *Server) Reset(p broker.Pattern, head broker.Position) { s.hub.Reset(p, head) }

// Alive says which of the event loops do not answer by the end of ctx; nil if all do.
func (s *Server) Alive(ctx context.Context) error { return s.loops.Alive(ctx) }

// Ready is closed once the edge accepts conns.
func (s *Server) Ready() <-chan struct{} { return s.loops.Ready() }

// Addr is the address served; nil before Run found it.
func (s *Server) Addr() net.Addr { return s.loops.Addr() }

// TLSAddr is the address of wss:// and https://; nil if there is none, or before Run found it.
func (s *Server) TLSAddr() net.Addr { return s.loops.TLSAddr() }

// Listeners are the descriptors of the sockets that it accepts from, which stay its own. It is ready.
func (s *Server) Listeners() ([]int, error) { return s.loops.Listeners() }

// ConnReport is what became of one conn.
type ConnReport = loop.ConnReport

// Why says what became of the conns of a client: an address, or one with a port.
func (s *Server) Why(ctx context.Context, client string) ([]ConnReport, error) {
	return s.loops.Why(ctx, client)
}

// Stats sums up the counters of all loops.
func (s *Server) Stats() Stats { return s.loops.Stats() }
