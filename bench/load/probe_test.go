package load

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"weir/edge/ws"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// answering shakes hands with every conn but each third, which it leaves without an answer.
func answering(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if i%3 == 2 {
				_ = conn.Close()
				continue
			}
			if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + string(ws.AcceptKey(nil, []byte(req.Header.Get("Sec-WebSocket-Key")))) + "\r\n\r\n"))
			}
			_ = conn.Close()
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String())
}

func TestProberCountsHandshakesAndThoseThatFail(t *testing.T) {
	cfg := Config{Edge: answering(t), Target: "/ws/x", Sources: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, ProbesPerSecond: 200}
	r, w := io.Pipe()
	commands := make(chan string)
	done := make(chan error, 1)
	go func() { done <- probe(cfg, commands, json.NewEncoder(w)) }()
	reports := json.NewDecoder(r)
	next := func() (got Report) {
		if err := reports.Decode(&got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := next(); got.Error != "" {
		t.Fatal(got.Error)
	}
	deadline := time.Now().Add(10 * time.Second)
	var got Report
	for got.Probes < 30 && time.Now().Before(deadline) {
		commands <- CommandReport
		got = next()
	}
	if got.Probes < 30 || got.Shaken < got.Probes/2 || got.Shaken > got.Probes*5/6 {
		t.Errorf("%d of %d probes", got.Shaken, got.Probes)
	}
	hist, err := hdrhistogram.Decode(got.Latency)
	if err != nil || hist.TotalCount() != int64(got.Shaken) || hist.Max() <= 0 { //nolint:gosec // a handful
		t.Errorf("%d latencies up to %d, %v", hist.TotalCount(), hist.Max(), err)
	}
	commands <- CommandReset
	whole := next()
	commands <- CommandStop
	if last := next(); last.Probes >= whole.Probes {
		t.Errorf("%d probes before the reset, %d after it", whole.Probes, last.Probes)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
