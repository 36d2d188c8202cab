package loop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/edge/handover"
	"weir/edge/hub"
)

// giver is a rig that can be taken over from.
func giver(t *testing.T, cfg Config) *rig {
	t.Helper()
	cfg.Takeover = filepath.Join(t.TempDir(), "takeover.sock")
	r := &rig{t: t, src: &source{atHead: true}}
	r.serve(cfg, hub.Config{}, "")
	return r
}

func (r *rig) wantGone() {
	r.t.Helper()
	select {
	case <-r.srv.gone:
	case <-time.After(waitFor):
		r.t.Fatal("the giver does not know that it was taken over from")
	}
}

func TestTakeoverKeepsConnsOfAllKinds(t *testing.T) {
	cfg := Config{Echo: true, Loops: 2}
	a := giver(t, cfg)
	raw, envelope := a.open("/ws/t"), a.open("/ws?topic=t&topic=u&format=json")
	envelope.wantFrame(1, `{"topic":"t","epoch":"abc","offset":0,"subscribed":true}`)
	envelope.wantFrame(1, `{"topic":"u","epoch":"abc","offset":0,"subscribed":true}`)
	stream := a.dial()
	stream.send("GET /sse/t HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := readUntil(stream, "\n\n"); err != nil { // head
		t.Fatal(err)
	}
	echo, half, part := a.open("/echo"), a.dial(), a.open("/echo")
	echo.send(masked(0x01, "one "))
	half.send(upgrade("/ws/t")[:40])
	frame := masked(0x81, "cut in the middle")
	part.send(frame[:9])
	a.publish("t", "1")
	raw.wantFrame(1, "1")
	envelope.wantFrame(1, `{"topic":"t","epoch":"abc","offset":1,"data":1}`)

	b := a.successor(cfg)
	a.wantGone()
	b.publish("t", "2")
	b.publish("u", "3")
	raw.wantFrame(1, "2")
	envelope.wantFrame(1, `{"topic":"t","epoch":"abc","offset":2,"data":2}`)
	envelope.wantFrame(1, `{"topic":"u","epoch":"abc","offset":3,"data":3}`)
	if got, err := readUntil(stream, "data: 2\n\n"); err != nil || !strings.HasSuffix(got, "id: abc:1\ndata: 1\n\nid: abc:2\ndata: 2\n\n") {
		t.Errorf("stream got %q, %v", got, err)
	}
	echo.send(masked(0x80, "two"))
	echo.wantFrame(1, "one two")
	part.send(frame[9:])
	part.wantFrame(1, "cut in the middle")
	half.send(upgrade("/ws/t")[40:])
	if res, body := half.head(); res.StatusCode != 101 {
		t.Fatalf("half a request: %s %s", res.Status, body)
	}
	b.publish("t", "4")
	half.wantFrame(1, "4")
	later := b.open("/ws/t")
	b.publish("t", "5")
	later.wantFrame(1, "5")
	if got := b.srv.Stats(); got.Adopted != 6 || got.Conns != 7 {
		t.Errorf("adopted %d, conns %d, want 6 and 7", got.Adopted, got.Conns)
	}
	a.stop()
	raw.wantFrame(1, "4")
	raw.wantFrame(1, "5")
}

// readUntil reads until what came ends in text.
func readUntil(c *client, text string) (string, error) {
	var b bytes.Buffer
	for !strings.HasSuffix(b.String(), text) {
		one, err := c.r.ReadByte()
		if err != nil {
			return b.String(), err
		}
		b.WriteByte(one)
	}
	return b.String(), nil
}

func TestTenTakeoversUnderLoadLoseNothing(t *testing.T) {
	const conns, takeovers = 100, 10
	cfg := Config{Loops: 2}
	r := giver(t, cfg)
	var wg sync.WaitGroup
	clients := make([]*client, conns)
	for i := range clients {
		name := "all"
		if i%2 == 1 {
			name = "*"
		}
		clients[i] = r.open(fmt.Sprintf("/ws?topic=%s&topic=t%d&format=json", name, i%10))
		_ = clients[i].SetDeadline(time.Now().Add(2 * time.Minute))
	}
	var readers sync.WaitGroup
	for i, c := range clients {
		readers.Go(func() { c.wantAll(i) })
	}
	// A publisher that never waits for a takeover: its events go to all rigs there ever were.
	var mu sync.Mutex
	newest, sent, stop := r, 0, make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			mu.Lock()
			at := newest
			sent++
			at.publish("all", fmt.Sprint(sent))
			mu.Unlock()
		}
	})
	for range takeovers {
		before := newest
		next := &rig{t: t, src: r.src, before: before}
		next.prepare(cfg, hub.Config{})
		mu.Lock() // it is given all events from before its topics open on, as a node's link does
		next.offset, newest = before.offset, next
		mu.Unlock()
		next.run(before.srv.cfg.Takeover)
		before.wantGone()
		before.stop()
		mu.Lock()
		next.before = nil
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
	newest.publish("all", "0")
	readers.Wait()
	if sent < 10*takeovers {
		t.Errorf("%d events were published: too few to be under load", sent)
	}
}

