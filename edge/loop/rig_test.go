package loop

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/broker"
	"weir/edge/hub"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// gnet keeps one pool of workers for the process, which outlives its engines.
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
	)
}

// waitFor bounds every wait of these tests.
const waitFor = 10 * time.Second

// source opens every topic at offset 0 unless told otherwise.
type source struct {
	mu     sync.Mutex
	atHead bool // topics open behind the last event instead
	fail   error
	hold   chan struct{} // Subscribe waits for it, if set
	log    []*broker.Event
}

func (s *source) Subscribe(ctx context.Context, _ broker.Pattern) (broker.Position, error) {
	s.mu.Lock()
	fail, hold := s.fail, s.hold
	head := broker.Position{Epoch: 0xabc}
	if s.atHead {
		head.Offset = uint64(len(s.log))
	}
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return broker.Position{}, ctx.Err()
		}
	}
	return head, fail
}

func (s *source) Unsubscribe(broker.Pattern) {}

func (s *source) Heads(context.Context) (*broker.Heads, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heads := new(broker.Heads)
	for _, ev := range s.log {
		heads[ev.Topic.Shard()] = ev.Position
	}
	return heads, nil
}

func (s *source) Settle(context.Context, *broker.Heads) error { return nil }

func (s *source) ReadShard(_ context.Context, shard int, after, last broker.Position, wanted broker.Wanted) (events []*broker.Event, whole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range s.log[min(int(after.Offset), len(s.log)):last.Offset] { //nolint:gosec // a test's
		if past, ok := wanted(ev.Topic); ok && ev.Topic.Shard() == shard && ev.Position.Offset > past {
			events = append(events, ev)
		}
	}
	return events, true, nil
}

// Recover gives what was published.
func (s *source) Recover(_ context.Context, t broker.Topic, after broker.Position, limit int) (broker.Recovery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := broker.Recovery{Head: after, Recovered: after.Epoch == 0xabc}
	for _, ev := range s.log[min(int(after.Offset), len(s.log)):] { //nolint:gosec // a test's
		if ev.Topic != t {
			continue
		}
		if rec.More = len(rec.Events) == limit; rec.More {
			break
		}
		rec.Events = append(rec.Events, ev)
		rec.Head = ev.Position
	}
	return rec, nil
}

// rig is a running server.
type rig struct {
	t      testing.TB
	src    *source
	hub    *hub.Hub
	srv    *Server
	offset uint64
	before *rig        // that this one took over from, and events go to as well
	tls    *tls.Config // clients speak it, if set
	layer  string      // where their records are made
	stop   func()      // drains and waits for the end
}

func start(tb testing.TB, cfg Config) *rig {
	tb.Helper()
	return startWith(tb, cfg, hub.Config{})
}

func startWith(tb testing.TB, cfg Config, hubCfg hub.Config) *rig {
	tb.Helper()
	r := &rig{t: tb, src: &source{}}
	r.serve(cfg, hubCfg, "")
	return r
}

// serve starts the rig's server and hub; it takes over from the server that is found at from, if
// that is set.
func (r *rig) serve(cfg Config, hubCfg hub.Config, from string) {
	r.t.Helper()
	r.prepare(cfg, hubCfg)
	r.run(from)
}

// prepare makes the rig's server and hub, to which events can be published from then on.
func (r *rig) prepare(cfg Config, hubCfg hub.Config) {
	tb := r.t
	tb.Helper()
	var err error
	if r.hub, err = hub.New(hubCfg, r.src); err != nil {
		tb.Fatal(err)
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = tick
	}
	if cfg.Takeover == "" {
		cfg.Takeover = TakeoverOff
	}
	if r.srv, err = New(cfg, r.hub, slog.New(slog.DiscardHandler)); err != nil {
		tb.Fatal(err)
	}
}

func (r *rig) run(from string) {
	tb := r.t
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	hubCtx, cancelHub := context.WithCancel(context.Background())
	var wg, served sync.WaitGroup
	h, srv := r.hub, r.srv
	wg.Go(func() { _ = h.Run(hubCtx) })
	if from != "" {
		srv.cfg.Takeover = from
		if err := srv.TakeOver(ctx); err != nil {
			tb.Fatal(err)
		}
	}
	served.Go(func() {
		if err := srv.Run(ctx); err != nil {
			tb.Errorf("run: %v", err)
		}
	})
	r.stop = sync.OnceFunc(func() {
		cancel() // drains; the hub goes after the loops
		served.Wait()
		cancelHub()
		wg.Wait()
	})
	tb.Cleanup(r.stop)
	select {
	case <-srv.Ready():
	case <-time.After(waitFor):
		tb.Fatal("not ready")
	}
}

