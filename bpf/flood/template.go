package flood

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

// Sizes of flood.c.
const (
	frameBytes   = len(floodTemplate{}.Frame)
	maxTemplates = 64
	maxSources   = 4096
)

// Ethernet types.
const (
	ethIPv4       = 0x0800
	ethIPv6       = 0x86dd
	ethVLAN       = 0x8100
	ethServiceTag = 0x88a8
)

// udpPayload is a datagram's bytes.
const udpPayload = 18

// ends are a frame's.
type ends struct {
	from, to     net.HardwareAddr
	target4      netip.Addr
	target6      netip.Addr
	port         uint16
	vlan         uint16
	sequenceSeen uint32 // what an ACK acknowledges
}

// template builds a shape's. All that flood.c writes is zero, and checksums are right for that.
func (s shape) template(e ends) (t floodTemplate) {
	b := append(append(make([]byte, 0, frameBytes), e.to...), e.from...)
	for i := range s.vlans {
		tag := uint16(ethVLAN)
		if i == 0 && s.vlans > 1 {
			tag = ethServiceTag
		}
		b = binary.BigEndian.AppendUint16(b, tag)
		b = binary.BigEndian.AppendUint16(b, e.vlan)
	}
	l4, check, seq := s.transport(e)
	if s.frag != nil {
		if s.frag.offset > 0 {
			l4, seq = make([]byte, s.frag.bytes), 0
		}
		l4, check = l4[:s.frag.bytes], 0 // what follows would have the rest of the header
	}
	if s.v6 {
		b = s.ipv6(b, e, len(l4), &t)
	} else {
		b = s.ipv4(b, e, len(l4), &t)
	}
	start := len(b)
	b = append(b, l4...)
	place := func(offset int) uint8 {
		if offset == 0 {
			return 0
		}
		return uint8(start + offset) //nolint:gosec // within frameBytes
	}
	t.L4Check, t.Seq = place(check), place(seq)
	if s.frag == nil || s.frag.offset == 0 {
		t.Port = uint8(start) //nolint:gosec // within frameBytes
	}
	t.Len = uint8(len(b)) //nolint:gosec // within frameBytes, which the copy below would show
	copy(t.Frame[:], b)
	return t
}

// transport is the header of TCP or UDP and its payload, with a checksum for a source of zeros,
// and where in it are the checksum and the sequence number, 0 for none.
func (s shape) transport(e ends) (b []byte, check, seq int) {
	target := e.target4
	if s.v6 {
		target = e.target6
	}
	b = binary.BigEndian.AppendUint16(make([]byte, 2), e.port)
	if s.proto == protoUDP {
		b = binary.BigEndian.AppendUint16(b, 8+udpPayload)
		b = append(b, make([]byte, 2+udpPayload)...)
		check = 6
	} else {
		b = append(b, make([]byte, 4)...)
		acknowledged := uint32(0)
		if s.flags&flagACK != 0 {
			acknowledged = e.sequenceSeen
		}
		b = binary.BigEndian.AppendUint32(b, acknowledged)
		b = append(b, 5<<4, s.flags)
		b = binary.BigEndian.AppendUint16(b, 65535)
		b = append(b, 0, 0, 0, 0)
		if s.flags == flagSYN {
			b[12] = 6 << 4
			b = append(b, 2, 4, 1460>>8, 1460&0xff) // the maximum segment size, as all SYNs have it
		}
		check, seq = 16, 4
	}
	pseudo := append(target.AsSlice(), 0, s.proto, 0, byte(len(b)))
	binary.BigEndian.PutUint16(b[check:], checksum(append(pseudo, b...)))
	return b, check, seq
}

// ipv4 appends the header and sets the offsets in it.
func (s shape) ipv4(b []byte, e ends, payload int, t *floodTemplate) []byte {
	b = binary.BigEndian.AppendUint16(b, ethIPv4)
	at := len(b)
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45, 64, s.proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+payload)) //nolint:gosec // within frameBytes
	if s.frag != nil {
		const more = 1 << 13
		binary.BigEndian.PutUint16(h[6:], more|uint16(s.frag.offset/8)) //nolint:gosec // a small offset
	}
	copy(h[16:], e.target4.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	t.Id, t.IpCheck, t.Source = uint8(at+4), uint8(at+10), uint8(at+12) //nolint:gosec // within frameBytes
	return append(b, h...)
}

// ipv6 appends the header and those that extend it, and sets the offsets in them.
func (s shape) ipv6(b []byte, e ends, payload int, t *floodTemplate) []byte {
	b = binary.BigEndian.AppendUint16(b, ethIPv6)
	at := len(b)
	kinds := s.exts
	if s.frag != nil {
		kinds = append(slices.Clip(kinds), extFragment)
	}
	next := func(i int) byte { // what header i is followed by
		if i < len(kinds) {
			return kinds[i]
		}
		return s.proto
	}
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(8*len(kinds)+payload)) //nolint:gosec // within frameBytes
	b = append(b, next(0), 64)
	b = append(b, make([]byte, 16)...)
	b = append(b, e.target6.AsSlice()...)
	for i, kind := range kinds {
		switch kind {
		case extFragment:
			t.Id = uint8(len(b) + 4) //nolint:gosec // within frameBytes
			b = append(b, next(i+1), 0)
			b = binary.BigEndian.AppendUint16(b, uint16(s.frag.offset)|1) //nolint:gosec // a small offset; 1: more follow
			b = append(b, 0, 0, 0, 0)
		case extRouting:
			b = append(b, next(i+1), 0, 253, 0, 0, 0, 0, 0) // an experiment's type (RFC 4727), no segments left
		default:
			b = append(b, next(i+1), 0, 1, 4, 0, 0, 0, 0) // six bytes of padding
		}
	}
	t.V6, t.Source = 1, uint8(at+8) //nolint:gosec // within frameBytes
	return b
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i, v := range b {
		sum += uint32(v) << (8 * (1 - i%2))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum) //nolint:gosec // folded above
}
