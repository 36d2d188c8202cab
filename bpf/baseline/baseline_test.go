//go:build linux

package baseline_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"weir/bpf/baseline"
	"weir/bpf/bpftest"
)

const (
	actionDrop = 1
	actionPass = 2
)

// TestMain fails the package if it leaves goroutines, programs or maps behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(bpftest.Left{M: m}) }

func udpFrom(last byte) []byte {
	ip := bpftest.IPv4{Src: netip.AddrFrom4([4]byte{192, 0, 2, last}), Dst: netip.MustParseAddr("198.51.100.1")}
	return bpftest.Eth(0x0800, ip.Packet(17, bpftest.UDP(1, 2)))
}

func wants(t *testing.T, r *baseline.Runner, packet []byte, verdicts ...uint32) {
	t.Helper()
	for i, want := range verdicts {
		if got, _, err := r.Once(packet); err != nil || got != want {
			t.Errorf("packet %d: verdict %d, %v, want %d", i, got, err, want)
		}
	}
}

func TestBPFLimitersHoldEachSourceToItsQuota(t *testing.T) {
	bpftest.Require(t, "5.15", "compare-and-swap")
	const hour = uint64(3600e9) << 4
	for name, r := range map[string]*baseline.Runner{
		"LRU":    bpftest.Runner(t)(baseline.LRU(1000, baseline.Quota{Interval: hour, Limit: 2 * hour})),
		"window": bpftest.Runner(t)(baseline.Window(1000, 1<<40)),
	} {
		t.Run(name, func(t *testing.T) {
			third := uint32(actionDrop)
			if name == "window" { // a second may end at any packet
				third = actionPass
			}
			wants(t, r, udpFrom(1), actionPass, actionPass, third)
			wants(t, r, udpFrom(2), actionPass)
			wants(t, r, bpftest.Eth(0x0806, make([]byte, 28)), actionPass)
		})
	}
	wants(t, bpftest.Runner(t)(baseline.Window(1000, 0)), udpFrom(1), actionPass, actionDrop, actionDrop)
}

func TestBPFLeastDropsEverySource(t *testing.T) {
	bpftest.Require(t, "5.15", "arrays")
	r := bpftest.Runner(t)(baseline.Least(4))
	for source := range byte(100) {
		wants(t, r, udpFrom(source), actionDrop)
	}
	wants(t, r, bpftest.Eth(0x0806, make([]byte, 28)), actionPass)
}

func TestBPFSprayChangesTheSourceAlone(t *testing.T) {
	bpftest.Require(t, "5.15", "tail calls")
	drop := bpftest.Runner(t)(baseline.Drop())
	for bits, differ := range map[int]uint32{0: 0, 8: 1<<8 - 1, 24: 1<<24 - 1, 32: 1<<32 - 1} {
		r := bpftest.Runner(t)(baseline.Spray(drop.Program(), bits))
		seen := map[uint32]bool{}
		for range 64 {
			in := udpFrom(1)
			verdict, out, err := r.Once(in)
			if err != nil || verdict != actionDrop || len(out) != len(in) {
				t.Fatalf("%d bits: verdict %d, %d bytes, %v", bits, verdict, len(out), err)
			}
			source := binary.BigEndian.Uint32(out[26:])
			if source&^differ != 10<<24&^differ {
				t.Errorf("%d bits: source %#x", bits, source)
			}
			seen[source] = true
			copy(out[26:], in[26:30])
			if string(out) != string(in) {
				t.Errorf("%d bits: the packet is now %x", bits, out)
			}
		}
		if bits == 0 && len(seen) != 1 || bits >= 8 && len(seen) < 32 {
			t.Errorf("%d bits: %d sources of 64 packets", bits, len(seen))
		}
	}
	if _, err := baseline.Spray(drop.Program(), 33); err == nil {
		t.Error("33 bits are taken")
	}
}

func TestBPFRewindMakesThePacketAnew(t *testing.T) {
	bpftest.Require(t, "5.15", "tail calls")
	drop := bpftest.Runner(t)(baseline.Drop())
	frame := make([]byte, baseline.FrameBytes)
	for i := range frame {
		frame[i] = byte(i + 1)
	}
	r := bpftest.Runner(t)(baseline.Rewind(drop.Program(), frame))
	if verdict, out, err := r.Once(make([]byte, len(frame))); err != nil || verdict != actionDrop || string(out) != string(frame) {
		t.Errorf("verdict %d, %x, %v", verdict, out, err)
	}
	if _, err := baseline.Rewind(drop.Program(), frame[1:]); err == nil {
		t.Error("a shorter packet is taken")
	}
}

func TestBPFRunTakesTimeOnEachCPU(t *testing.T) {
	bpftest.Require(t, "5.15", "test runs")
	drop := bpftest.Runner(t)(baseline.Drop())
	if took, err := drop.Run(udpFrom(1), 10_000); err != nil || took <= 0 {
		t.Errorf("%v, %v", took, err)
	}
	cpus, err := baseline.CPUs()
	if err != nil || len(cpus) == 0 {
		t.Fatalf("%v, %v", cpus, err)
	}
	took, err := drop.RunOn(cpus, udpFrom(1), 10_000)
	if err != nil || len(took) != len(cpus) {
		t.Fatalf("%v, %v", took, err)
	}
	for i, d := range took {
		if d <= 0 {
			t.Errorf("CPU %d: %v", cpus[i], d)
		}
	}
	if _, err := drop.RunOn([]int{1023}, udpFrom(1), 1); err == nil {
		t.Error("a CPU that is not there ran it")
	}
}

// What a packet costs that is dropped at once. It needs root.
func ExampleDrop() {
	drop, err := baseline.Drop()
	if err != nil {
		fmt.Fprintln(io.Discard, err)
		return
	}
	defer drop.Close() //nolint:errcheck // nothing to do about it
	const repeat = 1_000_000
	took, err := drop.Run(make([]byte, 64), repeat)
	fmt.Fprintf(io.Discard, "%.1f ns, %v", float64(took.Nanoseconds())/repeat, err)
}
