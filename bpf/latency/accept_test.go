//go:build linux

package latency

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
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

// What the kernel knows of a conn does not depend on what its client does while it is queued.
func TestBPFAcceptCountsWhateverTheClientDid(t *testing.T) {
	for name, do := range map[string]func(*net.TCPConn) error{
		"nothing": func(*net.TCPConn) error { return nil },
		"sent": func(c *net.TCPConn) error {
			_, err := c.Write(make([]byte, 1<<16))
			return err
		},
		"closed": (*net.TCPConn).Close,
		"reset": func(c *net.TCPConn) error {
			return errors.Join(c.SetLinger(0), c.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, port := listen(t)
			var tracer *Tracer
			took := late(func() {
				c := dial(t, l)
				// It was queued before the tracer began.
				tracer = trace(t, Accept, Config{PIDs: us(), Ports: []uint16{port}})
				wait()
				if err := do(c); err != nil {
					t.Fatal(err)
				}
			}, func() { accept(t, l) })
			took.least += made
			s := snapshot(t, tracer)
			took.holds(t, &s.Histograms[0], 0)
			if h := s.Histograms[1]; h.Count != 1 {
				t.Errorf("%d handshakes are counted", h.Count)
			}
		})
	}
}

func TestBPFAcceptOfNoTCPIsNotCounted(t *testing.T) {
	tracer := trace(t, Accept, Config{PIDs: us()})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range snapshot(t, tracer).Histograms {
		if h.Count != 0 {
			t.Errorf("%s: %d are counted", h.Name, h.Count)
		}
	}
	if err := errors.Join(s.Close(), c.Close(), l.Close()); err != nil {
		t.Error(err)
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
