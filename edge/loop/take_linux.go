package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"weir/broker"
	"weir/edge/handover"
	"weir/edge/hub"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// enrollAtOnce bounds the conns that gnet is taking in at one moment: each has three descriptors then.
const enrollAtOnce = 64

// predecessor is the process that this one takes over from.
type predecessor struct {
	peer        *handover.Peer
	hello       hello
	listeners   []int
	tlsListener *net.TCPListener // nil: none, or taken
}

func (p *predecessor) close() {
	_ = p.peer.Close()
	for _, fd := range p.listeners {
		_ = unix.Close(fd)
	}
	p.listeners = nil
	if p.tlsListener != nil {
		_ = p.tlsListener.Close()
		p.tlsListener = nil
	}
}

// arrival is a conn that was received.
type arrival struct {
	handed
	fd int
}

// TakeOver makes Run go on with all that the process which serves edge.takeover has. Nothing of it
// changes before Run, nor if that fails. The error wraps [handover.ErrNobody] if no process does.
func (s *Server) TakeOver(ctx context.Context) error {
	if s.takeoverPath() == "" {
		return fmt.Errorf("take over: edge.takeover is off, so there is no way to reach the process that serves: %w", handover.ErrNobody)
	}
	peer, err := handover.Dial(ctx, s.takeoverPath())
	if err != nil {
		return err
	}
	p := &predecessor{peer: peer}
	if err := s.meet(p); err != nil {
		p.close()
		return fmt.Errorf("take over: the other process serves on: %w", err)
	}
	s.predecessor = p
	return nil
}

// meet exchanges hellos.
func (s *Server) meet(p *predecessor) error {
	_ = p.peer.SetDeadline(time.Now().Add(takeoverPatience))
	if err := p.peer.Send(msgHello, hello{Version: takeoverVersion}); err != nil {
		return err
	}
	m, err := s.expect(p.peer, msgHello)
	if err != nil {
		return err
	}
	p.listeners = m.Descriptors
	if err := m.Decode(&p.hello); err != nil {
		return err
	}
	if p.hello.Version != takeoverVersion || len(p.listeners) == 0 {
		return s.refuseTake(p, fmt.Sprintf("it hands over by version %d, this weir takes over by %d", p.hello.Version, takeoverVersion))
	}
	addr, err := net.ResolveTCPAddr("tcp", p.hello.Address)
	if err != nil {
		return s.refuseTake(p, "it does not say where it listens")
	}
	if !names(s.cfg.Listen, addr) {
		return s.refuseTake(p, fmt.Sprintf("it listens on %s, edge.listen is %s: set both alike", addr, s.cfg.Listen))
	}
	if limit := s.maxFD - 3*enrollAtOnce; p.hello.Conns > min(limit, s.cfg.MaxConns) {
		return s.refuseTake(p, fmt.Sprintf("it holds %d conns, this process may hold %d: raise ulimit -n or edge.max_conns", p.hello.Conns, min(limit, s.cfg.MaxConns)))
	}
	s.addr.Store(addr)
	return s.meetTLS(p)
}

// meetTLS takes the listener for TLS off those received.
func (s *Server) meetTLS(p *predecessor) error {
	if p.hello.TLSAddress == "" {
		return nil
	}
	last := len(p.listeners) - 1
	f := os.NewFile(uintptr(p.listeners[last]), "tls listener") //nolint:gosec // a descriptor
	p.listeners = p.listeners[:last]
	defer f.Close() //nolint:errcheck // the copy stays
	addr, err := net.ResolveTCPAddr("tcp", p.hello.TLSAddress)
	if err != nil {
		return s.refuseTake(p, "it does not say where it serves TLS")
	}
	if s.tls == nil || !names(s.cfg.TLSListen, addr) {
		return s.refuseTake(p, fmt.Sprintf("it serves TLS on %s, edge.tls_listen is %q: set both alike", addr, s.cfg.TLSListen))
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return s.refuseTake(p, "its listener for TLS cannot be used: "+err.Error())
	}
	p.tlsListener = ln.(*net.TCPListener) //nolint:forcetypeassert // it was sent as one
	return nil
}

// refuseTake tells both ends why.
func (s *Server) refuseTake(p *predecessor, why string) error {
	_ = p.peer.Send(msgRefused, refusal{why}) // it is told if it still listens
	return errors.New(why)
}

