//go:build linux

package latency

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

func TestBPFAcceptMeasuresTheQueue(t *testing.T) {
	l, port := listen(t)
	tracer := trace(t, Accept, Config{PIDs: us(), Ports: []uint16{port}})
	took := late(func() { dial(t, l) }, func() { accept(t, l) })
	took.holds(t, &snapshot(t, tracer).Histograms[0], 0)
}

// Each packet on loopback takes its time: of a handshake the SYN-ACK and the ACK.
func TestBPFAcceptMeasuresTheHandshake(t *testing.T) {
	tracer := trace(t, Accept, Config{PIDs: us()})
	slowLoopback(t, made, func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		begun := time.Now()
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return errors.Join(err, l.Close())
		}
		s, err := l.Accept()
		took := span{2 * made, time.Since(begun)}
		if err != nil {
			return errors.Join(err, c.Close(), l.Close())
		}
		took.holds(t, &snapshot(t, tracer).Histograms[1], 0)
		return errors.Join(s.Close(), c.Close(), l.Close())
	})
}

func TestBPFAcceptOfOthersIsNotCounted(t *testing.T) {
	for name, cfg := range map[string]Config{"another process": {PIDs: []int{nobody}}, "another port": {Ports: []uint16{1}}} {
		l, _ := listen(t)
		tracer, all := trace(t, Accept, cfg), trace(t, Accept, Config{PIDs: us()})
		dial(t, l)
		accept(t, l)
		if h := snapshot(t, all).Histograms[0]; h.Count != 1 {
			t.Errorf("%s: %d of all are counted", name, h.Count)
		}
		if h := snapshot(t, tracer).Histograms[0]; h.Count != 0 {
			t.Errorf("%s: %d are counted", name, h.Count)
		}
	}
}

// A socket that was closed before anybody accepted it must not be taken for another at its address.
func TestBPFAcceptTellsSocketsOfOneAddressApart(t *testing.T) {
	l, port := listen(t)
	tracer := trace(t, Accept, Config{PIDs: us(), Ports: []uint16{port}})
	queued := tracer.coll.Maps[acceptMapQueued]
	entry := func() (key uint64, e acceptEstablished, ok bool) {
		t.Helper()
		all := queued.Iterate()
		ok = all.Next(&key, &e)
		if err := all.Err(); err != nil {
			t.Fatal(err)
		}
		return key, e, ok
	}
	dial(t, l)
	key, e, ok := entry()
	if !ok || e.Hash == 0 || e.Weight != 1 {
		t.Fatalf("of a connection that is queued there is %v, %+v", ok, e)
	}
	e.Hash ^= 1 // as if it were what another has left
	if err := queued.Update(key, e, ebpf.UpdateExist); err != nil {
		t.Fatal(err)
	}
	accept(t, l)
	if h := snapshot(t, tracer).Histograms[0]; h.Count != 0 {
		t.Errorf("%d are counted by the time of another socket", h.Count)
	}
	if _, e, ok := entry(); ok {
		t.Errorf("it is accepted, and %+v stays", e)
	}
	dial(t, l)
	accept(t, l)
	if h := snapshot(t, tracer).Histograms[0]; h.Count != 1 {
		t.Errorf("%d are counted of the next", h.Count)
	}
}

func BenchmarkAccept(b *testing.B) {
	l, port := listen(b)
	tracer := trace(b, Accept, Config{PIDs: us(), Ports: []uint16{port}, Cost: true})
	for b.Loop() {
		c := dial(b, l)
		_ = accept(b, l).Close()
		_ = c.SetLinger(0) // or all ports would be waiting
		_ = c.Close()
	}
	perEvent(b, tracer)
}

// perEvent reports what the tracer's programs took for each duration that they counted.
func perEvent(b *testing.B, tracer *Tracer) {
	b.Helper()
	cost, err := tracer.Cost()
	if err != nil {
		b.Fatal(err)
	}
	events := uint64(0)
	for _, h := range snapshot(b, tracer).Histograms {
		events += h.Count
	}
	if events == 0 {
		b.Fatal("nothing was counted")
	}
	b.ReportMetric(float64(cost.Time)/float64(events), "trace-ns/event")
	b.ReportMetric(float64(cost.PerRun()), "trace-ns/run")
}
