//go:build linux

package latency

import (
	"net"
	"testing"
)

// pair is a connection of this process to itself.
func pair(tb testing.TB) (client, server *net.TCPConn, port uint16) {
	tb.Helper()
	l, port := listen(tb)
	client = dial(tb, l)
	return client, accept(tb, l), port
}

func TestBPFReadMeasuresWhatWaits(t *testing.T) {
	client, server, port := pair(t)
	tracer := trace(t, Read, Config{PIDs: us(), Ports: []uint16{port}})
	took := late(func() { write(t, client, []byte("one")) }, func() { read(t, server, make([]byte, 100)) })
	took.holds(t, &snapshot(t, tracer).Histograms[0], 1)
}

func TestBPFReadCountsFromTheFirstThatIsUnread(t *testing.T) {
	client, server, port := pair(t)
	tracer := trace(t, Read, Config{Ports: []uint16{port}})
	took := late(func() { write(t, client, []byte("one")) }, func() {
		write(t, client, []byte("two"))
		read(t, server, make([]byte, 100))
	})
	took.holds(t, &snapshot(t, tracer).Histograms[0], 1)
}

func TestBPFReadOfOthersIsNotCounted(t *testing.T) {
	for name, cfg := range map[string]Config{"another process": {PIDs: []int{nobody}}, "another port": {Ports: []uint16{1}}} {
		client, server, port := pair(t)
		tracer, all := trace(t, Read, cfg), trace(t, Read, Config{PIDs: us(), Ports: []uint16{port}})
		write(t, client, []byte("one"))
		read(t, server, make([]byte, 100))
		if h := snapshot(t, all).Histograms[0]; h.Count != 1 {
			t.Errorf("%s: %d of all are counted", name, h.Count)
		}
		if h := snapshot(t, tracer).Histograms[0]; h.Count != 0 {
			t.Errorf("%s: %d are counted", name, h.Count)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	client, server, port := pair(b)
	tracer := trace(b, Read, Config{PIDs: us(), Ports: []uint16{port}, Cost: true})
	buffer := make([]byte, 100)
	for b.Loop() {
		write(b, client, buffer[:64])
		read(b, server, buffer)
	}
	perEvent(b, tracer)
}
