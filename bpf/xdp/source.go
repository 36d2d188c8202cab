package xdp

import (
	"encoding/binary"
	"net/netip"
)

// Flow is what a sample's first bytes say of who sent it to whom.
type Flow struct {
	// From and To have port 0 where there is none. They are zero for what is not IP.
	From, To netip.AddrPort
	// Proto is the IP protocol.
	Proto uint8
}

// Flow reads the packet's first bytes: as much as they tell.
func (s Sample) Flow() Flow {
	b := s.Data
	if len(b) < 14 {
		return Flow{}
	}
	kind, rest := binary.BigEndian.Uint16(b[12:]), b[14:]
	for (kind == 0x8100 || kind == 0x88a8) && len(rest) >= 4 {
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	switch {
	case kind == 0x0800 && len(rest) >= 20:
		header := int(rest[0]&15) * 4
		return flow(rest[12:16], rest[16:20], rest[9], rest[min(header, len(rest)):])
	case kind == 0x86dd && len(rest) >= 40:
		return flow(rest[8:24], rest[24:40], rest[6], rest[40:])
	}
	return Flow{}
}

func flow(from, to []byte, proto uint8, rest []byte) Flow {
	var ports [2]uint16
	if (proto == 6 || proto == 17) && len(rest) >= 4 {
		ports[0], ports[1] = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	}
	a, _ := netip.AddrFromSlice(from) // their lengths are those of addresses
	b, _ := netip.AddrFromSlice(to)
	return Flow{netip.AddrPortFrom(a, ports[0]), netip.AddrPortFrom(b, ports[1]), proto}
}
