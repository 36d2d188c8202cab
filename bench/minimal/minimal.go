package minimal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"weir/edge/ws"

	"github.com/panjf2000/gnet/v2"
)

// CommandCollect is a line of the input that is no message: it asks for a garbage collection, and
// is answered with the bytes of the heap in use.
const CommandCollect = "collect"

// maxLineBytes bounds a message.
const maxLineBytes = 64 << 10

// quiet drops gnet's log, which would go to the standard output. What ends the engine, Run returns.
type quiet struct{}

func (quiet) Debugf(string, ...any) {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

// server has a loop for each CPU.
type server struct {
	gnet.BuiltinEventEngine
	booted chan gnet.Engine

	mu    sync.Mutex // guards loops, not what is in them
	loops map[gnet.EventLoop]*loop
}

// loop is one event loop's; conns is touched there alone.
type loop struct {
	el    gnet.EventLoop
	conns []*conn // those answered, without holes

	mu      sync.Mutex // guards what follows
	waiting []byte     // frames for the next sweep
	called  bool       // a sweep is on its way
}

type conn struct {
	gc    gnet.Conn
	loop  *loop
	place int // in the loop's conns, -1 before the answer
}

// Run serves at host:port with messages from in, a line each, until in ends. It writes "ready" to
// out once it listens.
func Run(at string, in io.Reader, out io.Writer) error {
	s := &server{booted: make(chan gnet.Engine, 1), loops: map[gnet.EventLoop]*loop{}}
	ended := make(chan error, 1)
	go func() {
		ended <- gnet.Run(s, "tcp://"+at, gnet.WithNumEventLoop(runtime.NumCPU()), gnet.WithReusePort(true), gnet.WithLogger(quiet{}))
	}()
	var engine gnet.Engine
	select {
	case engine = <-s.booted:
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", at, err)
	}
	err := s.takeLines(in, out)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, engine.Stop(ctx), <-ended)
}

func (s *server) takeLines(in io.Reader, out io.Writer) error {
	if _, err := io.WriteString(out, "ready\n"); err != nil {
		return fmt.Errorf("say that the server is ready: %w", err)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		if lines.Text() != CommandCollect {
			s.publish(ws.AppendFrame(nil, ws.OpText, lines.Bytes()))
			continue
		}
		for range 2 { // the second collection frees what the first one's finalizers held
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if _, err := fmt.Fprintln(out, m.HeapInuse); err != nil {
			return fmt.Errorf("say how large the heap is: %w", err)
		}
	}
	return lines.Err()
}

// publish hands a frame to all loops; one that still sweeps takes it with the next sweep.
func (s *server) publish(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		l.mu.Lock()
		l.waiting = append(l.waiting, frame...)
		call := !l.called
		l.called = true
		l.mu.Unlock()
		if call {
			_ = l.el.Execute(context.Background(), gnet.RunnableFunc(l.sweep)) // after the engine's end nobody waits
		}
	}
}

// sweep writes what has gathered to all conns of the loop, one write each.
func (l *loop) sweep(context.Context) error {
	l.mu.Lock()
	batch := l.waiting
	l.waiting, l.called = nil, false
	l.mu.Unlock()
	for _, c := range slices.Backward(l.conns) { // one that fails is closed by it, and the last takes its place
		_, _ = c.gc.Write(batch)
	}
	return nil
}

// OnBoot is gnet's word that it listens.
func (s *server) OnBoot(e gnet.Engine) gnet.Action {
	s.booted <- e
	return gnet.None
}

// OnOpen takes in a conn.
func (s *server) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	s.mu.Lock()
	l := s.loops[gc.EventLoop()]
	if l == nil {
		l = &loop{el: gc.EventLoop()}
		s.loops[l.el] = l
	}
	s.mu.Unlock()
	gc.SetContext(&conn{gc: gc, loop: l, place: -1})
	return nil, gnet.None
}

var (
	keyName = []byte("\r\nSec-WebSocket-Key: ")
	lineEnd = []byte("\r\n")
	headEnd = []byte("\r\n\r\n")
)

// OnTraffic answers a handshake, and drops what else a client says.
func (s *server) OnTraffic(gc gnet.Conn) gnet.Action {
	c, ok := gc.Context().(*conn)
	if !ok {
		return gnet.Close
	}
	b, err := gc.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	if c.place >= 0 {
		_, _ = gc.Discard(len(b))
		return gnet.None
	}
	if !bytes.Contains(b, headEnd) {
		return gnet.None
	}
	_, key, found := bytes.Cut(b, keyName)
	key, _, _ = bytes.Cut(key, lineEnd)
	if !found || len(key) != 24 { // 16 bytes in base64
		return gnet.Close
	}
	answer := ws.AppendUpgradeResponse(make([]byte, 0, 160), key, "", "")
	_, _ = gc.Discard(len(b))
	c.place = len(c.loop.conns)
	c.loop.conns = append(c.loop.conns, c)
	_, _ = gc.Write(answer) // a conn that fails is closed by it
	return gnet.None
}

// OnClose lets go of a conn.
func (s *server) OnClose(gc gnet.Conn, _ error) gnet.Action {
	c, ok := gc.Context().(*conn)
	if !ok || c.place < 0 {
		return gnet.None
	}
	l := c.loop
	last := len(l.conns) - 1
	l.conns[c.place] = l.conns[last]
	l.conns[c.place].place = c.place
	l.conns[last] = nil
	l.conns = l.conns[:last]
	return gnet.None
}
