//go:build linux

package latency

import (
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"weir/bpf/bpftest"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// TestBPFKernelCountsInTheBucketsOfHere holds hist.h to Histogram.
func TestBPFKernelCountsInTheBucketsOfHere(t *testing.T) {
	bpftest.Require(t, "5.17", "bpf_loop")
	d := bpftest.NewDelays(t, 0)
	all := []time.Duration{0, 1, 2, 3, 10 * time.Minute}
	for i := range Buckets - 1 { // above 200 s all are of the last
		all = append(all, BoundOf(i), BoundOf(i)+1, BoundOf(i)*4/3)
	}
	for _, of := range all {
		if got, want := d.Bucket(of), bucketOf(of); got != want && of < 200*time.Second || got >= Buckets {
			t.Errorf("%d ns is in bucket %d: want %d", of, got, want)
		}
	}
	if got := d.Bucket(time.Hour); got != Buckets-1 {
		t.Errorf("an hour is in bucket %d: want the last", got)
	}
}

// slowLoopback has a program take its time over each packet on loopback, in a namespace of its own, while f runs there.
func slowLoopback(tb testing.TB, each time.Duration, f func() error) {
	tb.Helper()
	bpftest.Require(tb, "5.17", "bpf_loop")
	d := bpftest.NewDelays(tb, each)
	err := bpftest.Namespace(tb).Do(func() error {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: d.Delay, Interface: lo.Index, Flags: link.XDPGenericMode})
		if err != nil {
			return err
		}
		return errors.Join(f(), l.Close())
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// inSoftirq sends packets to itself that each take their time to be received.
func inSoftirq(tb testing.TB, each time.Duration, f func(send func())) {
	tb.Helper()
	slowLoopback(tb, each, func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		var sent error
		f(func() {
			_, err := c.WriteTo([]byte("x"), c.LocalAddr())
			sent = errors.Join(sent, err)
			buffer := make([]byte, 1)
			_, err = c.Read(buffer)
			sent = errors.Join(sent, err)
		})
		return errors.Join(sent, c.Close())
	})
}

func TestBPFSoftirqMeasuresTheKernelsWork(t *testing.T) {
	tracer := trace(t, Softirq, Config{})
	inSoftirq(t, made, func(send func()) {
		before := snapshot(t, tracer)
		begun := time.Now()
		send()
		took := span{made, time.Since(begun)}
		s := snapshot(t, tracer)
		s.Sub(before)
		raised, running := &s.Histograms[0], &s.Histograms[1]
		if raised.Count == 0 || s.Counters[0].Count == 0 {
			t.Errorf("%d were raised, %d polls", raised.Count, s.Counters[0].Count)
		}
		if took.among(running) == 0 { // the host may receive other packets meanwhile, which do not take as long
			t.Errorf("none took %v to %v: %v", took.least, took.most, running.Buckets)
		}
	})
}

func TestBPFXDPMeasuresAPacket(t *testing.T) {
	bpftest.Require(t, "5.17", "bpf_loop")
	d := bpftest.NewDelays(t, made)
	tracer := trace(t, XDP, Config{})
	before := snapshot(t, tracer)
	const packets = 3
	begun := time.Now()
	if _, _, err := d.Delay.Benchmark(make([]byte, 64), packets, nil); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begun)
	s := snapshot(t, tracer)
	s.Sub(before)
	info, err := d.Delay.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	i := slices.IndexFunc(s.Programs, func(p Program) bool { return ebpf.ProgramID(p.ID) == id })
	if i < 0 {
		t.Fatalf("the program is not among %+v", s.Programs)
	}
	if p := s.Programs[i]; p.Name != "delay" || p.Runs != packets || p.Time < packets*made || p.Time > took {
		t.Errorf("%+v: want %d runs of delay, %v to %v", p, packets, packets*made, took)
	}
}

func TestBPFCostIsCountedIfAskedFor(t *testing.T) {
	for _, asked := range []bool{false, true} {
		tracer := trace(t, Accept, Config{PIDs: us(), Cost: asked})
		pair(t)
		c, err := tracer.Cost()
		if err != nil || asked != (c.Runs > 0 && c.Time > 0 && c.Open > c.Time) {
			t.Errorf("asked %v: %+v, %v", asked, c, err)
		}
	}
}

func TestBPFCloseLeavesNothing(t *testing.T) {
	for _, about := range Tracers() {
		before := bpftest.OpenDescriptors()
		if !bpftest.Since(t, about.Since) {
			continue
		}
		tracer := trace(t, about.Name, cfgOf(about, Config{Cost: true}))
		if err := errors.Join(tracer.Close(), tracer.Close()); err != nil {
			t.Errorf("%s: %v", about.Name, err)
		}
		if _, err := tracer.Snapshot(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: a snapshot after Close: %v", about.Name, err)
		}
		if after := bpftest.OpenDescriptors(); len(after) != len(before) {
			t.Errorf("%s leaves %v open", about.Name, after)
		}
	}
}

// cfgOf names this process if the tracer has to be told of one, and the code of stalls, so that all hooks are used.
func cfgOf(about About, cfg Config) Config {
	if about.Go {
		cfg.PIDs = us()
	}
	if about.Stalls {
		cfg.PIDs, cfg.Threshold = us(), time.Second
	}
	return cfg
}

// A kernel that lacks a hook says which, and since when there is one.
func TestBPFTracersLoadOrNameTheHook(t *testing.T) {
	bpftest.Require(t, "5.15", "BPF tracers")
	for _, about := range Tracers() {
		tracer, err := Open(about.Name, cfgOf(about, Config{}))
		if err == nil {
			if err := tracer.Close(); err != nil {
				t.Errorf("%s: %v", about.Name, err)
			}
			continue
		}
		hook, ok := errors.AsType[*HookError](err)
		if !ok || hook.Hook == "" || !errors.Is(err, ErrKernel) || bpftest.Since(t, about.Since) {
			t.Errorf("%s: %+v", about.Name, err)
		}
	}
}

func BenchmarkSoftirq(b *testing.B) {
	tracer := trace(b, Softirq, Config{Cost: true})
	inSoftirq(b, 0, func(send func()) {
		for b.Loop() {
			send()
		}
	})
	perEvent(b, tracer)
}
