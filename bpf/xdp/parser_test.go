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
	header := int(b[0]&15) * 4
	if b[0]>>4 != 4 || header < 20 || int(binary.BigEndian.Uint16(b[2:])) < header {
		return ReasonIPv4Bad, netip.Prefix{}
	}
	if len(b) < header {
		return ReasonIPv4Short, netip.Prefix{}
	}
	if first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0; first && len(b)-header < transport(b[9]) {
		return ReasonL4Short, netip.Prefix{}
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
	client := netip.PrefixFrom(netip.AddrFrom16([16]byte(b[8:])), 64).Masked()
	next, rest := b[6], b[40:]
	for headers := 0; ; headers++ {
		unit, plus := 0, 0
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination: RFC 8200 section 4
			unit, plus = 8, 1
		case 51: // authentication: RFC 4302 section 2.2
			unit, plus = 4, 2
		case 44: // fragment: RFC 8200 section 4.5
		default:
			if len(rest) < transport(next) {
				return ReasonL4Short, netip.Prefix{}
			}
			return ReasonPassQuota, client
		}
		if headers == 6 {
			return ReasonExtDepth, netip.Prefix{}
		}
		if len(rest) < 8 {
			return ReasonExtShort, netip.Prefix{}
		}
		length := 8
		if next != 44 {
			length = (int(rest[1]) + plus) * unit
		}
		if len(rest) < length {
			return ReasonExtShort, netip.Prefix{}
		}
		if next == 44 && binary.BigEndian.Uint16(rest[2:])>>3 != 0 {
			return ReasonPassQuota, client // a later fragment
		}
		next, rest = rest[0], rest[length:]
	}
}

func transport(proto byte) int {
	switch proto {
	case 6:
		return 20
	case 17, 1, 58:
		return 8
	}
	return 0
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
	if !client.IsValid() {
		return
	}
	top, _, err := p.Top(16)
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
	if err := p.SetMode(ModeEnforce); err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestBPFParserAgreesWithTheModel(t *testing.T) {
	p := unlimited(t)
	rng := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same each time
	all := shapes()
	for range 5000 {
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
	})
}
