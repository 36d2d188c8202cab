package loop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/edge/hub"

	"golang.org/x/sys/unix"
)

// receiveBuffer is the socket's SO_RCVBUF.
func (c *client) receiveBuffer() (bytes int) {
	c.t.Helper()
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		bytes, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return bytes
}

// served calls f on the loop with the server's end of a client's conn.
func (r *rig) served(c *client, f func(*conn)) {
	r.t.Helper()
	done := make(chan bool, 1)
	r.srv.each(func(l *loop) {
		for _, sc := range l.wheel.pick(whyConns, func(sc *conn) bool { return sc.gc.RemoteAddr().String() == c.LocalAddr().String() }) {
			f(sc)
			done <- true
		}
	})
	select {
	case <-done:
	case <-time.After(waitFor):
		r.t.Fatal("the server has no such conn")
	}
}

// ticking publishes an event with its time every few milliseconds.
func (r *rig) ticking(every time.Duration, pad int) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	padding := strings.Repeat("x", pad)
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				r.publishKey("a", "k", fmt.Sprintf(`{"at":%d,"pad":%q}`, time.Now().UnixNano(), padding))
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
}

// read is an event of ticking as it was read.
type read struct {
	bytes     int
	published time.Time
	skipped   uint64 // told before it
}

// readTick reads the next event.
func (c *client) readTick() (e read) {
	c.t.Helper()
	for {
		op, text := c.frame()
		var p struct {
			Skipped uint64
			Data    struct{ At int64 }
		}
		if err := json.Unmarshal([]byte(text), &p); op != 1 || err != nil {
			c.t.Fatalf("opcode %d %.100q: %v", op, text, err)
		}
		e.bytes += len(text)
		e.skipped += p.Skipped
		if p.Data.At > 0 {
			e.published = time.Unix(0, p.Data.At)
			return e
		}
	}
}

// afterStall is what a client reads that stalled: what is older than fresh, and the first that is not.
type afterStall struct {
	events, bytes int
	gap           time.Duration // between the last stale event and the first fresh one
	age           time.Duration // of that, when it was read
	skipped       uint64
}

func (c *client) afterStall(fresh time.Duration) (s afterStall) {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(waitFor))
	ended := time.Now()
	var last read
	for {
		e := c.readTick()
		if ended.Sub(e.published) < fresh {
			s.gap, s.age, s.skipped = e.published.Sub(last.published), time.Since(e.published), e.skipped
			return s
		}
		s.events, s.bytes, last = s.events+1, s.bytes+e.bytes, e
	}
}

// TestAfterAStallTheNewestComesRightBehindWhatWasOnItsWay: a client that did not read for 5 s reads what the
// kernels had taken by the time their buffers were full, no more than the bound, and then the newest event of
// the key. Without TCP_NOTSENT_LOWAT it reads all of the stall first.
func TestAfterAStallTheNewestComesRightBehindWhatWasOnItsWay(t *testing.T) {
	const stall, every, pad = 5 * time.Second, 5 * time.Millisecond, 1000
	r := startWith(t, Config{Loops: 1, PingInterval: time.Hour}, hub.Config{Modes: []hub.ModeRule{{Topics: "a", Mode: hub.ModeLatest}}})
	bounded, unbounded := r.dialSmall(1).shaken("/ws/a?format=json"), r.dialSmall(1).shaken("/ws/a?format=json")
	r.served(bounded, func(c *conn) {
		if n, err := unix.GetsockoptInt(c.gc.Fd(), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); err != nil || n != notSentLowatBytes {
			t.Errorf("TCP_NOTSENT_LOWAT is %d, %v", n, err)
		}
	})
	r.served(unbounded, func(c *conn) {
		limitUnsent(c.gc.Fd(), 0) // the system's default: no limit
		// As large as the system lets a buffer grow by itself: on a busy host it does not come to it. Who may
		// not set it relies on that.
		if err := unix.SetsockoptInt(c.gc.Fd(), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20); err != nil && !errors.Is(err, unix.EPERM) {
			t.Error(err)
		}
	})
	stop := r.ticking(every, pad)
	defer stop()
	for range 20 {
		bounded.readTick()
		unbounded.readTick()
	}
	<-time.After(stall)
	got, all := bounded.afterStall(stall/10), unbounded.afterStall(stall/10)
	t.Logf("with the option %+v, without %+v", got, all)
	const oneEvent = pad + 200 // with its envelope: what a batch is here
	if bound := notSentLowatBytes + bounded.receiveBuffer() + 2*oneEvent; got.bytes > bound || got.events == 0 {
		t.Errorf("%d bytes are read that are older than the stall's end, want at most %d, and some", got.bytes, bound)
	}
	if got.gap < stall/2 || got.age > 4*tick {
		t.Errorf("behind them comes an event of %v later, %v old", got.gap, got.age)
	}
	if least := uint64(stall / every / 4); got.skipped < least {
		t.Errorf("%d events are said to be skipped, want %d at least", got.skipped, least)
	}
	if all.bytes < 10*got.bytes || all.skipped > 0 {
		t.Errorf("without the option %d bytes are stale, with it %d: the option does nothing", all.bytes, got.bytes)
	}
}
