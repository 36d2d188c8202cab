package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"weir/edge/handover"
	"weir/edge/hub"
	"weir/internal/sockets"

	"github.com/panjf2000/gnet/v2"
)

// takeovers waits for the process that is to go on.
type takeovers struct{ ln *handover.Listener }

// openTakeovers opens the socket at which this process is found; nil if there is none.
func (s *Server) openTakeovers() *takeovers {
	path := s.takeoverPath()
	if path == "" {
		return nil
	}
	ln, err := handover.Listen(path, s.predecessor != nil)
	if err != nil {
		s.log.Warn("no takeover from this process is possible", "err", err)
		return nil
	}
	return &takeovers{ln}
}

// serveTakeovers gives everything to the first process that asks and can take it, and closes s.gone
// then. It returns when ctx ends.
func (s *Server) serveTakeovers(ctx context.Context, t *takeovers) {
	if t == nil {
		return
	}
	ln := t.ln
	stop := context.AfterFunc(ctx, ln.Close)
	defer stop()
	defer ln.Close()
	for {
		p, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("takeover refused", "err", err)
			continue
		}
		t, err := s.give(ctx, p)
		_ = p.Close()
		if err != nil {
			s.log.Warn("takeover failed: this process serves on", "err", err)
			continue
		}
		s.hooks.Handed(p.PID())
		s.log.Info("handed over", "moved", t.Moved, "left", t.Left, "left_tls", t.LeftTLS, "paused", t.Paused)
		ln.Leave()
		close(s.gone)
		return
	}
}

// outcome is what came of a takeover.
type outcome struct {
	// Moved are the conns that went over, Left those that could not: each of them is told to
	// connect again.
	Moved, Left int
	// LeftTLS are those of them whose TLS records are made in this process.
	LeftTLS int
	// Paused is for how long nobody served.
	Paused time.Duration
}

// give is the giver's part.
func (s *Server) give(ctx context.Context, p *handover.Peer) (t outcome, err error) {
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	defer stop()
	_ = p.SetDeadline(time.Now().Add(takeoverPatience))
	if err := s.greet(p); err != nil {
		return t, err
	}
	if _, err := s.expect(p, msgReady); err != nil {
		return t, err
	}
	s.hub.Record(ctx)
	defer s.hub.EndRecord()
	frozen := time.Now()
	_ = p.SetDeadline(frozen.Add(freezeLimit))
	stopped := s.stopAccepting()
	if s.tls != nil {
		s.tls.pause()
		defer s.tls.resume()
	}
	given := s.freeze()
	defer func() {
		if err != nil {
			if e := s.hooks.Regain(); e != nil {
				s.log.Error("not all that was given up for a takeover could be taken back", "err", e)
			}
			s.takeBack(given)
			s.acceptAgain(stopped)
		}
	}()
	for _, g := range given {
		t.Moved += len(g.conns)
		if err := g.send(p); err != nil {
			return t, err
		}
	}
	if err := s.sendOrders(ctx, p, given); err != nil {
		return t, err
	}
	t.Left = s.Conns() - t.Moved
	for _, l := range s.allLoops() {
		t.LeftTLS += int(l.stats.tlsProcess.Load())
	}
	if err := s.hooks.Release(); err != nil {
		return t, err
	}
	if err := p.Send(msgAll, nil); err != nil {
		return t, err
	}
	if _, err := s.expect(p, msgPrepared); err != nil {
		return t, err
	}
	if err := p.Send(msgCommit, nil); err != nil {
		return t, err
	}
	// From here on the conns are the other's, whatever becomes of it.
	s.letGo(given)
	if _, err := s.expect(p, msgDone); err != nil {
		s.log.Warn("the process that took over did not say that it serves", "err", err)
	}
	t.Paused = time.Since(frozen)
	return t, nil
}

// greet answers the taker's hello.
func (s *Server) greet(p *handover.Peer) error {
	m, err := s.expect(p, msgHello)
	if err != nil {
		return err
	}
	var theirs hello
	if err := m.Decode(&theirs); err != nil {
		return err
	}
	if err := s.mayGive(&theirs); err != nil {
		_ = p.Send(msgRefused, refusal{err.Error()}) // it ends either way
		return err
	}
	ours := hello{
		Version: takeoverVersion, PID: os.Getpid(), Address: s.addr.Load().String(),
		Conns: s.Conns(), Topics: s.hub.OpenTopics(),
	}
	listeners, err := s.Listeners()
	if err != nil {
		return err
	}
	if s.tls == nil {
		return p.Send(msgHello, ours, listeners...)
	}
	ours.TLSAddress = s.tls.addr().String()
	raw, err := s.tls.listener.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		sendErr = p.Send(msgHello, ours, append(listeners, int(fd))...) //nolint:gosec // a descriptor
	})
	return errors.Join(err, sendErr)
}

// mayGive says why nothing can be given.
func (s *Server) mayGive(theirs *hello) error {
	if theirs.Version != takeoverVersion {
		return fmt.Errorf("this weir hands over by version %d, the other takes over by %d: stop this one, and start the other without --takeover", takeoverVersion, theirs.Version)
	}
	return s.hooks.May()
}