// wantAll reads the events of topic all, which are numbered from 1 on, until a 0. Those of odd numbers have a
// pattern for it.
func (c *client) wantAll(i int) {
	place := `{"topic":"all","epoch":"abc","offset":0,"subscribed":true}`
	if i%2 == 1 {
		_, place = c.frame()
		if !strings.HasPrefix(place, `{"topic":"*","epoch":"`) || !strings.HasSuffix(place, `","offset":0,"subscribed":true}`) {
			c.t.Errorf("client %d got %s", i, place)
		}
	}
	want := []string{
		place,
		fmt.Sprintf(`{"topic":"t%d","epoch":"abc","offset":0,"subscribed":true}`, i%10),
	}
	for n := i % 2; ; n++ {
		op, got := c.frame()
		end := fmt.Sprintf(`{"topic":"all","epoch":"abc","offset":%d,"data":0}`, n-1)
		next := fmt.Sprintf(`{"topic":"all","epoch":"abc","offset":%d,"data":%d}`, n-1, n-1)
		if n < len(want) {
			next = want[n]
		}
		if op == 1 && got == end && n >= len(want) {
			return
		}
		if op != 1 || got != next {
			c.t.Errorf("client %d got opcode %d %s, want %s", i, op, got, next)
			return
		}
	}
}

func TestTakeoverMovesWhoDoesNotRead(t *testing.T) {
	a := giver(t, Config{})
	slow, fast := a.open("/ws/a?format=json"), a.open("/ws/a?format=json")
	fast.frame()
	a.fill(oneKey, fast)
	opening := make(chan struct{})
	a.src.mu.Lock()
	a.src.hold = opening
	a.src.mu.Unlock()
	waits := a.dial() // for its topic, which does not open before it is elsewhere
	waits.send(upgrade("/ws/b"))
	for deadline := time.Now().Add(waitFor); ; <-time.After(time.Millisecond) {
		all, err := a.srv.Why(context.Background(), waits.LocalAddr().String())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("a request that waits: %+v, %v", all, err)
		}
		if len(all) == 1 && all[0].State == stateOpening.String() {
			break
		}
	}
	b := &rig{t: t, src: a.src, offset: a.offset, before: a}
	b.prepare(Config{}, hub.Config{})
	close(opening)
	b.run(a.srv.cfg.Takeover)
	a.wantGone()
	if res, body := waits.head(); res.StatusCode != 101 {
		t.Fatalf("a request that waited: %s %s", res.Status, body)
	}
	if got := b.srv.Stats(); got.Adopted != 3 {
		t.Errorf("adopted %d, want 3", got.Adopted)
	}
	b.publish("a", "live")
	fast.frame()
	if p := slow.place(); !p.Subscribed {
		t.Fatalf("first it is told %+v", p)
	}
	for want := uint64(1); want <= b.offset; want++ {
		if p := slow.place(); p.Offset != want || p.Recovered != nil {
			t.Fatalf("told %+v, want offset %d", p, want)
		}
	}
	a.wantClosed(ReasonHandedOver, 3)
}