// names reports whether an address, as a setting has it, is that at which a listener listens; of port 0
// all are.
func names(setting string, at *net.TCPAddr) bool {
	want, err := net.ResolveTCPAddr("tcp", setting)
	return err == nil && (want.Port == 0 || want.Port == at.Port && sameHost(want.IP, at.IP))
}

func sameHost(a, b net.IP) bool {
	return a.Equal(b) || (len(a) == 0 || a.IsUnspecified()) && (len(b) == 0 || b.IsUnspecified())
}

// dummyListeners are addresses for gnet to listen at, as many for each loop as take the listeners that
// were received: those take their places.
func (p *predecessor) dummyListeners(loops int) []string {
	addrs := make([]string, (len(p.listeners)+loops-1)/loops)
	for i := range addrs {
		addrs[i] = "tcp://127.0.0.1:0"
	}
	return addrs
}

// take is the taker's part, once the loops run.
func (s *Server) take(ctx context.Context) error {
	p := s.predecessor
	defer p.close()
	started := time.Now()
	s.onEach((*loop).freeze)
	stopped, err := s.placeListeners(p)
	if err != nil {
		return err
	}
	// What cannot be opened yet is tried again: the bus may be among what is to be acquired.
	_, _ = s.hub.Expect(ctx, p.hello.Topics)
	_ = p.peer.SetDeadline(time.Now().Add(freezeLimit))
	if err := p.peer.Send(msgReady, nil); err != nil {
		return err
	}
	frozen := time.Now()
	arrived, orders, err := s.receiveConns(p.peer)
	if err == nil {
		err = s.prepare(ctx, arrived, orders)
	}
	if err != nil {
		for i := range arrived {
			_ = unix.Close(arrived[i].fd)
		}
		return err
	}
	s.acceptAgain(stopped)
	moved := s.enroll(ctx, arrived)
	s.onEach((*loop).thaw)
	s.log.Info("took over", "from", p.hello.PID, "conns", moved, "lost", len(arrived)-moved,
		"paused", time.Since(frozen), "prepared_in", frozen.Sub(started))
	_ = p.peer.Send(msgDone, nil) // it has let go already
	settleCtx, cancel := context.WithTimeout(ctx, takeoverPatience)
	defer cancel()
	s.hub.Settle(settleCtx)
	return nil
}

// prepare acquires what the giver has released, catches up with what the topics missed, and waits for
// the giver to commit. If it fails, it has nothing of that.
func (s *Server) prepare(ctx context.Context, arrived []arrival, orders *hub.Orders) (err error) {
	p := s.predecessor
	defer func() {
		if err != nil {
			err = errors.Join(err, s.hooks.Release())
		}
	}()
	if err := s.hooks.Acquire(ctx); err != nil {
		return err
	}
	topics := p.hello.Topics
	if orders != nil {
		for i := range orders.Patterns {
			topics = append(topics, orders.Patterns[i].Name) // it may have been opened since
		}
	}
	if failed, err := s.hub.Expect(ctx, topics); failed > 0 {
		s.log.Warn("topics not opened in the takeover: each of their subscribers tries for itself", "topics", failed, "err", err)
	}
	s.hub.Reach(ctx, earliest(arrived))
	s.inherit(ctx, orders)
	if err := p.peer.Send(msgPrepared, nil); err != nil {
		return err
	}
	_, err = s.expect(p.peer, msgCommit)
	return err
}

// placeListeners puts the listeners that were received where the loops' own are, unwatched. A loop
// without one gets another of the same address; what is left over is closed.
func (s *Server) placeListeners(p *predecessor) (placed []stoppedListener, err error) {
	places := s.stopAccepting()
	if len(places) < len(p.listeners) {
		return nil, fmt.Errorf("take over: %d listeners received, the event loops have %d", len(p.listeners), len(places))
	}
	for i, place := range places {
		var fd int
		if i < len(p.listeners) {
			fd = p.listeners[i]
			p.listeners[i] = -1
		} else if fd, err = listenBeside(s.addr.Load()); err != nil {
			return nil, err
		}
		if err := replace(place.fd, fd); err != nil {
			return nil, err
		}
		placed = append(placed, place)
	}
	p.listeners = nil
	return placed, nil
}

