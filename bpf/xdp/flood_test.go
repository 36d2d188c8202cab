//go:build linux

package xdp

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/bpf/bpftest"

	"github.com/cilium/ebpf"
)

// TestBPFProvedClientsKeepTheirQuotaUnderASpoofedFlood is two million packets a second of random
// sources, on a clock of its own, beside clients that send four times their slow quota, and beside
// some that keep to theirs. Published tables of the size that is usual leak most of the abusers'
// packets then, since the flood evicts what they owe.
func TestBPFProvedClientsKeepTheirQuotaUnderASpoofedFlood(t *testing.T) {
	for _, tt := range []struct {
		name    string
		clients int
		quota   Quota
		pass    float64 // of what each client sends
	}{
		// Each of them sends once in 2.56 s.
		{"clients at four times their quota", 10_000, Quota{Interval: 10_240e6 << 4, Limit: 10_240e6 << 4}, 0.25},
		{"clients within their quota", 10_000, Quota{Interval: 2_560e6 << 4, Limit: 2_560e6 << 4}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const step, every, rounds = 500 * time.Nanosecond, 512, 4
			p := loadChanged(t, Config{Slots: 1 << 20}, func(spec *ebpf.CollectionSpec) error {
				return spec.Variables[weirVarTestClock].Set(uint8(1))
			})
			p.proofless = false
			at(t, p, time.Hour)
			var all []string
			for i := range tt.clients {
				all = append(all, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
			}
			policy := Policy{Classes: []Class{{Client: Level{Packets: tt.quota}, UnprovedPackets: perSecond(200_000, 20_000)}}}
			setPolicy(t, p, policy, ModeEnforce)
			prove(t, p, all...)
			before := p.totals()
			storm := bpftest.Storm(t, p.objs.XdpWeir, p.objs.TestNs, bpftest.StormConfig{Step: step, Every: every, Clients: tt.clients})
			if _, _, err := storm.Benchmark(source(0), tt.clients*every*rounds, nil); err != nil {
				t.Fatal(err)
			}
			after := p.totals()
			sent, dropped := after.Packets-before.Packets, after.Dropped-before.Dropped
			pass := 1 - float64(dropped)/float64(sent)
			t.Logf("clients: %d packets, %.2f %% passed, exact is %.2f %%", sent, 100*pass, 100*tt.pass)
			if sent != uint64(tt.clients*rounds) {
				t.Errorf("%d packets of clients, want %d: some have lost their slots", sent, tt.clients*rounds)
			}
			if pass < tt.pass-0.005 || pass > tt.pass+0.005 {
				t.Errorf("%.4f of the clients' packets passed, want %.4f", pass, tt.pass)
			}
			s, err := p.Stats()
			if err != nil || s.SlotsLost != 0 {
				t.Errorf("%d slots lost, %v", s.SlotsLost, err)
			}
			flood, seconds := s.Passed[ReasonPassUnproved].Packets, float64(tt.clients*every*rounds)*step.Seconds()
			if bound := 20_000 + seconds*200_000; float64(flood) > bound {
				t.Errorf("%d packets of the flood passed, the budget is %.0f", flood, bound)
			}
		})
	}
}

// totals are the packets of all clients in the table.
func (p *Program) totals() (sum Client) {
	for c := range p.Clients() {
		sum.Packets += c.Packets
		sum.Dropped += c.Dropped
	}
	return sum
}

// TestBPFOneClientIsExactOnAllCPUs has all CPUs hammer at one client, on the real clock: what is
// admitted is the burst and what time gives, never more, and at least 99 % of it.
func TestBPFOneClientIsExactOnAllCPUs(t *testing.T) {
	const during = 5 * time.Second
	const mbit = 100                                                   // of bytes
	bytes := ByteQuota{Mult: 16e9 / (mbit * 125_000) << 32, Shift: 32} // 1280 ticks a byte
	bytes.Limit = 64 << 10 * bytes.Mult >> 32
	for _, tt := range []struct {
		name  string
		level Level
		rate  float64 // packets a second
		burst float64
	}{
		{"1 a minute", Level{Packets: Quota{60e9 << 4, 60e9 << 4}}, 1.0 / 60, 1},
		{"1000 a second", Level{Packets: perSecond(1000, 50)}, 1000, 50},
		{"1000000 a second", Level{Packets: perSecond(1_000_000, 1000)}, 1e6, 1000},
		{"100 Mbit/s", Level{Bytes: bytes}, mbit * 125_000 / 1434.0, 64 << 10 / 1434.0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, Config{})
			setPolicy(t, p, class(tt.level), ModeEnforce)
			packet := from("192.0.2.1", 17, make([]byte, 1400)) // a frame of 1434 bytes
			start := time.Now()
			busy := hammer(t, p, packet, during)
			seconds := time.Since(start).Seconds()
			s, err := p.Stats()
			if err != nil {
				t.Fatal(err)
			}
			admitted := float64(s.Passed[ReasonPassQuota].Packets)
			bound := tt.burst + seconds*tt.rate
			// While no CPU asks, time gives more than the burst holds for nobody.
			least := 0.99 * (tt.burst + busy.Seconds()*tt.rate)
			t.Logf("admitted %.0f in %.3f s, the bound is %.1f; %d refused, %d of them for contention", admitted, seconds, bound, s.Dropped[ReasonQuotaPackets].Packets+s.Dropped[ReasonQuotaBytes].Packets, s.Dropped[ReasonContention].Packets)
			if admitted > bound || admitted < least-1 {
				t.Errorf("admitted %.0f, want %.1f to %.1f", admitted, least, bound)
			}
		})
	}
}

