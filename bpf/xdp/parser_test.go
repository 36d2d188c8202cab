//go:build linux

package xdp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"weir/bpf/bpftest"
)

// model is the parser in Go, written from the standards and not from the C: the reason to refuse
// a frame, or ReasonPassQuota and the client it is charged to.
func model(frame []byte) (Reason, netip.Prefix) {
	if len(frame) < 14 {
		return ReasonEthShort, netip.Prefix{}
	}
	proto, rest := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for tags := 0; proto == 0x8100 || proto == 0x88a8; tags++ {
		if tags == 2 {
			return ReasonVLANDepth, netip.Prefix{}
		}
		if len(rest) < 4 {
			return ReasonVLANShort, netip.Prefix{}
		}
		proto, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	switch proto {
	case 0x0800:
		return model4(rest)
	case 0x86dd:
		return model6(rest)
	}
	return ReasonPassNotIP, netip.Prefix{}
}

func model4(b []byte) (Reason, netip.Prefix) {
	if len(b) < 20 {
		return ReasonIPv4Short, netip.Prefix{}
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < 20 || total < header {
		return ReasonIPv4Bad, netip.Prefix{}
	}
	if len(b) < total {
		return ReasonIPv4Short, netip.Prefix{}
	}
	if first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0; first {
		if reason := transport(b[9], b[header:total]); reason.Drops() {
			return reason, netip.Prefix{}
		}
	}
	return ReasonPassQuota, netip.PrefixFrom(netip.AddrFrom4([4]byte(b[12:])), 32)
}

func model6(b []byte) (Reason, netip.Prefix) {
	if len(b) < 40 {
		return ReasonIPv6Short, netip.Prefix{}
	}
	if b[0]>>4 != 6 {
		return ReasonIPv6Bad, netip.Prefix{}
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < 40+length {
		return ReasonIPv6Short, netip.Prefix{}
	}
	client := netip.PrefixFrom(netip.AddrFrom16([16]byte(b[8:])), 64).Masked()
	// Headers are walked by the frame's end, and then held to the packet's: a header in the
	// padding is cut short.
	next, rest, used := b[6], b[40:], 0
	for headers := 0; isExt(next); headers++ {
		if headers == 6 {
			return orShort(ReasonExtDepth, used, length), netip.Prefix{}
		}
		n := extLength(next, rest)
		if n > len(rest) {
			return ReasonExtShort, netip.Prefix{}
		}
		later := next == 44 && binary.BigEndian.Uint16(rest[2:])>>3 != 0
		next, rest, used = rest[0], rest[n:], used+n
		if later {
			return orShort(ReasonPassQuota, used, length), client
		}
	}
	if used > length {
		return ReasonExtShort, netip.Prefix{}
	}
	payload := b[40+used : 40+length]
	if reason := transport(next, payload); reason.Drops() {
		return reason, netip.Prefix{}
	}
	// RFC 4861 section 7.1.1: a hop limit of 255 shows that no router passed it on.
	if next == 58 && b[7] == 255 && payload[0] >= 133 && payload[0] <= 137 {
		return ReasonPassNeighbor, netip.Prefix{}
	}
	return ReasonPassQuota, client
}

func orShort(r Reason, used, length int) Reason {
	if used > length {
		return ReasonExtShort
	}
	return r
}

// isExt reports whether a next header is an extension's: hop-by-hop, routing, fragment,
// authentication, destination.
func isExt(next byte) bool {
	return next == 0 || next == 43 || next == 44 || next == 51 || next == 60
}

// extLength is an extension header's length: RFC 8200 section 4, RFC 4302 section 2.2.
func extLength(kind byte, b []byte) int {
	switch {
	case len(b) < 8:
		return 8
	case kind == 44:
		return 8
	case kind == 51:
		return (int(b[1]) + 2) * 4
	}
	return (int(b[1]) + 1) * 8
}

// transport is what is wrong with a TCP, UDP or ICMP header, or ReasonPassQuota.
func transport(proto byte, b []byte) Reason {
	least := map[byte]int{6: 20, 17: 8, 1: 8, 58: 8}[proto]
	if len(b) < least {
		return ReasonL4Short
	}
	if proto != 6 {
		return ReasonPassQuota
	}
	offset, flags := int(b[12]>>4)*4, b[13]
	switch {
	case offset < 20 || offset > len(b):
		return ReasonTCPBad
	case flags&syn != 0 && flags&(fin|rst) != 0:
		return ReasonTCPBad
	case flags&(syn|ack|rst) == 0:
		return ReasonTCPBad
	}
	return ReasonPassQuota
}

// compare holds the program to the model on one frame.
func compare(tb testing.TB, p *Program, frame []byte) {
	tb.Helper()
	reason, client := model(frame)
	verdict, moved := run(tb, p, frame)
	wantVerdict, wantMoved := uint32(actionPass), "pass/"+reason.String()
	if reason.Drops() {
		wantVerdict, wantMoved = actionDrop, "drop/"+reason.String()
	}
	if verdict != wantVerdict || moved != wantMoved {
		tb.Errorf("%x: verdict %d, counted %q, want %d, %q", frame, verdict, moved, wantVerdict, wantMoved)
	}
	if !client.IsValid() || reason != ReasonPassQuota {
		return
	}
	top, _, err := p.Top(16, ByPackets)
	if err != nil {
		tb.Fatal(err)
	}
	var last Client
	for _, c := range top {
		if c.SeenNanos > last.SeenNanos {
			last = c
		}
	}
	if last.Prefix != client {
		tb.Errorf("%x: charged to %v, want %v", frame, last.Prefix, client)
	}
}

// unlimited passes whatever is parsed, and remembers the last clients.
func unlimited(tb testing.TB) *Program {
	tb.Helper()
	p := load(tb, Config{Slots: 16})
	setPolicy(tb, p, Policy{Pass: []Reason{ReasonFragment}}, ModeEnforce)
	return p
}

func TestBPFParserAgreesWithTheModel(t *testing.T) {
	p := unlimited(t)
	rng := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same each time
	all := shapes()
	for range bpftest.Often(5000, 200) {
		compare(t, p, mutated(rng, all[rng.IntN(len(all))].packet))
		if t.Failed() {
			return
		}
	}
}

// interesting are bytes that a parser decides by: types, next headers, versions and lengths.
var interesting = []byte{0, 1, 4, 5, 6, 17, 43, 44, 51, 58, 60, 0x08, 0x45, 0x46, 0x4f, 0x60, 0x81, 0x86, 0x88, 0xa8, 0xdd, 0xff}

func mutated(rng *rand.Rand, packet []byte) []byte {
	b := append([]byte{}, packet...)
	for range rng.IntN(4) {
		if len(b) <= bpftest.MinPacket {
			break
		}
		at := 12 + rng.IntN(len(b)-12)
		if rng.IntN(2) == 0 {
			b[at] = interesting[rng.IntN(len(interesting))]
		} else {
			b[at] ^= 1 << rng.IntN(8)
		}
	}
	if rng.IntN(3) == 0 {
		b = b[:bpftest.MinPacket+rng.IntN(len(b)-bpftest.MinPacket+1)]
	}
	return append(b, make([]byte, rng.IntN(3)*rng.IntN(40))...)
}

func FuzzParser(f *testing.F) {
	p := unlimited(f)
	for _, s := range shapes() {
		f.Add(s.packet)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < bpftest.MinPacket || len(frame) > 1500 {
			return
		}
		compare(t, p, frame)
		// What is near it, too: the program's ways are not seen by what looks for new inputs.
		rng := rand.New(rand.NewPCG(uint64(len(frame)), uint64(frame[len(frame)/2]))) //nolint:gosec // the same each time
		for range 200 {
			compare(t, p, mutated(rng, frame))
		}
	})
}
