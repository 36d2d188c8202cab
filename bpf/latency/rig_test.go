//go:build linux

package latency

import (
	"net"
	"os"
	"testing"
	"time"

	"weir/bpf/bpftest"
)

// made is the delay that tracers are held to.
const made = 2 * time.Millisecond

// trace opens a tracer for the test, where the kernel has its hooks.
func trace(tb testing.TB, name string, cfg Config) *Tracer {
	tb.Helper()
	about, err := find(name)
	if err != nil {
		tb.Fatal(err)
	}
	bpftest.Require(tb, about.Since, "the hooks of tracer "+name)
	t, err := Open(name, cfg)
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		if err := t.Close(); err != nil {
			tb.Error(err)
		}
	})
	return t
}

func snapshot(tb testing.TB, t *Tracer) *Snapshot {
	tb.Helper()
	s, err := t.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// nobody is above all ids of processes.
const nobody = 1 << 22

// us is this process alone.
func us() []int { return []int{os.Getpid()} }

// span bounds a duration by what the test's own clock saw of it.
type span struct{ least, most time.Duration }

// until waits until a condition holds.
func until(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.After(20 * time.Second)
	for tick := time.Tick(time.Millisecond); !holds(); {
		select {
		case <-deadline:
			tb.Fatalf("it did not come to be that %s", what)
		case <-tick:
		}
	}
}

// bucketOf is where a duration is counted.
func bucketOf(d time.Duration) int {
	var h Histogram
	h.Observe(d)
	return h.Quantile(1)
}

// holds says that a histogram has one duration, of the span, as well as its bucket can tell; slack is
// how many buckets too low it may be, if the span begins before the kernel's clock does.
func (s span) holds(tb testing.TB, h *Histogram, slack int) {
	tb.Helper()
	if h.Count != 1 {
		tb.Fatalf("%s: %d durations: want 1: %v", h.Name, h.Count, h.Buckets)
	}
	got, least, most := h.Quantile(1), bucketOf(s.least)-slack, bucketOf(s.most)
	if got < least || got > most {
		tb.Errorf("%s: a duration from %v to %v is in bucket %d, up to %v: want bucket %d to %d", h.Name, s.least, s.most, got, BoundOf(got), least, most)
	}
	if h.Sum > s.most {
		tb.Errorf("%s: the sum is %v, and it took at most %v", h.Name, h.Sum, s.most)
	}
}

// among is how many durations of a histogram are of the span, as well as its buckets can tell.
func (s span) among(h *Histogram) (n uint64) {
	for _, b := range h.Buckets[bucketOf(s.least) : bucketOf(s.most)+1] {
		n += b
	}
	return n
}

// wait lets the made delay pass.
func wait() { <-time.After(made) }

// listen listens on a free port of 127.0.0.1.
func listen(tb testing.TB) (l *net.TCPListener, port uint16) {
	tb.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func dial(tb testing.TB, l net.Listener) *net.TCPConn {
	tb.Helper()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func accept(tb testing.TB, l *net.TCPListener) *net.TCPConn {
	tb.Helper()
	c, err := l.AcceptTCP()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func write(tb testing.TB, c net.Conn, b []byte) {
	tb.Helper()
	if _, err := c.Write(b); err != nil {
		tb.Fatal(err)
	}
}

func read(tb testing.TB, c net.Conn, b []byte) {
	tb.Helper()
	if _, err := c.Read(b); err != nil {
		tb.Fatal(err)
	}
}

// late does first, waits, does second, and bounds the time from the one to the other.
func late(first, second func()) (s span) {
	begun := time.Now()
	first()
	done := time.Now()
	wait()
	s.least = time.Since(done)
	second()
	s.most = time.Since(begun)
	return s
}
