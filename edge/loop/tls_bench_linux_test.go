package loop

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// transports are what a client may speak, 0 for plain text, and what a record costs besides its text.
var transports = []struct {
	name     string
	version  uint16
	overhead int
}{{"plain", 0, 0}, {"tls1.2", tls.VersionTLS12, 29}, {"tls1.3", tls.VersionTLS13, 22}}

// subscribeAndForget opens subscriptions, of each of which it keeps the socket alone: neither keys nor
// buffers of a client are counted with the server's.
func (r *rig) subscribeAndForget(n int, version uint16) (sockets []net.Conn) {
	r.t.Helper()
	if r.tls = nil; version != 0 {
		r.tls = &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
	}
	for range n {
		c := r.open("/ws/a")
		socket := c.Conn
		if secure, ok := socket.(*tls.Conn); ok {
			socket = secure.NetConn()
		}
		_ = socket.SetDeadline(time.Time{})
		sockets = append(sockets, socket)
	}
	return sockets
}

// heap is what is in use after a collection, stacks included.
func heap() uint64 {
	var m runtime.MemStats
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestMemoryOfAnIdleTLSConnIsBounded holds 500 of each kind; BenchmarkIdleConn says how much.
func TestMemoryOfAnIdleTLSConnIsBounded(t *testing.T) {
	const most = 16 << 10
	r := startTLS(t, Config{}, 0)
	for _, tr := range transports {
		if got := r.idleBytes(500, tr.version); got > most {
			t.Errorf("%s: %d bytes a conn, want %d at most", tr.name, got, most)
		}
	}
}

// idleBytes is what a conn and its client's socket cost the process.
func (r *rig) idleBytes(n int, version uint16) uint64 {
	r.t.Helper()
	before, slab := heap(), kernelSlab(r.t)
	sockets := r.subscribeAndForget(n, version)
	after := heap()
	r.t.Logf("TLS version %x: %d bytes of unreclaimable slab a conn, both ends", version, (kernelSlab(r.t)-slab)/n)
	for _, s := range sockets {
		_ = s.Close()
	}
	for deadline := time.Now().Add(waitFor); r.srv.Conns() > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d conns are left", r.srv.Conns())
		}
	}
	return (max(after, before) - before) / uint64(n) //nolint:gosec // a count
}

// BenchmarkIdleConn says what 2,000 subscribed conns cost this process each, with their clients' sockets,
// which are the same for all.
func BenchmarkIdleConn(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			r := startTLS(b, Config{}, 0)
			for b.Loop() {
				b.ReportMetric(float64(r.idleBytes(2000, tr.version)), "heap-B/conn")
			}
		})
	}
}

// BenchmarkDelivery has an event of 200 bytes delivered to 100 conns, whose clients read and drop the bytes.
// The time is the process's CPU time, the clients' reads included, which are the same for all.
func BenchmarkDelivery(b *testing.B) {
	const conns, size = 100, 200
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			r := startTLS(b, Config{}, 0)
			onWire := 4 + size + tr.overhead
			read := make(chan struct{}, conns)
			var wg sync.WaitGroup
			for _, s := range r.subscribeAndForget(conns, tr.version) {
				wg.Go(func() {
					buf := make([]byte, onWire)
					for {
						if _, err := io.ReadFull(s, buf); err != nil {
							return
						}
						read <- struct{}{}
					}
				})
				defer s.Close() //nolint:errcheck // nothing more is to be sent
			}
			data, start, n := strings.Repeat("x", size), cpuTime(), 0
			for b.Loop() {
				r.publish("a", data)
				for range conns {
					<-read
				}
				n += conns
			}
			b.ReportMetric(float64(cpuTime()-start)/float64(n), "cpu-ns/delivery")
			b.ReportMetric(float64(onWire), "wire-B/delivery")
		})
	}
}

// kernelSlab is the memory in bytes that the kernel has in slabs and cannot have back.
func kernelSlab(tb testing.TB) (bytes int) {
	tb.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "SUnreclaim:")
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		tb.Fatalf("no SUnreclaim in /proc/meminfo: %v", err)
	}
	return bytes << 10
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
