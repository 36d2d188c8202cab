package loop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bystand has a subscriber on the same loop read an event every few milliseconds while do runs, and fails
// the test unless each reaches it.
func (r *rig) bystand(do func()) {
	r.t.Helper()
	c := r.open("/ws/bystander")
	done := make(chan struct{})
	var wg sync.WaitGroup
	var failed error
	read := 0
	wg.Go(func() {
		for after := 0; failed == nil && after < 10; read++ {
			select {
			case <-done:
				after++
			case <-time.After(5 * time.Millisecond):
			}
			r.publish("bystander", fmt.Sprint(read))
			_ = c.SetDeadline(time.Now().Add(waitFor))
			op, got, err := readFrame(c.r)
			if op == 9 {
				_, _ = io.WriteString(c.Conn, masked(0x8a, got))
				_, got, err = readFrame(c.r)
			}
			if failed = err; err == nil && got != fmt.Sprint(read) {
				failed = fmt.Errorf("got %q, want %d", got, read)
			}
		}
	})
	do()
	close(done)
	wg.Wait()
	if failed != nil {
		r.t.Errorf("the bystander after %d events: %v", read, failed)
	}
}

// dialSmall is dial with a receive buffer as small as the kernel has one, so that what is not read soon
// waits at the server.
func (r *rig) dialSmall(bytes int) *client {
	r.t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
		})
		return err
	}}
	nc, err := d.DialContext(context.Background(), "tcp", r.srv.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(waitFor))
	r.t.Cleanup(func() { _ = nc.Close() })
	return &client{t: r.t, Conn: nc, r: bufio.NewReaderSize(nc, 1<<10)}
}

// reset ends a conn by a RST.
func (c *client) reset() {
	c.t.Helper()
	if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		c.t.Fatal(err)
	}
	_ = c.Close()
}

// flood sends text again and again, until the conn takes no more.
func (c *client) flood(text string, times int) {
	for range times {
		if _, err := io.WriteString(c.Conn, text); err != nil {
			return
		}
	}
}

// shaken answers the handshake of a conn that was dialed.
func (c *client) shaken(target string, extra ...string) *client {
	c.t.Helper()
	c.send(upgrade(target, extra...))
	if res, body := c.head(); res.StatusCode != 101 {
		c.t.Fatalf("%s %s", res.Status, body)
	}
	return c
}

