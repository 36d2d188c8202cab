package loop

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/edge/tlsconn"
	"weir/internal/testcert"
)

// secured is cfg with a port for TLS.
func secured(tb testing.TB, cfg Config) Config {
	tb.Helper()
	cert := testcert.New(tb)
	cfg.TLSListen, cfg.TLSCertificates = "127.0.0.1:0", []string{cert.Pair()}
	return cfg
}

// startTLS starts a server whose clients speak TLS of a version, 0 for any. Its record layer is in this
// process.
func startTLS(tb testing.TB, cfg Config, version uint16) *rig {
	tb.Helper()
	cfg = secured(tb, cfg)
	cfg.KTLS = KTLSOff
	r := start(tb, cfg)
	r.tls, r.layer = &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}, "process"
	return r
}

// dialTLSPort connects to the port for TLS, and says nothing.
func (r *rig) dialTLSPort() *client {
	r.t.Helper()
	return r.dialTo(r.srv.TLSAddr())
}

// speakTLS does a handshake.
func (c *client) speakTLS(cfg *tls.Config) {
	c.t.Helper()
	tc := tls.Client(c.Conn, cfg)
	if err := tc.HandshakeContext(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.Conn, c.r = tc, bufio.NewReader(tc)
}

// eachVersion runs f with servers whose clients speak TLS 1.2, and 1.3.
func eachVersion(t *testing.T, cfg Config, f func(t *testing.T, r *rig)) {
	t.Helper()
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) { f(t, startTLS(t, cfg, version)) })
	}
}

// wantUntilClosed reads until the server ends the connection.
func (c *client) wantUntilClosed() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.Conn); errIsTimeout(err) {
		c.t.Fatal("it is not closed")
	}
	_ = c.Close()
}

func errIsTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

func (r *rig) wantHandshakes(result tlsconn.Result, n uint64) {
	r.t.Helper()
	for deadline := time.Now().Add(waitFor); r.srv.Stats().TLS.Handshakes[result] != n; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("handshakes %v, want %d of %v", r.srv.Stats().TLS.Handshakes, n, result)
		}
	}
}

func TestSubscriberOverTLSGetsPayloads(t *testing.T) { eachVersion(t, Config{}, getsPayloads) }

func getsPayloads(t *testing.T, r *rig) {
	t.Helper()
	c, plain := r.open("/ws/a"), r.dialTo(r.srv.Addr())
	plain.send(upgrade("/ws/a"))
	plain.head()
	big := strings.Repeat("x", 300<<10)
	for _, data := range []string{"hello", big, "again"} {
		r.publish("a", data)
		c.wantFrame(1, data)
		plain.wantFrame(1, data)
	}
	if s := r.srv.Stats(); s.TLSProcess+s.TLSKernel != 1 || s.Conns != 2 {
		t.Errorf("%+v", s)
	}
	r.why(c.LocalAddr().String(), func(c ConnReport) bool { return c.TLS == r.layer && c.State == "websocket" })
	c.send(masked(0x88, "\x03\xe8bye"))
	c.wantClose(1000)
	r.wantClosed(ReasonClientClosed, 1)
	r.wantHandshakes(tlsconn.ResultOK, 1)
	if s := r.srv.Stats(); s.TLSProcess+s.TLSKernel != 0 || s.Conns != 1 {
		t.Errorf("%+v", s)
	}
}

func TestStreamOverTLS(t *testing.T) { eachVersion(t, Config{}, streams) }

