//go:build linux

package xdp

import (
	"sync"
	"testing"
	"time"

	"weir/bpf/bpftest"

	"github.com/cilium/ebpf"
)

// BenchmarkBPF is the time of one packet, wall clock over a test run's repeats, that of the run
// itself included: drop is the baseline of one client, spray_drop that of a million.
func BenchmarkBPF(b *testing.B) {
	const million = 20 // bits
	for _, bb := range []struct {
		name  string
		load  bool // else the program only drops
		mode  Mode
		slots int
		bits  int // of the source that change, 0 for one client
		tell  string
	}{
		{name: "drop"},
		{name: "off", load: true, mode: ModeOff},
		{name: "one_client", load: true, mode: ModeEnforce},
		{name: "one_conn", load: true, mode: ModeEnforce, tell: "nothing"},
		{name: "one_conn_another_is_bound", load: true, mode: ModeEnforce, tell: "another"},
		{name: "one_conn_bound", load: true, mode: ModeEnforce, tell: "it"},
		{name: "one_client_another_is_escalated", load: true, mode: ModeEnforce, tell: "escalated"},
		{name: "spray_drop", bits: million},
		{name: "1M_clients_with_room", load: true, mode: ModeEnforce, slots: 1 << 20, bits: million},
		{name: "1M_clients_evicting", load: true, mode: ModeEnforce, bits: million},
	} {
		b.Run(bb.name, func(b *testing.B) {
			bpftest.Require(b, "5.15", "xdp_weir")
			var prog *ebpf.Program
			packet := source(1)
			if bb.load {
				p := generous(b, bb.mode, bb.slots)
				if prog = p.objs.XdpWeir; bb.tell != "" {
					packet = ackFrom(nat, 1)
				}
				switch bb.tell {
				case "another":
					bind(b, p, nat, 2, "alice", "")
				case "it":
					bind(b, p, nat, 1, "alice", "")
				case "escalated":
					if err := p.Escalate(Escalation{Client: ClientName{Identity: "alice"}, UntilNanos: 1 << 63}); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				prog = bpftest.Drop(b)
			}
			if bb.bits > 0 {
				prog = bpftest.Spray(b, prog, bb.bits)
			}
			if _, _, err := prog.Benchmark(packet, 100_000, nil); err != nil { // warm
				b.Fatal(err)
			}
			b.ResetTimer()
			if _, _, err := prog.Benchmark(packet, max(b.N, 1), nil); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/pkt")
		})
	}
}

// generous is a program with a quota of 10 M/s and 100 Gbit/s: nobody owes for long.
func generous(tb testing.TB, mode Mode, slots int) *Program {
	tb.Helper()
	p := load(tb, Config{Slots: slots, Frags: OptionOff})
	level := Level{Packets: Quota{1600, 1 << 50}, Bytes: ByteQuota{Mult: 5497558139, Shift: 32, Limit: 1 << 50}}
	setPolicy(tb, p, Policy{Classes: []Class{{Client: level, UnprovedPackets: Quota{1600, 1 << 50}}}}, mode)
	return p
}

// TestBPFQuotaIsExactOnAllCPUs has two CPUs hammer at one client: together they admit the burst
// and what time gives, and not one packet more.
func TestBPFQuotaIsExactOnAllCPUs(t *testing.T) {
	const rate, burst = 1000, 50
	p := load(t, Config{})
	setPolicy(t, p, class(Level{Packets: perSecond(rate, burst)}), ModeEnforce)
	var wg sync.WaitGroup
	start := time.Now()
	for range 2 {
		wg.Go(func() {
			for time.Since(start) < 300*time.Millisecond {
				if _, _, err := p.objs.XdpWeir.Benchmark(source(1), 100_000, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	seconds := time.Since(start).Seconds()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	admitted := float64(s.Passed[ReasonPassQuota].Packets)
	// Both CPUs are in a run for nearly all of the time, but need not be: half is enough.
	if least, most := burst+seconds*rate/2, burst+seconds*rate; admitted < least || admitted > most {
		t.Errorf("admitted %v in %v s, want %v to %v", admitted, seconds, least, most)
	}
	if refused := s.Dropped[ReasonQuotaPackets].Packets + s.Dropped[ReasonContention].Packets; refused < 100_000 {
		t.Errorf("only %d refused", refused)
	}
	top, used, err := p.Top(4, ByPackets)
	if err != nil || used != 1 || len(top) != 1 {
		t.Errorf("%v, %d, %v: want one client", top, used, err)
	}
}

// TestBPFManyClientsKeepTheirOwnQuota floods from 65536 sources on two CPUs, each of which may
// send three packets: with room for all no more than that is admitted of any, and no client has
// two slots. An emulated machine has a sixteenth of all.
func TestBPFManyClientsKeepTheirOwnQuota(t *testing.T) {
	const quota = 3
	bits := bpftest.Often(16, 12)
	p := enforce(t, Config{Slots: 16 << bits, Frags: OptionOff}, quota)
	flood := bpftest.Spray(t, p.objs.XdpWeir, bits)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, _, err := flood.Benchmark(source(1), 1_000_000>>(16-bits), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	top, used, err := p.Top(1<<20, ByPackets)
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]bool{}
	for _, c := range top {
		if clients[c.Prefix.String()] {
			t.Errorf("%v has two slots", c.Prefix)
		}
		clients[c.Prefix.String()] = true
	}
	admitted := s.Passed[ReasonPassQuota].Packets
	if used > 1<<bits || admitted > uint64(used)*quota || used < 1<<bits*9/10 || admitted < uint64(used)*quota*99/100 {
		t.Errorf("%d clients, %d packets admitted", used, admitted)
	}
	t.Logf("%d clients, %d admitted, %d by the total, %d refused for want of room, %d for contention", used, admitted,
		s.Passed[ReasonPassTotal].Packets, s.Dropped[ReasonTablePressure].Packets, s.Dropped[ReasonContention].Packets)
}