// takesOverTLS has a server whose clients speak TLS taken over from: conns of the one layer move, of the
// other they are told to connect again; the port for TLS serves on.
func takesOverTLS(t *testing.T, cfg Config, layer string) {
	t.Helper()
	cfg = secured(t, cfg)
	a := giver(t, cfg)
	plain := a.open("/ws/t")
	a.tls, a.layer = &tls.Config{InsecureSkipVerify: true}, layer
	c := a.open("/ws/t")
	b := a.successor(cfg)
	b.tls, b.layer = a.tls, layer
	if got, want := b.srv.TLSAddr().String(), a.srv.TLSAddr().String(); got != want {
		t.Errorf("TLS at %s, it was at %s", got, want)
	}
	if layer != "kernel" {
		c.wantClose(closeServiceRestart)
	}
	b.publish("t", "1")
	plain.wantFrame(1, "1")
	if layer == "kernel" {
		c.wantFrame(1, "1")
		c.send(masked(0x89, "x"))
		c.wantFrame(10, "x")
		if s := b.srv.Stats(); s.TLSKernel != 1 {
			t.Errorf("%d conns with records in the kernel, want 1", s.TLSKernel)
		}
	}
	later := b.open("/ws/t")
	b.publish("t", "2")
	later.wantFrame(1, "2")
}

func TestTakeoverDrainsConnsWithRecordsInTheProcess(t *testing.T) {
	takesOverTLS(t, Config{KTLS: KTLSOff}, "process")
}

func TestTakeoverKeepsWhomConnsAreFor(t *testing.T) {
	cfg := Config{ProxyProtocol: loopback, MaxConnsPerPrefix: 1}
	a := giver(t, cfg)
	proxied := func(r *rig, source string) *client {
		c := r.dial()
		c.send("PROXY TCP4 " + source + " 192.0.2.1 5000 80\r\n")
		return c
	}
	first := proxied(a, "192.0.2.7")
	first.send(upgrade("/ws/t"))
	first.head()
	b := a.successor(cfg)
	if all, err := b.srv.Why(context.Background(), "192.0.2.7:5000"); err != nil || len(all) != 1 || all[0].State != "websocket" {
		t.Errorf("after the takeover: %+v, %v", all, err)
	}
	second := proxied(b, "192.0.2.7")
	second.send(upgrade("/ws/t"))
	if res, body := second.head(); res.StatusCode != 429 {
		t.Errorf("one too many of a prefix: %s %s", res.Status, body)
	}
	_ = first.Close()
	b.wantClosed(ReasonPeerGone, 1)
	third := proxied(b, "192.0.2.7")
	third.send(upgrade("/ws/t"))
	if res, body := third.head(); res.StatusCode != 101 {
		t.Errorf("after its close: %s %s", res.Status, body)
	}
}

func TestTakeoverThatFailsLeavesTheGiverServing(t *testing.T) {
	r := giver(t, Config{Loops: 2})
	c := r.open("/ws/t")
	for _, until := range []handover.Kind{msgHello, msgReady, msgPrepared} {
		p, err := handover.Dial(context.Background(), r.srv.cfg.Takeover)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []handover.Kind{msgHello, msgReady} {
			if k > until {
				break
			}
			if err := p.Send(k, hello{Version: takeoverVersion}); err != nil {
				t.Fatal(err)
			}
			m, err := p.Receive()
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
		}
		_ = p.Close() // it dies
		r.publish("t", fmt.Sprint(until))
		c.wantFrame(1, fmt.Sprint(until))
		r.open("/ws/t").send(masked(0x88, "")) // it accepts, too
	}
	c.send(masked(0x89, "still there"))
	c.wantFrame(10, "still there")
}

func TestTakeoverRefusesWhatDoesNotFit(t *testing.T) {
	r := giver(t, secured(t, Config{}))
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"another port": {Config{Listen: "127.0.0.1:1"}, "set both alike"},
		"another host": {Config{Listen: strings.Replace(r.srv.Addr().String(), "127.0.0.1", "127.0.0.2", 1)}, "set both alike"},
		"nobody there": {Config{Takeover: filepath.Join(t.TempDir(), "none.sock")}, "no weir serves there"},
		"without TLS":  {Config{Listen: r.srv.Addr().String()}, "edge.tls_listen"},
		"off":          {Config{Takeover: TakeoverOff}, "edge.takeover is off"},
	} {
		if tt.cfg.Takeover == "" {
			tt.cfg.Takeover = r.srv.cfg.Takeover
		}
		s, err := New(tt.cfg, r.hub, r.srv.log)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.TakeOver(context.Background()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	p, err := handover.Dial(context.Background(), r.srv.cfg.Takeover)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Send(msgHello, hello{Version: takeoverVersion + 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.srv.expect(p, msgHello); err == nil || !strings.Contains(err.Error(), "by version") {
		t.Errorf("another version: %v", err)
	}
	if _, err := p.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v, want the end", err)
	}
}