func streams(t *testing.T, r *rig) {
	t.Helper()
	c := r.dial()
	c.send("GET /sse/a HTTP/1.1\r\nHost: x\r\n\r\n")
	c.head()
	r.publish("a", "hello")
	for line := ""; line != "data: hello\n"; {
		var err error
		if line, err = c.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRequestInManyRecordsWorks(t *testing.T) {
	eachVersion(t, Config{Echo: true}, takesManyRecords)
}

func takesManyRecords(t *testing.T, r *rig) {
	t.Helper()
	c := r.dial()
	for _, b := range upgrade("/echo") {
		c.send(string(b))
	}
	c.head()
	long := strings.Repeat("x", 60000)
	message := masked(0x82, long)
	for len(message) > 0 {
		n := min(len(message), 777)
		c.send(message[:n])
		message = message[n:]
	}
	c.wantFrame(2, long)
	// Two messages in a record, and a third with the begin of a fourth.
	c.send(masked(0x81, "a") + masked(0x81, "b"))
	c.wantFrame(1, "a")
	c.wantFrame(1, "b")
	fourth := masked(0x81, "d")
	c.send(masked(0x81, "c") + fourth[:3])
	c.wantFrame(1, "c")
	c.send(fourth[3:])
	c.wantFrame(1, "d")
}

// TestCiphertextCutAnywhereWorks has what a client sends come in parts that no record begins or ends.
func TestCiphertextCutAnywhereWorks(t *testing.T) {
	eachVersion(t, Config{Echo: true}, func(t *testing.T, r *rig) {
		t.Helper()
		c := r.dialTLSPort()
		c.Conn = dribbling{c.Conn}
		c.speakTLS(r.tls)
		c.send(upgrade("/echo") + masked(0x81, "hello"))
		c.head()
		c.wantFrame(1, "hello")
	})
}

// dribbling sends everything byte by byte.
type dribbling struct{ net.Conn }

func (d dribbling) Write(p []byte) (n int, err error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestSlowReaderOverTLSReadsEveryEvent(t *testing.T) { eachVersion(t, Config{}, readsEveryEvent) }

func readsEveryEvent(t *testing.T, r *rig) {
	t.Helper()
	slow, fast := r.open("/ws/a?format=json"), r.open("/ws/a?format=json")
	fast.frame()
	r.fill(oneKey, fast)
	for i := range 300 {
		r.publish("a", fmt.Sprint(i))
		fast.frame()
	}
	if held := r.srv.Stats().HeldProcess; held == 0 {
		<-time.After(2 * tick) // it is counted every tick
		if held = r.srv.Stats().HeldProcess; held == 0 {
			t.Errorf("the ledger has no bytes of the process: %+v", r.srv.Stats())
		}
	}
	slow.place()
	for want := uint64(1); want <= r.offset; want++ {
		if p := slow.place(); p.Offset != want || p.Skipped > 0 || p.Recovered != nil {
			t.Fatalf("told %+v, want offset %d", p, want)
		}
	}
}

func TestTLSConnOverALimitIsClosedBeforeItsHandshake(t *testing.T) {
	for _, tt := range []struct {
		reason CloseReason
		cfg    Config
	}{
		{ReasonRefusedFull, Config{MaxConns: 1}},
		{ReasonRefusedPrefix, Config{MaxConnsPerPrefix: 1}},
		{ReasonRefusedPrefixRate, Config{AcceptRatePerPrefix: perHour}},
		{ReasonRefusedRate, Config{AcceptRate: perHour}},
	} {
		t.Run(tt.reason.String(), func(t *testing.T) {
			r := startTLS(t, tt.cfg, 0)
			first := r.open("/ws/a")
			for i := range uint64(3) {
				r.dialTLSPort().wantUntilClosed()
				r.wantClosed(tt.reason, i+1)
			}
			r.publish("a", "still here")
			first.wantFrame(1, "still here")
			r.wantHandshakes(tlsconn.ResultOK, 1)
			if n := r.srv.Conns(); n != 1 {
				t.Errorf("%d conns", n)
			}
			_ = first.Close()
			r.wantPrefixes(0)
		})
	}
}

func TestTLSConnPastThePoolIsClosed(t *testing.T) {
	r := startTLS(t, Config{TLSHandshakes: 1}, 0)
	var stalled []*client
	for i := range 2 { // one under way, one waits
		stalled = append(stalled, r.dialTLSPort())
		for deadline := time.Now().Add(waitFor); r.srv.Conns() != i+1; <-time.After(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d conns", r.srv.Conns())
			}
		}
	}
	r.dialTLSPort().wantUntilClosed()
	r.wantClosed(ReasonRefusedFull, 1)
	r.wantHandshakes(tlsconn.ResultRefused, 1)
	for _, c := range stalled {
		_ = c.Close()
	}
	r.wantClosed(ReasonPeerGone, 2)
	r.open("/ws/a")
}

func TestClientThatStallsInItsHandshakeIsClosed(t *testing.T) {
	r := startTLS(t, Config{HandshakeTimeout: 200 * time.Millisecond}, 0)
	for i, begins := range []string{"", "\x16\x03", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"} {
		c := r.dialTLSPort()
		c.send(begins)
		c.wantUntilClosed()
		r.wantClosed(ReasonHandshakeTimeout, uint64(i+1)) //nolint:gosec // a small index
	}
	r.wantHandshakes(tlsconn.ResultTimeout, 3)
	// What is left of the time is the request's.
	c := r.dial()
	c.send("GET /ws/a HTTP/1.1\r\n")
	if res, _ := c.head(); res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%s", res.Status)
	}
	c.wantEnd()
	r.wantClosed(ReasonHandshakeTimeout, 4)
}

func TestRecordThatIsWrongClosesTheConn(t *testing.T) {
	eachVersion(t, Config{}, func(t *testing.T, r *rig) {
		t.Helper()
		for i, garbage := range []string{"\x17\x03\x03\x00\x20" + strings.Repeat("x", 32), "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x03\x00\x04\x01\x00\x00\x00"} {
			c := r.open("/ws/a")
			if _, err := io.WriteString(c.Conn.(*tls.Conn).NetConn(), garbage); err != nil {
				t.Fatal(err)
			}
			if _, err := c.r.ReadByte(); err == nil || !strings.Contains(err.Error(), "remote error") {
				t.Errorf("the client reads %v, want an alert", err)
			}
			r.wantClosed(ReasonTLSError, uint64(i+1)) //nolint:gosec // a small index
		}
		if n := r.srv.Conns(); n != 0 {
			t.Errorf("%d conns", n)
		}
	})
}

func TestClientInPlainTextIsToldToSpeakTLS(t *testing.T) {
	r := startTLS(t, Config{}, 0)
	c := r.dialTLSPort()
	c.send(upgrade("/ws/a"))
	if res, body := c.head(); res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "wss://") {
		t.Errorf("%s %s", res.Status, body)
	}
	c.wantEnd()
	r.wantClosed(ReasonTLSError, 1)
	r.wantHandshakes(tlsconn.ResultFailed, 1)
}

