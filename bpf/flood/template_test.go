package flood

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var testEnds = ends{
	from: net.HardwareAddr{2, 0, 0, 0, 0, 1}, to: net.HardwareAddr{2, 0, 0, 0, 0, 2},
	target4: netip.MustParseAddr("198.18.0.1"), target6: netip.MustParseAddr("2001:db8::1"), port: 8000, vlan: 42, sequenceSeen: 7,
}

// seen is what a frame is, as a parser of its own reads it.
type seen struct {
	layers   string // such as "vlan vlan ipv6 ext60 frag tcp-syn"
	src, dst netip.Addr
	id       uint32
	port     uint16 // the source's
	seq      uint32
}

// parse reads a frame and checks its lengths and checksums.
func parse(b []byte) (s seen, err error) {
	var layers []string
	defer func() {
		s.layers = strings.Join(layers, " ")
		if r := recover(); r != nil {
			err = fmt.Errorf("after %q the frame is cut: %v", layers, r)
		}
	}()
	proto := binary.BigEndian.Uint16(b[12:])
	b = b[14:]
	for proto == ethVLAN || proto == ethServiceTag {
		layers = append(layers, fmt.Sprintf("vlan%d", binary.BigEndian.Uint16(b)))
		proto, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	next, first, whole := byte(0), true, true
	switch proto {
	case ethIPv4:
		layers = append(layers, "ipv4")
		if b[0] != 0x45 || int(binary.BigEndian.Uint16(b[2:])) != len(b) || checksum(b[:20]) != 0 {
			return s, fmt.Errorf("IPv4 header % x of %d bytes", b[:20], len(b))
		}
		s.src, s.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		s.id = uint32(binary.BigEndian.Uint16(b[4:]))
		frag := binary.BigEndian.Uint16(b[6:])
		if frag != 0 {
			layers = append(layers, fmt.Sprintf("frag%d", frag&0x1fff*8))
			first, whole = frag&0x1fff == 0, false
		}
		next, b = b[9], b[20:]
	case ethIPv6:
		layers = append(layers, "ipv6")
		if b[0] != 0x60 || int(binary.BigEndian.Uint16(b[4:])) != len(b)-40 {
			return s, fmt.Errorf("IPv6 header % x of %d bytes", b[:40], len(b))
		}
		s.src, s.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		next, b = b[6], b[40:]
		for slices.Contains([]byte{extHopByHop, extRouting, extFragment, extDestOption}, next) {
			layers = append(layers, fmt.Sprintf("ext%d", next))
			if next == extFragment {
				first, whole = binary.BigEndian.Uint16(b[2:])>>3 == 0, false
				s.id = binary.BigEndian.Uint32(b[4:])
			}
			next, b = b[0], b[8:]
		}
	default:
		return s, fmt.Errorf("type %#x", proto)
	}
	if !first {
		layers = append(layers, fmt.Sprintf("rest%d", len(b)))
		return s, nil
	}
	s.port = binary.BigEndian.Uint16(b)
	if binary.BigEndian.Uint16(b[2:]) != testEnds.port {
		return s, fmt.Errorf("to port %d", binary.BigEndian.Uint16(b[2:]))
	}
	if !whole {
		layers = append(layers, fmt.Sprintf("start%d", len(b)))
		s.seq = binary.BigEndian.Uint32(b[4:])
		return s, nil
	}
	pseudo := append(append(s.src.AsSlice(), s.dst.AsSlice()...), 0, next, 0, byte(len(b)))
	if sum := checksum(append(pseudo, b...)); sum != 0 {
		return s, fmt.Errorf("checksum of protocol %d is off by %#x", next, sum)
	}
	switch next {
	case protoTCP:
		layers = append(layers, fmt.Sprintf("tcp%#x", b[13]))
		s.seq = binary.BigEndian.Uint32(b[4:])
		if int(b[12]>>4)*4 != len(b) {
			return s, fmt.Errorf("TCP header of %d bytes says %d", len(b), b[12]>>4*4)
		}
	case protoUDP:
		layers = append(layers, "udp")
		if int(binary.BigEndian.Uint16(b[4:])) != len(b) || b[6] == 0 && b[7] == 0 {
			return s, fmt.Errorf("UDP header % x of %d bytes", b[:8], len(b))
		}
	default:
		return s, fmt.Errorf("protocol %d", next)
	}
	return s, nil
}

// wantLayers are each kind's frames.
var wantLayers = map[Kind][]string{
	KindSYN:       {"ipv4 tcp0x2", "ipv6 tcp0x2"},
	KindACK:       {"ipv4 tcp0x10", "ipv6 tcp0x10"},
	KindRST:       {"ipv4 tcp0x4", "ipv6 tcp0x4"},
	KindUDP:       {"ipv4 udp", "ipv6 udp"},
	KindFragments: {"ipv4 frag1480 rest64", "ipv6 ext44 rest64", "ipv4 frag0 start8", "ipv6 ext44 start8"},
	KindVLAN:      {"vlan42 ipv4 tcp0x2", "vlan42 ipv6 tcp0x2", "vlan42 vlan42 ipv4 tcp0x2", "vlan42 vlan42 ipv6 tcp0x2"},
	KindExt: {
		"ipv6 ext0 tcp0x2", "ipv6 ext0 ext60 tcp0x2", "ipv6 ext0 ext60 ext43 tcp0x2", "ipv6 ext0 ext60 ext43 ext60 tcp0x2",
		"ipv6 ext0 ext60 ext43 ext60 ext60 tcp0x2", "ipv6 ext0 ext60 ext43 ext60 ext60 ext60 tcp0x2", "ipv6 ext0 ext60 ext43 ext60 ext60 ext60 ext60 ext60 tcp0x2",
	},
	KindConnect: nil,
}

func layersOf(k Kind) []string {
	if k != KindMix {
		return wantLayers[k]
	}
	var all []string
	for _, part := range Kinds() {
		all = append(all, wantLayers[part]...)
	}
	return all
}

func TestEachKindHasItsFramesWithRoomForWhatTheProgramWrites(t *testing.T) {
	for _, kind := range Kinds() {
		shapes, want := kind.shapes(), layersOf(kind)
		if len(shapes) != len(want) || len(shapes) > maxTemplates {
			t.Fatalf("%s has %d frames, want %d", kind, len(shapes), len(want))
		}
		for i, s := range shapes {
			tmpl := s.template(testEnds)
			got, err := parse(tmpl.Frame[:tmpl.Len])
			if err != nil || got.layers != want[i] {
				t.Errorf("%s is %q, want %q: %v", s.name, got.layers, want[i], err)
				continue
			}
			addr, id := 4, 2
			if s.v6 {
				addr, id = 16, 4
			}
			for _, f := range []struct {
				offset uint8
				bytes  int
			}{{tmpl.Source, addr}, {tmpl.Id, id}, {tmpl.Port, 2}, {tmpl.Seq, 4}} {
				if field := tmpl.Frame[f.offset:][:f.bytes]; f.offset != 0 && slices.Max(field) != 0 {
					t.Errorf("%s: the program adds to a checksum as if % x were zeros", s.name, field)
				}
			}
		}
	}
}

func TestConfigurationThatCannotFloodIsRefused(t *testing.T) {
	target4, target6 := netip.MustParseAddrPort("198.18.0.1:8000"), netip.MustParseAddrPort("[2001:db8::1]:8000")
	from4 := []netip.Addr{netip.MustParseAddr("198.18.2.1")}
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no target", Config{Kind: KindSYN, Sources: from4}, "want a target"},
		{"two ports", Config{Kind: KindSYN, Sources: from4, Targets: []netip.AddrPort{target4, netip.MustParseAddrPort("[2001:db8::1]:1")}}, "one port"},
		{"no source of the family", Config{Kind: KindSYN, Sources: from4, Targets: []netip.AddrPort{target4, target6}}, "want sources of its family"},
		{"too many sources", Config{Kind: KindSYN, Sources: make([]netip.Addr, maxSources+1), Targets: []netip.AddrPort{target6}}, "at most 4096"},
		{"extension headers over IPv4", Config{Kind: KindExt, Sources: from4, Targets: []netip.AddrPort{target4}}, "0 kinds of frames"},
	} {
		all, _, err := tt.cfg.families()
		if err == nil {
			_, err = tt.cfg.templates(all, testEnds)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := ParseKind("sin"); err == nil || !strings.Contains(err.Error(), "syn, ack") {
		t.Errorf("a kind that is none: %v", err)
	}
}

func TestPacerKeepsItsRateAndForgetsWhatIsLongOverdue(t *testing.T) {
	p := newPacer(10_000)
	defer p.stop()
	start := time.Now()
	p.last = start
	sum := 0
	for ms := 1; ms <= 1000; ms++ {
		sum += p.take(start.Add(time.Duration(ms)*time.Millisecond), freeRunForTest)
	}
	if sum < 9999 || sum > 10_000 {
		t.Errorf("%d in a second at 10000/s", sum)
	}
	if n := p.take(start.Add(time.Minute), freeRunForTest); n != 1000 {
		t.Errorf("%d after a minute's pause, want what is due in 100 ms", n)
	}
	slow := newPacer(2)
	defer slow.stop()
	slow.last = start
	if a, b := slow.take(start.Add(400*time.Millisecond), 1), slow.take(start.Add(501*time.Millisecond), 1); a != 0 || b != 1 {
		t.Errorf("at 2/s: %d after 0.4 s, %d after 0.5 s", a, b)
	}
}

const freeRunForTest = 4096