// expect receives a message that must be of a kind.
func (s *Server) expect(p *handover.Peer, k handover.Kind) (*handover.Message, error) {
	m, err := p.Receive()
	if err != nil {
		return nil, err
	}
	if m.Kind == msgRefused {
		var r refusal
		if err := m.Decode(&r); err != nil {
			return nil, err
		}
		m.Close()
		return nil, errors.New(r.Why)
	}
	if m.Kind != k {
		m.Close()
		return nil, fmt.Errorf("takeover: message %d where %d was to come: are both ends weir?", m.Kind, k)
	}
	return m, nil
}

// stoppedListener is a listener that its loop does not see.
type stoppedListener struct{ poller, fd int }

// stopAccepting takes the listeners out of their loops' sight. Conns gather in their queues.
func (s *Server) stopAccepting() (stopped []stoppedListener) {
	err := s.eachListener(func(poller, fd int) {
		sockets.Unwatch(poller, fd)
		stopped = append(stopped, stoppedListener{poller, fd})
	})
	if err != nil {
		s.log.Error("listeners of an event loop not found", "err", err)
	}
	return stopped
}

func (s *Server) acceptAgain(stopped []stoppedListener) {
	for _, l := range stopped {
		if err := sockets.Watch(l.poller, l.fd); err != nil {
			s.log.Error("listener lost", "err", err)
		}
	}
}

// gift is what one loop gives.
type gift struct {
	conns []*conn
	fds   []int
	state []handed
}

// freeze stops all loops' sweeps and takes what can be moved out of their sight.
func (s *Server) freeze() map[*loop]gift {
	given := map[*loop]gift{}
	s.onEach(func(l *loop) {
		g := l.give()
		s.mu.Lock()
		defer s.mu.Unlock()
		given[l] = g
	})
	return given
}

// give is freeze for one loop.
func (l *loop) give() (g gift) {
	l.freeze()
	for _, c := range l.wheel.pick(l.conns, func(c *conn) bool { return c.state < stateClosing }) {
		if c.tls.inProcess() {
			continue // its record layer is here alone
		}
		if c.Blocked() {
			letOut(c.gc.Fd(), c.gc.OutboundBuffered())
			_ = c.gc.Flush() // a failing one closes it
		}
		if c.state >= stateClosing || c.Blocked() {
			continue
		}
		sockets.Unwatch(l.poller, c.gc.Fd())
		g.conns = append(g.conns, c)
		g.fds = append(g.fds, c.gc.Fd())
		g.state = append(g.state, c.hand())
	}
	return g
}

func (g *gift) send(p *handover.Peer) error {
	for at := 0; at < len(g.fds); at += handedAtOnce {
		end := min(at+handedAtOnce, len(g.fds))
		if err := p.Send(msgConns, g.state[at:end], g.fds[at:end]...); err != nil {
			return err
		}
	}
	return nil
}

// sendOrders has the other process go on with the patterns of those given. If that is not to be, their
// subscribers will be told.
func (s *Server) sendOrders(ctx context.Context, p *handover.Peer, given map[*loop]gift) error {
	needs := hub.Needs{}
	for _, g := range given {
		for i := range g.state {
			for _, place := range g.state[i].Places {
				needs.Add(place)
			}
		}
	}
	if len(needs) == 0 {
		return nil
	}
	var recent []hub.Recent
	s.onEach(func(l *loop) {
		r := l.shard.Recent(needs)
		s.mu.Lock()
		defer s.mu.Unlock()
		recent = append(recent, r)
	})
	ctx, cancel := context.WithTimeout(ctx, ordersPatience)
	defer cancel()
	orders, err := s.hub.Orders(ctx, needs, recent)
	if err != nil {
		s.log.Warn("subscribers of patterns will be told that events may be missing", "patterns", len(needs), "err", err)
		return nil
	}
	for from := 0; from < len(orders.Events); {
		end, bytes := from, 0
		for end < min(len(orders.Events), from+eventsAtOnce) && bytes < eventBytesAtOnce {
			bytes += len(orders.Events[end].Data)
			end++
		}
		if err := p.Send(msgEvents, orders.Events[from:end]); err != nil {
			return err
		}
		from = end
	}
	orders.Events = nil
	return p.Send(msgOrders, orders)
}

// takeBack undoes freeze.
func (s *Server) takeBack(given map[*loop]gift) {
	s.onEach(func(l *loop) {
		for _, c := range given[l].conns {
			limitUnsent(c.gc.Fd(), notSentLowatBytes)
			if sockets.Watch(l.poller, c.gc.Fd()) != nil {
				c.abort(ReasonPeerGone)
			}
		}
		l.thaw()
	})
}

// letGo closes our descriptors of what was given: the conns live on in the other process. What is
// left goes on until it is drained.
func (s *Server) letGo(given map[*loop]gift) {
	s.onEach(func(l *loop) {
		for _, c := range given[l].conns {
			c.abort(ReasonHandedOver)
		}
		l.thaw()
	})
}

func (l *loop) freeze() {
	l.frozen = true
	l.shard.Freeze()
}

func (l *loop) thaw() {
	l.frozen = false
	l.shard.Thaw()
	l.servePostponed()
}

// onEach calls f on every loop, and waits for all.
func (s *Server) onEach(f func(*loop)) {
	loops := s.allLoops()
	done := make(chan struct{}, len(loops))
	asked := 0
	for _, l := range loops {
		if l.el.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
			f(l)
			done <- struct{}{}
			return nil
		})) == nil {
			asked++
		}
	}
	for range asked {
		<-done
	}
}