func TestEndOfATLSClientIsAnswered(t *testing.T) { eachVersion(t, Config{}, answersTheEnd) }

func answersTheEnd(t *testing.T, r *rig) {
	t.Helper()
	c := r.open("/ws/a")
	if err := c.Conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.wantEnd()
	_ = r.open("/ws/a").Conn.(*tls.Conn).NetConn().Close() // without a word
	r.wantClosed(ReasonPeerGone, 2)
}

func TestProxyHeaderComesBeforeTLS(t *testing.T) {
	r := startTLS(t, Config{MaxConnsPerPrefix: 1, ProxyProtocol: loopback}, 0)
	for _, header := range []string{lineOf7, lineOfA, local} {
		c := r.dialTLSPort()
		c.send(header)
		c.speakTLS(r.tls)
		c.send(upgrade("/ws/a"))
		if res, body := c.head(); res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%q: %s %s", header, res.Status, body)
		}
	}
	r.wantPrefixes(3)
	r.why("192.0.2.7", func(c ConnReport) bool { return c.State == "websocket" && c.TLS != "" })
	for i, header := range []string{binaryOf7, lineOfATwo, unknown} {
		c := r.dialTLSPort()
		c.send(header)
		c.wantUntilClosed()
		r.wantClosed(ReasonRefusedPrefix, uint64(i+1)) //nolint:gosec // a small index
	}
	c := r.dialTLSPort()
	c.send("\x16\x03\x01\x02\x00") // a hello where a header belongs
	c.wantUntilClosed()
	r.wantClosed(ReasonBadProxyHeader, 1)
}

func TestTLSConnsAreDrained(t *testing.T) { drains(t, startTLS(t, Config{}, 0)) }

func drains(t *testing.T, r *rig) {
	t.Helper()
	c, shaking := r.open("/ws/a"), r.dialTLSPort()
	for deadline := time.Now().Add(waitFor); r.srv.Conns() != 2; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no conn")
		}
	}
	r.stop()
	c.wantClose(1012)
	shaking.wantUntilClosed()
	r.wantClosed(ReasonDraining, 2)
	if n := r.srv.Conns(); n != 0 {
		t.Errorf("%d conns", n)
	}
}

func TestManyTLSClientsAreSpreadOverTheLoops(t *testing.T) {
	r := startTLS(t, Config{Loops: 4}, 0)
	conns := make([]*client, 100)
	for i := range conns {
		conns[i] = r.open("/ws/a")
	}
	const events = 20
	for i := range events {
		r.publish("a", fmt.Sprint("event ", i))
	}
	for _, c := range conns {
		for i := range events {
			c.wantFrame(1, fmt.Sprint("event ", i))
		}
	}
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	if len(r.srv.loops) != 4 {
		t.Fatalf("%d loops have conns", len(r.srv.loops))
	}
	for _, l := range r.srv.loops {
		if n := l.stats.tlsProcess.Load(); n < 15 || n > 35 {
			t.Errorf("a loop has %d of 100", n)
		}
	}
}

func TestTLSThatCannotBeServedIsSaid(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{TLSListen: ":1"}, "edge.TLSCertificates is empty: want the files of a certificate"},
		{Config{TLSListen: ":8000", TLSCertificates: []string{"c:k"}}, "edge.TLSListen is :8000: want another address"},
		{Config{TLSMinVersion: "1.1"}, "edge.TLSMinVersion is 1.1: want 1.2 or 1.3"},
		{Config{TLSHandshakes: -1}, "edge.TLSHandshakes is -1: want 1 to 65536"},
		{Config{KTLS: "on"}, "edge.KTLS is on: want auto or off"},
	} {
		if err := tt.cfg.Validate(); err == nil || err.Error() != tt.want && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	if _, err := New(Config{TLSListen: ":1", TLSCertificates: []string{"/nowhere/c.pem:/nowhere/k.pem"}}, nil, nil); err == nil || !strings.Contains(err.Error(), "/nowhere/c.pem") {
		t.Errorf("%v", err)
	}
	r := startTLS(t, Config{}, 0)
	cfg := secured(t, Config{Listen: "127.0.0.1:0"})
	cfg.TLSListen = r.srv.TLSAddr().String()
	s, err := New(cfg, r.hub, r.srv.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "edge.tls_listen") {
		t.Errorf("%v", err)
	}
}
