package loop

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/broker"
	"weir/edge/hub"

	"github.com/panjf2000/gnet/v2"
)

// bubble is a server with one loop under synthetic time, its sockets made up.
type bubble struct {
	t   *testing.T
	rig rig // to publish
	el  *fakeLoop
	*loop
}

// inBubble runs f with a server under synthetic time.
func inBubble(t *testing.T, cfg Config, hubCfg hub.Config, f func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		src := &source{}
		h, err := hub.New(hubCfg, src)
		if err != nil {
			t.Fatal(err)
		}
		srv, err := New(cfg, h, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		el := &fakeLoop{srv: srv, tasks: make(chan gnet.Runnable, 1<<16)}
		b := &bubble{t: t, rig: rig{t: t, src: src, hub: h, srv: srv}, el: el, loop: newLoop(srv, el)}
		srv.loops[el] = b.loop
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = h.Run(ctx) })
		wg.Go(func() { srv.runTicks(ctx) })
		wg.Go(func() { el.run(ctx) })
		f(b)
		cancel()
		wg.Wait()
	})
}

// do runs f on the loop, and waits until all that follows from it at this moment has happened.
func (b *bubble) do(f func()) {
	_ = b.el.Execute(b.t.Context(), gnet.RunnableFunc(func(context.Context) error { f(); return nil }))
	synctest.Wait()
}

// open is a conn with its handshake done.
func (b *bubble) open(target string) *fakeSocket {
	b.t.Helper()
	s := &fakeSocket{loop: b.el}
	b.do(func() { b.onOpen(s) })
	b.receive(s, upgrade(target))
	if text := s.text(); !strings.HasPrefix(text, "HTTP/1.1 101 ") {
		b.t.Fatalf("answered %q", text)
	}
	s.mu.Lock()
	s.wrote = nil
	s.mu.Unlock()
	return s
}

// receive has the bytes come in.
func (b *bubble) receive(s *fakeSocket, text string) {
	b.do(func() {
		s.in = append(s.in, text...)
		s.ctx.(*conn).onTraffic()
	})
}

// take has the socket take so many bytes of those that wait, all if it is -1.
func (b *bubble) take(s *fakeSocket, room int) {
	b.do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.blocked = room >= 0
		s.waiting = max(s.waiting-room, 0)
		if !s.blocked {
			s.waiting = 0
		}
	})
}

// fakeLoop is a gnet.EventLoop that runs tasks.
type fakeLoop struct {
	gnet.EventLoop
	srv   *Server
	tasks chan gnet.Runnable
}

func (l *fakeLoop) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case task := <-l.tasks:
			_ = task.Run(ctx)
		}
	}
}

func (l *fakeLoop) Execute(_ context.Context, task gnet.Runnable) error {
	select {
	case l.tasks <- task:
		return nil
	default:
		return errors.New("the loop stands still")
	}
}

func (l *fakeLoop) Close(gc gnet.Conn) error {
	s := gc.(*fakeSocket) //nolint:forcetypeassert // there are no others
	s.mu.Lock()
	s.closed = time.Now()
	s.mu.Unlock()
	(&handler{l.srv}).OnClose(s, nil)
	return nil
}

// fakeSocket is a gnet.Conn that keeps what is written, with the time.
type fakeSocket struct {
	gnet.Conn
	loop *fakeLoop
	ctx  any
	in   []byte

	mu      sync.Mutex // what follows is looked at by tests
	wrote   []written
	blocked bool // takes nothing
	waiting int
	closed  time.Time
}

type written struct {
	at   time.Time
	text string
}

func (s *fakeSocket) Context() any              { return s.ctx }
func (s *fakeSocket) SetContext(ctx any)        { s.ctx = ctx }
func (s *fakeSocket) EventLoop() gnet.EventLoop { return s.loop }
func (s *fakeSocket) RemoteAddr() net.Addr      { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
func (s *fakeSocket) Fd() int                   { return -1 }
func (s *fakeSocket) InboundBuffered() int      { return len(s.in) }
func (s *fakeSocket) OutboundBuffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

func (s *fakeSocket) Peek(n int) ([]byte, error) {
	if n < 0 {
		n = len(s.in)
	}
	return s.in[:n], nil
}

func (s *fakeSocket) Discard(n int) (int, error) {
	s.in = s.in[n:]
	return n, nil
}

func (s *fakeSocket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = append(s.wrote, written{time.Now(), string(b)})
	if s.blocked {
		s.waiting += len(b)
	}
	return len(b), nil
}

// past is what was written, and when the socket was closed, zero if it was not.
func (s *fakeSocket) past() (wrote []written, closed time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wrote), s.closed
}

func (s *fakeSocket) text() (all string) {
	wrote, _ := s.past()
	for _, w := range wrote {
		all += w.text
	}
	return all
}

func (b *bubble) publish(topic broker.Topic, key, data string) {
	b.rig.publishKey(topic, key, data)
	synctest.Wait()
}