// hammer runs a packet on all CPUs at once for a while, and returns for how long at least one of
// them was at it.
func hammer(t *testing.T, p *Program, packet []byte, during time.Duration) (busy time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	start := time.Now()
	for range runtime.NumCPU() {
		wg.Go(func() {
			var own time.Duration
			for time.Since(start) < during {
				_, each, err := p.objs.XdpWeir.Benchmark(packet, 100_000, nil)
				if err != nil {
					t.Error(err)
					return
				}
				own += each * 100_000
			}
			mu.Lock()
			defer mu.Unlock()
			busy = max(busy, own)
		})
	}
	wg.Wait()
	return min(busy, time.Since(start))
}

// TestBPFSamplesSayWhatWasRefused also that no more are made than asked for, and how many were not.
func TestBPFSamplesSayWhatWasRefused(t *testing.T) {
	p := guarding(t, Policy{Entries: []Entry{{Prefix: prefixes("192.0.2.0/24")[0], Deny: true}}})
	ctx, cancel := contextOf(t)
	got := make(chan Sample, 64)
	ended := make(chan error, 1)
	r, err := p.Samples(3)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		ended <- r.Read(ctx, func(s Sample) {
			s.Data = append([]byte{}, s.Data...) // lent
			got <- s
		})
	}()
	if _, err := p.Samples(3); err == nil {
		t.Error("two read at once")
	}
	if _, err := p.Samples(0); err == nil || !strings.Contains(err.Error(), "1 to 255") {
		t.Errorf("none a second: %v", err)
	}
	packet := tcpFrom("192.0.2.7", syn)
	for range 10 {
		test(t, p, packet)
	}
	first := <-got
	if first.Reason != ReasonDenied || first.Spared || first.Length != len(packet) || string(first.Data) != string(packet) {
		t.Errorf("%+v", first)
	}
	if f := first.Flow(); f.From.String() != "192.0.2.7:1000" || f.To.String() != "198.51.100.1:8000" || f.Proto != 6 {
		t.Errorf("%+v", f)
	}
	s, err := p.Stats()
	if err != nil || s.NotSampled[ReasonDenied] < 4 || s.NotSampled[ReasonDenied] > 7 { // the second may have ended within
		t.Errorf("%d not sampled, %v", s.NotSampled[ReasonDenied], err)
	}
	if err := p.SetMode(ModeShadow); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no sample in shadow", func() bool {
		test(t, p, packet)
		select {
		case s := <-got:
			return s.Spared
		default:
			return false
		}
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if p.word.Samples != 0 {
		t.Error("the program goes on making samples")
	}
}

// TestBPFProgramsStayWithinTheirVerifierBudget: the verifier gives up at a million instructions,
// and what it takes for a program differs by kernel.
func TestBPFProgramsStayWithinTheirVerifierBudget(t *testing.T) {
	const budget = 100_000
	f := allFeatures(t)
	spec, err := Spec(Config{Interface: "lo", Slots: 1024}, f, [2]uint64{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	conns, err := connsSpec(Config{Slots: 1024}.Defaults(), f, [2]uint64{1, 2}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*ebpf.CollectionSpec{spec, conns} {
		c, err := ebpf.NewCollectionWithOptions(s, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		for name, prog := range c.Programs {
			info, err := prog.Info()
			if err != nil {
				t.Fatal(err)
			}
			n, ok := info.VerifiedInstructions()
			if !ok {
				t.Errorf("%s: the kernel does not say how many instructions it looked at", name)
			}
			t.Logf("%s: %d instructions", name, n)
			if n > budget {
				t.Errorf("%s: %d instructions, the budget is %d", name, n, budget)
			}
		}
		c.Close()
	}
}
