package loop

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/ratelimit"
)

var (
	perHour  = ratelimit.Rate{Count: 1, Per: time.Hour}
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
)

// wantPrefixes waits until so many prefixes hold a conn.
func (r *rig) wantPrefixes(n int) {
	r.t.Helper()
	for deadline := time.Now().Add(waitFor); r.srv.gate.Prefixes() != n; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d prefixes hold conns, want %d", r.srv.gate.Prefixes(), n)
		}
	}
}

// dialAll opens conns in parallel and returns those whose handshake was answered with success,
// and how many were refused, with the status or without an answer.
func (r *rig) dialAll(n, refusal int) (open []net.Conn, refused int) {
	r.t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			nc, err := net.Dial("tcp", r.srv.Addr().String())
			if err != nil {
				r.t.Errorf("dial: %v", err)
				return
			}
			r.t.Cleanup(func() { _ = nc.Close() })
			_ = nc.SetDeadline(time.Now().Add(waitFor))
			_, _ = io.WriteString(nc, upgrade("/ws/a"))
			// A refusal may be an answer or, past maxLingering, the end.
			res, err := http.ReadResponse(bufio.NewReader(nc), nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
				open = append(open, nc)
				return
			}
			if err == nil && res.StatusCode != refusal {
				r.t.Errorf("status %d", res.StatusCode)
			}
			refused++
			_ = nc.Close()
		})
	}
	wg.Wait()
	return open, refused
}

func TestPrefixLimitHoldsOverAllLoopsAndIsGivenBack(t *testing.T) {
	const limit, dials = 8, 64
	r := start(t, Config{Loops: 4, MaxConnsPerPrefix: limit})
	for round := uint64(1); round <= 3; round++ {
		open, refused := r.dialAll(dials, http.StatusTooManyRequests)
		if len(open) != limit || refused != dials-limit {
			t.Fatalf("round %d: %d of %d conns are open, want %d", round, len(open), dials, limit)
		}
		r.wantClosed(ReasonRefusedPrefix, round*(dials-limit))
		r.wantPrefixes(1)
		r.publish("a", "x")
		for _, nc := range open {
			(&client{t: t, Conn: nc, r: bufio.NewReader(nc)}).wantFrame(1, "x")
			_ = nc.Close()
		}
		r.wantPrefixes(0)
	}
}

func TestAcceptRateHoldsOverAllLoops(t *testing.T) {
	const burst, dials = 10, 40
	rate := ratelimit.Rate{Count: burst, Per: time.Second}
	for _, tt := range []struct {
		reason CloseReason
		status int
		cfg    Config
	}{
		{ReasonRefusedPrefixRate, http.StatusTooManyRequests, Config{Loops: 4, AcceptRatePerPrefix: rate}},
		{ReasonRefusedRate, http.StatusServiceUnavailable, Config{Loops: 4, AcceptRate: rate}},
		{ReasonRefusedRate, http.StatusServiceUnavailable, Config{Loops: 4, AcceptRate: rate, AcceptRatePerPrefix: ratelimit.Rate{Count: 1000, Per: time.Second}, MaxConnsPerPrefix: 1000}},
	} {
		r := start(t, tt.cfg)
		begin := time.Now()
		open, refused := r.dialAll(dials, tt.status)
		// What the rate gives while they come is let in too.
		most := burst + int(time.Since(begin)*burst/time.Second) + 1
		if len(open) < burst || len(open) > most || len(open)+refused != dials {
			t.Errorf("%v: %d of %d conns are open, want %d to %d", tt.reason, len(open), dials, burst, most)
		}
		r.wantClosed(tt.reason, uint64(refused)) //nolint:gosec // a count
	}
}

func TestRefusalsSayWhenToComeBack(t *testing.T) {
	slow := ratelimit.Rate{Count: 1, Per: 100 * time.Second}
	for _, tt := range []struct {
		name      string
		cfg       Config
		status    int
		low, high int // Retry-After
	}{
		{"conns of a prefix", Config{MaxConnsPerPrefix: 1}, 429, 5, 5},
		{"rate of a prefix", Config{AcceptRatePerPrefix: slow}, 429, 90, 100},
		{"rate of the edge", Config{AcceptRate: slow}, 503, 90, 100},
		{"the prefix is asked first", Config{AcceptRate: slow, AcceptRatePerPrefix: perHour}, 429, 3590, 3600},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.cfg)
			first := r.open("/ws/a")
			c := r.dial()
			c.send(upgrade("/ws/a"))
			res, body := c.head()
			after, err := strconv.Atoi(res.Header.Get("Retry-After"))
			if res.StatusCode != tt.status || err != nil || after < tt.low || after > tt.high || !strings.Contains(body, `{"error":{"status":`+strconv.Itoa(tt.status)) {
				t.Errorf("%s, Retry-After %q, %s", res.Status, res.Header.Get("Retry-After"), body)
			}
			c.wantEnd()
			r.publish("a", "still here")
			first.wantFrame(1, "still here")
		})
	}
}

