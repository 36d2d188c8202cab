package loop

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// vanish has the kernel drop all that comes for the conn, unread and unacknowledged, and sends nothing
// more: a client whose host lost its network or its power.
func (c *client) vanish() {
	c.t.Helper()
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	if ctl := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	}); ctl != nil || err != nil {
		c.t.Fatal(ctl, err)
	}
}

func TestHalfOpenConnIsEndedByThePongTimeout(t *testing.T) {
	cfg := Config{Loops: 1, Echo: true, PingInterval: time.Second, PongTimeout: 200 * time.Millisecond, HandshakeTimeout: 500 * time.Millisecond}
	for _, tt := range []struct {
		name   string
		reason CloseReason
		do     func(r *rig) *client
	}{
		{"a WebSocket", ReasonPongTimeout, func(r *rig) *client { return r.open("/ws/a") }},
		{"a WebSocket in the middle of a message", ReasonPongTimeout, func(r *rig) *client {
			c := r.open("/echo")
			c.send(masked(0x01, "x") + masked(0x80, strings.Repeat("x", 1000))[:500])
			return c
		}},
		{"a stream", ReasonPongTimeout, func(r *rig) *client { return r.stream(r.dial(), "/sse/a") }},
		{"a request", ReasonHandshakeTimeout, func(r *rig) *client {
			c := r.dial()
			c.send("GET /ws/a HT")
			return c
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, cfg)
			tt.do(r).vanish()
			r.wantClosed(tt.reason, 1)
			for deadline := time.Now().Add(waitFor); r.srv.Conns() > 0; <-time.After(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is still held")
				}
			}
		})
	}
}

// TestStreamThatIsReadStaysOpen: over pings and pongs in which it is sent nothing, and much.
func TestStreamThatIsReadStaysOpen(t *testing.T) {
	r := start(t, Config{Loops: 1, PingInterval: time.Second, PongTimeout: 100 * time.Millisecond})
	quiet, busy := r.stream(r.dial(), "/sse/quiet"), r.stream(r.dial(), "/sse/busy")
	go io.Copy(io.Discard, busy.r) //nolint:errcheck // it ends with the conn
	comments := 0
	for comments < 3 {
		line, err := quiet.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == ":\n" {
			comments++
		}
		for range 100 {
			r.publish("busy", strings.Repeat("x", 1000))
		}
	}
	if st := r.srv.Stats(); st.Closed[ReasonPongTimeout] > 0 || r.srv.Conns() != 2 {
		t.Errorf("%d conns are left, closed %v", r.srv.Conns(), st.Closed)
	}
}

// TestStreamThatIsNotReadIsEnded: what fits the kernel's queues would wait there for ever.
func TestStreamThatIsNotReadIsEnded(t *testing.T) {
	r := start(t, Config{Loops: 1, PingInterval: time.Second, PongTimeout: 200 * time.Millisecond})
	c := r.stream(r.dialSmall(1), "/sse/a")
	for range 10 { // more than its window has room for, less than blocks the conn
		r.publish("a", strings.Repeat("x", 1000))
	}
	r.wantClosed(ReasonPongTimeout, 1)
	_ = c.Close()
}
