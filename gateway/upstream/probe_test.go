package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// farm is a server on loopback that treats each conn as it is told.
type farm struct {
	net.Listener
	wg    sync.WaitGroup
	treat atomic.Pointer[func(net.Conn)]
	asked atomic.Pointer[string] // the last request's head
}

// answerer answers requests with some bytes, and closes.
func (f *farm) answerer(text string) func(net.Conn) {
	return func(c net.Conn) {
		f.read(c)
		_, _ = io.WriteString(c, text)
	}
}

// read reads a request's head.
func (f *farm) read(c net.Conn) {
	var head strings.Builder
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			break
		}
	}
	text := head.String()
	f.asked.Store(&text)
}

func newFarm(t *testing.T, treat func(f *farm) func(net.Conn)) *farm {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &farm{Listener: l}
	f.set(treat)
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() {
				(*f.treat.Load())(c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.wg.Wait()
	})
	return f
}

func (f *farm) set(treat func(f *farm) func(net.Conn)) {
	fn := treat(f)
	f.treat.Store(&fn)
}

func answers(text string) func(*farm) func(net.Conn) {
	return func(f *farm) func(net.Conn) { return f.answerer(text) }
}

// hangs takes what it is sent and says nothing until the other side goes.
func hangs(*farm) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
}

// endless repeats a text after a beginning, until the other side goes.
func endless(first, again string) func(*farm) func(net.Conn) {
	return func(f *farm) func(net.Conn) {
		return func(c net.Conn) {
			f.read(c)
			for text := first; ; text = again {
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
			}
		}
	}
}

// closed is an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

const (
	fine  = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	sorry = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
)

func TestProbesTellTheHealthy(t *testing.T) {
	line := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name    string
		treat   func(*farm) func(net.Conn)
		healthy bool
		says    string
	}{
		{"200", answers(fine), true, ""},
		{"204, without a body", answers("HTTP/1.1 204 No Content\r\n\r\n"), true, ""},
		{"302, not followed", answers("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n"), true, ""},
		{"early hints, then 200", answers("HTTP/1.1 103 Early Hints\r\n\r\n" + fine), true, ""},
		{"HTTP/1.0", answers("HTTP/1.0 200 OK\r\n\r\nhello"), true, ""},
		{"a body without end", endless("HTTP/1.1 200 OK\r\n\r\n", line), true, ""},
		{"404", answers("HTTP/1.1 404 Not Found\r\n\r\n"), false, "status 404, not 200 to 399"},
		{"500", answers(sorry), false, "status 500, not 200 to 399"},
		{"nonsense", answers("220 smtp.test ESMTP\r\n"), false, "malformed HTTP"},
		{"a status that is none", answers("HTTP/1.1 2x0 OK\r\n\r\n"), false, "malformed HTTP"},
		{"nothing, and closes", answers(""), false, "EOF"},
		{"half a head", answers("HTTP/1.1 200 OK\r\nContent-"), false, "malformed MIME header"},
		{"hangs", hangs, false, "no answer within 300ms"},
		{"half a head, and hangs", func(f *farm) func(net.Conn) {
			return func(c net.Conn) {
				f.answerer("HTTP/1.1 200 OK\r\nA: b\r\n")(c)
				hangs(f)(c)
			}
		}, false, "no answer within 300ms"},
		{"a line without end", endless("HTTP/1.1 200 ", line), false, ""},
		{"a head without end", endless("HTTP/1.1 200 OK\r\n", "A: "+line+"\r\n"), false, "headers exceeded"},
		{"early hints without end", endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t, tt.treat)
			h := Config{Health: Health{Path: "/health?full=1", Host: "api.test", Interval: time.Second, Timeout: 300 * time.Millisecond}}.withDefaults().Health
			ctx, cancel := context.WithTimeout(t.Context(), h.Timeout)
			defer cancel()
			start := time.Now()
			err := newProber().Probe(ctx, f.Addr().String(), h)
			if (err == nil) != tt.healthy || (err != nil && !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("it says %v", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("after %v", took)
			}
			if got := f.asked.Load(); got != nil && !strings.HasPrefix(*got, "GET /health?full=1 HTTP/1.1\r\nHost: api.test\r\n") {
				t.Errorf("it asked %q", *got)
			}
		})
	}
}

func TestProbesByTCPConnect(t *testing.T) {
	p := newProber()
	f := newFarm(t, hangs)
	if err := p.Probe(t.Context(), f.Addr().String(), Health{}); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"", "/"} {
		var refused *net.OpError
		if err := p.Probe(t.Context(), closed(t), Health{Path: path}); !errors.As(err, &refused) {
			t.Errorf("nobody listens: %v", err)
		}
	}
}

func TestUnhealthyIsToldFromUnreachable(t *testing.T) {
	f := newFarm(t, answers(sorry))
	h := Health{Path: "/", Host: "x", ExpectMin: 200, ExpectMax: 299}
	if err := newProber().Probe(t.Context(), f.Addr().String(), h); !errors.Is(err, ErrUnhealthy) {
		t.Error(err)
	}
	h.ExpectMin, h.ExpectMax = 501, 599
	if err := newProber().Probe(t.Context(), f.Addr().String(), h); !errors.Is(err, ErrUnhealthy) {
		t.Error(err)
	}
	h.ExpectMin, h.ExpectMax = 500, 500
	if err := newProber().Probe(t.Context(), f.Addr().String(), h); err != nil {
		t.Error(err)
	}
}

// eventually polls until a server is in a state.
func eventually(t *testing.T, p *Pool, i int, want State) ServerStatus {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		st := p.Status(time.Now())[i]
		if st.State == want {
			return st
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("server %d is %+v, want %v", i, st, want)
		}
	}
}

func TestRunTakesServersDownAndBringsThemBack(t *testing.T) {
	farms := []*farm{newFarm(t, answers(fine)), newFarm(t, answers(fine)), newFarm(t, answers(fine))}
	cfg := Config{
		PanicPercent: 100,
		Health:       Health{Path: "/", Interval: 40 * time.Millisecond, Timeout: 30 * time.Millisecond},
	}
	for _, f := range farms {
		cfg.Servers = append(cfg.Servers, ServerConfig{Address: f.Addr().String()})
	}
	cfg.Servers = append(cfg.Servers, ServerConfig{Address: closed(t)})
	p, err := New(cfg, Env{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.Run(ctx) })
	defer func() {
		cancel()
		wg.Wait()
	}()
	if st := eventually(t, p, 3, Down); !strings.Contains(st.LastCheck, "refused") {
		t.Errorf("the last check says %q", st.LastCheck)
	}
	for i, bad := range []func(*farm) func(net.Conn){hangs, answers(sorry), answers("what?\n")} {
		farms[i].set(bad)
		if st := eventually(t, p, i, Down); st.LastCheck == "" {
			t.Errorf("server %d is down without a reason", i)
		}
	}
	if _, err := p.Pick(time.Now(), 0, nil); !errors.Is(err, ErrNone) {
		t.Errorf("all are down: %v", err)
	}
	for i, f := range farms {
		f.set(answers(fine))
		if st := eventually(t, p, i, Up); st.LastCheck != "" {
			t.Errorf("server %d is up, the last check says %q", i, st.LastCheck)
		}
	}
}