// listenBeside is a descriptor of one more listener at an address that others listen at.
func listenBeside(addr *net.TCPAddr) (int, error) {
	cfg := net.ListenConfig{Control: sharePort}
	cfg.SetMultipathTCP(false) // as the others
	ln, err := cfg.Listen(context.Background(), "tcp", addr.String())
	if err != nil {
		return -1, fmt.Errorf("listen beside the others on %s: %w", addr, err)
	}
	f, err := ln.(*net.TCPListener).File() //nolint:forcetypeassert // as listened
	_ = ln.Close()
	if err != nil {
		return -1, fmt.Errorf("listen beside the others on %s: %w", addr, err)
	}
	defer f.Close() //nolint:errcheck // the copy stays
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, unix.SetNonblock(fd, true)
}

// inherit has the patterns go on where they stood in the other process.
func (s *Server) inherit(ctx context.Context, orders *hub.Orders) {
	if orders == nil {
		return
	}
	if n, err := s.hub.Inherit(ctx, orders); err != nil {
		s.log.Warn("subscribers of patterns are told that events may be missing",
			"patterns", len(orders.Patterns)-n, "err", err)
	}
}

// receiveConns receives all that is given.
func (s *Server) receiveConns(p *handover.Peer) (arrived []arrival, orders *hub.Orders, err error) {
	var events []*broker.Event
	for {
		m, err := p.Receive()
		if err != nil {
			return arrived, nil, err
		}
		var states []handed
		switch m.Kind {
		case msgAll:
			if orders != nil {
				orders.Events = events
			}
			return arrived, orders, nil
		case msgConns:
			if err = m.Decode(&states); err == nil && len(states) != len(m.Descriptors) {
				err = fmt.Errorf("takeover: %d conns came with %d descriptors", len(states), len(m.Descriptors))
			}
		case msgEvents:
			var some []*broker.Event
			err = m.Decode(&some)
			events = append(events, some...)
		case msgOrders:
			err = m.Decode(&orders)
		default:
			err = fmt.Errorf("takeover: message %d where conns were to come: are both ends weir?", m.Kind)
		}
		if err != nil {
			m.Close()
			return arrived, nil, err
		}
		for i, fd := range m.Descriptors {
			arrived = append(arrived, arrival{states[i], fd})
		}
	}
}

// earliest is, for each topic, the position from which on all of its live subscribers can be caught up.
func earliest(arrived []arrival) map[broker.Pattern]broker.Position {
	from := map[broker.Pattern]broker.Position{}
	for i := range arrived {
		for _, place := range arrived[i].Places {
			at, known := from[place.Topic]
			if !place.Live || known && (at.Epoch != place.Since.Epoch || at.Offset <= place.Since.Offset) {
				continue
			}
			from[place.Topic] = place.Since
		}
	}
	return from
}

// enroll gives the conns to the loops, in turn, and returns how many they took.
func (s *Server) enroll(ctx context.Context, arrived []arrival) (moved int) {
	loops := s.allLoops()
	results := make([]<-chan gnet.RegisteredResult, 0, enrollAtOnce)
	collect := func() {
		for _, ch := range results {
			if r := <-ch; r.Err == nil {
				moved++
			} else {
				s.log.Warn("conn lost in the takeover", "err", r.Err)
			}
		}
		results = results[:0]
	}
	for i := range arrived {
		a := &arrived[i]
		f := os.NewFile(uintptr(a.fd), "conn") //nolint:gosec // a descriptor
		nc, err := net.FileConn(f)
		_ = f.Close()
		if err == nil {
			var ch <-chan gnet.RegisteredResult
			if ch, err = loops[i%len(loops)].el.Enroll(gnet.NewContext(ctx, &a.handed), nc); err == nil {
				results = append(results, ch)
			}
		}
		if err != nil {
			s.log.Warn("conn lost in the takeover", "err", err)
		}
		if len(results) == enrollAtOnce {
			collect()
		}
	}
	collect()
	return moved
}

// onArrival takes in a conn from another process. Called by gnet on the loop.
func (l *loop) onArrival(gc gnet.Conn, h *handed) {
	c := &conn{gc: gc, loop: l}
	l.takeIn(c)
	gc.SetSafeContext(nil) // which is h still, and with it all that arrived
	l.server.conns.Add(1)
	l.stats.adopted.Add(1)
	c.adopt(h)
	c.goOn(h)
}