// PROXY headers of both versions.
const (
	signature  = "\r\n\r\n\x00\r\nQUIT\n"
	lineOf7    = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
	binaryOf7  = signature + "\x21\x11\x00\x13\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb" + "\x03\x00\x04\x00\x00\x00\x00"
	mappedOf7  = "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 56324 443\r\n"
	lineOf8    = "PROXY TCP4 192.0.2.8 198.51.100.1 56324 443\r\n"
	lineOfA    = "PROXY TCP6 2001:db8:a::1 2001:db8::1 56324 443\r\n"
	lineOfATwo = "PROXY TCP6 2001:db8:a::2:1 2001:db8::1 56324 443\r\n"
	local      = signature + "\x20\x00\x00\x00"
	unknown    = "PROXY UNKNOWN\r\n"
)

func TestProxyHeaderNamesTheClient(t *testing.T) {
	r := start(t, Config{Loops: 2, MaxConnsPerPrefix: 1, ProxyProtocol: loopback})
	clients := map[string]*client{}
	for _, tt := range []struct {
		name, header string
		status       int
	}{
		{"a line", lineOf7, 101},
		{"the same in binary, with extensions", binaryOf7, 429},
		{"the same, mapped into IPv6", mappedOf7, 429},
		{"another", lineOf8, 101},
		{"IPv6", lineOfA, 101},
		{"the same /64", lineOfATwo, 429},
		{"the proxy's own", local, 101},
		{"who is not told is the proxy", unknown, 429},
	} {
		c := r.dial()
		c.send(tt.header + upgrade("/ws/a"))
		if res, body := c.head(); res.StatusCode != tt.status {
			t.Fatalf("%s: %s %s, want %d", tt.name, res.Status, body, tt.status)
		}
		if tt.status != http.StatusSwitchingProtocols {
			_ = c.Close()
		}
		clients[tt.header] = c
	}
	r.wantPrefixes(4)
	r.wantClosed(ReasonRefusedPrefix, 4)
	r.publish("a", "x")
	clients[lineOf7].wantFrame(1, "x")
	r.why("192.0.2.8:56324", func(c ConnReport) bool { return c.State == "websocket" && c.TCP != nil })
	_ = clients[lineOf7].Close()
	r.wantPrefixes(3)
	if all, err := r.srv.Why(t.Context(), "192.0.2.7"); err != nil || !slices.ContainsFunc(all, func(c ConnReport) bool { return c.Reason == ReasonPeerGone.String() }) {
		t.Errorf("its end: %+v, %v", all, err)
	}
	c := r.dial()
	c.send(binaryOf7 + upgrade("/ws/a"))
	if res, body := c.head(); res.StatusCode != 101 {
		t.Fatalf("its place was not given back: %s %s", res.Status, body)
	}
	for _, header := range []string{lineOf8, lineOfA, local} {
		_ = clients[header].Close()
	}
	_ = c.Close()
	r.wantPrefixes(0)
}