// hostile are what a client may do to a conn on /echo or elsewhere, and the reason that it ends with.
var hostile = []struct {
	name   string
	reason CloseReason
	do     func(r *rig)
}{
	{"a flood of pings that is read", ReasonClientClosed, func(r *rig) {
		const pings = 20_000
		c := r.open("/ws/a")
		go c.flood(strings.Repeat(masked(0x89, strings.Repeat("p", 125)), 200)+masked(0x89, "last"), pings/200)
		pongs, last := 0, 0
		for ; last < pings/200 && r.srv.Stats().Pings < pings+pings/200; pongs++ {
			if op, p := c.frame(); op != 10 {
				r.t.Fatalf("opcode %d", op)
			} else if p == "last" {
				last++
			}
		}
		if got := r.srv.Stats().Pings; got != pings+pings/200 || pongs > pings/2 {
			r.t.Errorf("%d pings counted, %d pongs", got, pongs)
		}
		c.send(masked(0x88, ""))
		for op := byte(10); op == 10; {
			op, _ = c.frame()
		}
	}},
	{"a flood of pings that is not read", ReasonSlowConsumer, func(r *rig) {
		c := r.dialSmall(1).shaken("/ws/a")
		one := masked(0x89, strings.Repeat("p", 125))
		for range 1_000_000 { // each its own segment, so that each is answered
			if _, err := io.WriteString(c.Conn, one); err != nil {
				return
			}
			if r.srv.Stats().Closed[ReasonSlowConsumer] > 0 {
				return
			}
		}
		r.t.Error("it may go on for ever")
	}},
	{"a flood of pongs", ReasonClientClosed, func(r *rig) {
		const pongs = 100_000
		c := r.open("/ws/a")
		c.flood(strings.Repeat(masked(0x8a, "x"), 1000), pongs/1000)
		c.send(masked(0x88, ""))
		c.wantClose(1000)
		if got := r.srv.Stats().Pongs; got != pongs {
			r.t.Errorf("%d pongs counted", got)
		}
	}},
	{"a million empty fragments", ReasonTooLarge, func(r *rig) {
		c := r.open("/echo")
		go c.flood(masked(0x01, "")+strings.Repeat(masked(0x00, ""), 1000), 1000)
		if text := c.wantClose(1009); !strings.Contains(text, "empty fragments") {
			r.t.Errorf("reason %q", text)
		}
	}},
	{"empty fragments of a compressed message", ReasonTooLarge, func(r *rig) {
		c := r.open("/echo", offer)
		c.send(masked(0x41, "") + strings.Repeat(masked(0x00, ""), 200))
		c.wantClose(1009)
	}},
	{"fragments of a byte without an end", ReasonTooLarge, func(r *rig) {
		c := r.open("/echo")
		c.send(masked(0x02, "x"))
		go c.flood(strings.Repeat(masked(0x00, "x"), 1000), 1000)
		if text := c.wantClose(1009); !strings.Contains(text, "too large") {
			r.t.Errorf("reason %q", text)
		}
	}},
	{"a bomb in fragments", ReasonTooLarge, func(r *rig) {
		bomb := deflate(r.t, strings.Repeat("\x00", 4<<20))
		c := r.open("/echo", offer)
		c.send(masked(0x42, bomb[:1000]))
		for rest := bomb[1000:]; ; {
			n := min(len(rest), 1000)
			if n == len(rest) {
				c.send(masked(0x80, rest))
				break
			}
			c.send(masked(0x00, rest[:n]))
			rest = rest[n:]
		}
		c.wantClose(1009)
	}},
	{"a declared length of 2^63-1, a thousand times", ReasonTooLarge, func(r *rig) {
		for range 1000 {
			c := r.open("/echo")
			c.send("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04")
			c.wantClose(1009)
		}
		r.wantClosed(ReasonTooLarge, 1000)
	}},
	{"answers that are not read", ReasonSlowConsumer, func(r *rig) {
		c := r.dialSmall(1).shaken("/echo")
		c.flood(masked(0x82, strings.Repeat("\xff", 60_000)), 1000)
	}},
	{"a reset in the middle of its frame", ReasonPeerGone, func(r *rig) {
		c := r.open("/echo")
		c.send(masked(0x82, strings.Repeat("x", 1000))[:500])
		c.reset()
	}},
	{"a reset in the middle of a frame of ours", ReasonPeerGone, func(r *rig) {
		c := r.dialSmall(1).shaken("/echo")
		c.send(masked(0x82, strings.Repeat("\xff", 60_000)))
		if _, err := io.ReadFull(c.r, make([]byte, 100)); err != nil {
			r.t.Fatal(err)
		}
		c.reset()
	}},
	{"a reset in the middle of the handshake", ReasonPeerGone, func(r *rig) {
		c := r.dial()
		c.send("GET /ws/a HT")
		c.reset()
	}},
	{"a FIN in the middle of a frame", ReasonPeerGone, func(r *rig) {
		c := r.open("/echo")
		c.send(masked(0x82, strings.Repeat("x", 1000))[:500])
		_ = c.Close()
	}},
}

// TestHostileClientEndsForItsReasonAndDisturbsNobody has one loop for the hostile conn and a subscriber.
func TestHostileClientEndsForItsReasonAndDisturbsNobody(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, Config{Loops: 1, Echo: true, MaxPendingBytes: 16 << 10})
			r.bystand(func() {
				tt.do(r)
				for deadline := time.Now().Add(waitFor); r.srv.Stats().Closed[tt.reason] == 0; <-time.After(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("no conn ended for %v: %v", tt.reason, r.srv.Stats().Closed)
					}
				}
			})
		})
	}
}

// TestFrameThatComesByteByByteIsEndedByThePongTimeout: neither the bytes of a header nor those of a
// payload are the answer to a ping.
func TestFrameThatComesByteByByteIsEndedByThePongTimeout(t *testing.T) {
	r := start(t, Config{Loops: 1, Echo: true, PingInterval: time.Second, PongTimeout: 100 * time.Millisecond})
	r.bystand(func() {
		for i, begins := range []string{masked(0x82, strings.Repeat("x", 60_000))[:8], ""} {
			c := r.open("/echo")
			c.send(begins)
			stop := c.dribble("\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00") // 65536 bytes
			c.wantFrame(9, "")
			c.wantClose(1001)
			stop()
			r.wantClosed(ReasonPongTimeout, uint64(i+1)) //nolint:gosec // a small index
		}
	})
}