// successor is a rig that takes over from r, which serves takeovers at its path.
func (r *rig) successor(cfg Config) *rig {
	r.t.Helper()
	next := &rig{t: r.t, src: r.src, offset: r.offset, before: r}
	next.serve(cfg, hub.Config{}, r.srv.cfg.Takeover)
	return next
}

func (r *rig) publish(topic broker.Topic, data string) { r.publishKey(topic, "", data) }

func (r *rig) publishKey(topic broker.Topic, key, data string) {
	r.offset++
	ev := &broker.Event{
		Topic:       topic,
		Position:    broker.Position{Epoch: 0xabc, Offset: r.offset},
		Prev:        r.offset - 1,
		OriginNanos: time.Now().UnixNano(),
		Key:         key,
		Data:        []byte(data),
	}
	r.src.mu.Lock()
	r.src.log = append(r.src.log, ev)
	r.src.mu.Unlock()
	for ; r != nil; r = r.before {
		r.hub.Deliver([]*broker.Event{ev})
	}
}

// wantClosed waits until the counter of the reason is n.
func (r *rig) wantClosed(reason CloseReason, n uint64) {
	r.t.Helper()
	deadline := time.Now().Add(waitFor)
	for {
		got := r.srv.Stats().Closed
		if got[reason] == n {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("closed by %v: %d, want %d (all: %v)", reason, got[reason], n, got)
		}
		<-time.After(time.Millisecond)
	}
}

// client is a plain TCP client that speaks what it is told.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (r *rig) dial() *client {
	r.t.Helper()
	if r.tls != nil {
		c := r.dialTLSPort()
		c.speakTLS(r.tls)
		return c
	}
	return r.dialTo(r.srv.Addr())
}

func (r *rig) dialTo(addr net.Addr) *client {
	r.t.Helper()
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		r.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(waitFor))
	r.t.Cleanup(func() { _ = nc.Close() })
	return &client{t: r.t, Conn: nc, r: bufio.NewReader(nc)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatal(err)
	}
}

const handshake = "GET %s HTTP/1.1\r\nHost: edge\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"

func upgrade(target string, extra ...string) string {
	return fmt.Sprintf(handshake, target, strings.Join(extra, ""))
}

// head reads an answer's head and body.
func (c *client) head() (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("read the answer: %v", err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols || res.Header.Get("Content-Type") != "application/json" {
		return res, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(body)
}

// open subscribes, and fails the test unless that works.
func (r *rig) open(target string, extra ...string) *client {
	r.t.Helper()
	c := r.dial()
	c.send(upgrade(target, extra...))
	res, body := c.head()
	if res.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("%s: %s %s", target, res.Status, body)
	}
	if got := res.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		r.t.Fatalf("accept key %q", got)
	}
	return c
}

// frame reads one server frame.
func (c *client) frame() (op byte, payload string) {
	c.t.Helper()
	op, payload, err := readFrame(c.r)
	if err != nil {
		c.t.Fatalf("read a frame: %v", err)
	}
	return op, payload
}

// readFrame reads a frame as a server must send it.
func readFrame(r io.Reader) (op byte, payload string, err error) {
	var h [2]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, "", err
	}
	n := int(h[1] & 0x7f)
	if h[1]&0x80 != 0 || h[0]&0x80 == 0 {
		return 0, "", fmt.Errorf("a server's frame must be final and unmasked: % x", h)
	}
	switch n {
	case 126:
		var l [2]byte
		_, _ = io.ReadFull(r, l[:])
		n = int(binary.BigEndian.Uint16(l[:]))
	case 127:
		var l [8]byte
		_, _ = io.ReadFull(r, l[:])
		n = int(binary.BigEndian.Uint64(l[:])) //nolint:gosec // our own server's length
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, "", fmt.Errorf("the payload: %w", err)
	}
	return h[0] & 0x0f, string(b), nil
}

func (c *client) wantFrame(op byte, payload string) {
	c.t.Helper()
	if gotOp, got := c.frame(); gotOp != op || got != payload {
		c.t.Fatalf("got opcode %d %q, want %d %q", gotOp, got, op, payload)
	}
}

// wantClose reads a close frame with the code, then the end.
func (c *client) wantClose(code uint16) (reason string) {
	c.t.Helper()
	op, p := c.frame()
	if op != 8 || len(p) < 2 || binary.BigEndian.Uint16([]byte(p)) != code {
		c.t.Fatalf("got opcode %d %q, want close %d", op, p, code)
	}
	c.wantEnd()
	return p[2:]
}

// wantEnd reads the end of the connection: a FIN, not a reset.
func (c *client) wantEnd() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("got %q, %v, want the end", b, err)
	}
	_ = c.Close()
}

// masked is a client's frame: first byte as given, then length and payload.
func masked(first byte, payload string) string {
	mask := [4]byte{1, 2, 3, 4}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, 0x80|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return string(b)
}