// TestSocketOfBothFamiliesHasIPv4Addresses listens where the kernel maps IPv4 into IPv6.
func TestSocketOfBothFamiliesHasIPv4Addresses(t *testing.T) {
	r := start(t, Config{Listen: ":0", MaxConnsPerPrefix: 1, ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	_, port, err := net.SplitHostPort(r.srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		header string
		status int
	}{{unknown, 101}, {lineOf7, 101}, {local, 429}} {
		nc, err := net.Dial("tcp4", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(waitFor))
		c := &client{t: t, Conn: nc, r: bufio.NewReader(nc)}
		c.send(tt.header + upgrade("/ws/a"))
		if res, body := c.head(); res.StatusCode != tt.status {
			t.Fatalf("%q: %s %s, want %d", tt.header, res.Status, body, tt.status)
		}
	}
	r.wantPrefixes(2)
}

func TestProxyHeaderCutAnywhereWorks(t *testing.T) {
	r := start(t, Config{ProxyProtocol: loopback})
	for _, header := range []string{lineOf7, binaryOf7} {
		whole := header + upgrade("/ws/a")
		for cut := 1; cut <= len(header); cut++ {
			c := r.dial()
			c.send(whole[:cut])
			<-time.After(time.Millisecond) // lets the part arrive by itself; either way must work
			c.send(whole[cut:])
			if res, body := c.head(); res.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("cut at %d: %s %s", cut, res.Status, body)
			}
			_ = c.Close()
		}
	}
}

func TestBadProxyHeaderGetsNoAnswer(t *testing.T) {
	r := start(t, Config{ProxyProtocol: loopback})
	for i, header := range []string{
		"GET / HTTP/1.1\r\n\r\n",
		"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
		"PROXY " + strings.Repeat("x", 200),
		signature + "\x31\x11\x00\x00",
		signature + "\x21\x11\xff\xff",
	} {
		c := r.dial()
		c.send(header)
		c.wantEnd()
		r.wantClosed(ReasonBadProxyHeader, uint64(i+1)) //nolint:gosec // a small index
	}
}

func TestProxyHeaderOfAnyoneElseIsABadRequest(t *testing.T) {
	r := start(t, Config{MaxConnsPerPrefix: 1, ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	for i, header := range []string{lineOf7, binaryOf7, local, unknown} {
		r.wantStatus(header+upgrade("/ws/a"), 400, "request line")
		r.wantClosed(ReasonBadRequest, uint64(i+1)) //nolint:gosec // a small index
	}
	r.wantPrefixes(0)
}

// dribble sends text byte by byte for as long as it is taken, and again from its start.
func (c *client) dribble(text string) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		every := time.NewTicker(2 * time.Millisecond)
		defer every.Stop()
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-every.C:
			}
			if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
}

func TestHeadThatComesByteByByteIsEndedByTheTimeout(t *testing.T) {
	r := start(t, Config{HandshakeTimeout: 200 * time.Millisecond})
	c := r.dial()
	c.send("GET /ws/a HTTP/1.1\r\nHost: x\r\n")
	stop := c.dribble("A: b\r\n")
	defer stop()
	if res, body := c.head(); res.StatusCode != http.StatusRequestTimeout || !strings.Contains(body, "in time") {
		t.Errorf("%s %s", res.Status, body)
	}
	c.wantEnd()
	r.wantClosed(ReasonHandshakeTimeout, 1)
}

func TestProxyHeaderThatDoesNotEndIsEndedByTheTimeoutWithoutAnAnswer(t *testing.T) {
	r := start(t, Config{HandshakeTimeout: 200 * time.Millisecond, ProxyProtocol: loopback})
	for i, begins := range []string{"", "PROXY TCP4 ", signature + "\x21\x11"} {
		c := r.dial()
		c.send(begins)
		c.wantEnd()
		r.wantClosed(ReasonHandshakeTimeout, uint64(i+1)) //nolint:gosec // a small index
	}
	// A header does not give its request time anew.
	c := r.dial()
	c.send(lineOf7 + "GET /ws/a HTTP/1.1\r\n")
	if res, _ := c.head(); res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%s", res.Status)
	}
	_ = c.Close()
	r.wantClosed(ReasonHandshakeTimeout, 4)
}

func TestGarbageBehindAHandshakeIsAProtocolError(t *testing.T) {
	r := start(t, Config{})
	c := r.dial()
	c.send(upgrade("/ws/a") + strings.Repeat("GET / HTTP/1.1\r\n\r\n", 100))
	if res, body := c.head(); res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s %s", res.Status, body)
	}
	c.wantClose(1002)
	r.wantClosed(ReasonProtocolError, 1)
}

func TestConnThatWaitsForAProxyHeaderIsDrained(t *testing.T) {
	r := start(t, Config{ProxyProtocol: loopback})
	c := r.dial()
	for deadline := time.Now().Add(waitFor); r.srv.Conns() == 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no conn")
		}
	}
	r.stop()
	c.wantEnd()
	r.wantClosed(ReasonDraining, 1)
}

func TestLimitsOutOfRangeAreSaid(t *testing.T) {
	many := slices.Repeat(loopback, maxProxies)
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{MaxConnsPerPrefix: -1}, "edge.MaxConnsPerPrefix is -1: want 0 (no limit) to 100000000"},
		{Config{PrefixIPv4: 33}, "edge.PrefixIPv4 is 33: want 1 to 32"},
		{Config{PrefixIPv6: 129}, "edge.PrefixIPv6 is 129: want 1 to 128"},
		{Config{AcceptRate: ratelimit.Rate{Count: 20_000_000, Per: time.Second}}, "edge.AcceptRate is 20000000/s: want 1/365d to 10000000/s"},
		{Config{AcceptRatePerPrefix: ratelimit.Rate{Count: 1, Per: 400 * 24 * time.Hour}}, "edge.AcceptRatePerPrefix is 1/400d: want"},
		{Config{ProxyProtocol: many}, "edge.ProxyProtocol is 512: want 256 prefixes at most"},
		{Config{ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}, "edge.ProxyProtocol is ::ffff:10.0.0.0/104: want"},
	} {
		if err := tt.cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	if err := (Config{AcceptRate: ratelimit.Rate{Count: 1, Per: 365 * 24 * time.Hour}}).Validate(); err != nil {
		t.Error(err)
	}
}
