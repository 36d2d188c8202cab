// Package bpftest builds packets, asks for kernel features, and runs tests in network
// namespaces of their own.
package bpftest

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
)

// Slow reports whether the machine is emulated (BPFTEST_SLOW=1).
func Slow() bool { return os.Getenv("BPFTEST_SLOW") == "1" }

// Often is how often a test does the same: n times, or slow times where the machine is [Slow].
func Often(n, slow int) int {
	if Slow() {
		return slow
	}
	return n
}

// MinPacket is the least a test run of an XDP program takes: an Ethernet header.
const MinPacket = 14

// Eth is an Ethernet frame with the type and payload.
func Eth(proto uint16, payload []byte) []byte {
	b := make([]byte, 12, MinPacket+len(payload))
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2})
	b = binary.BigEndian.AppendUint16(b, proto)
	return append(b, payload...)
}

// VLAN is what follows an Ethernet type of 0x8100 or 0x88a8: a tag and what it carries.
func VLAN(proto uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, 42}, proto)
	return append(b, payload...)
}

// IPv4 is a header's variable parts.
type IPv4 struct {
	Src, Dst netip.Addr
	Frag     uint16 // flags and offset
	Options  []byte // a multiple of four bytes
}

// Packet is the header with a right checksum, and the payload.
func (h IPv4) Packet(proto byte, payload []byte) []byte {
	length := 20 + len(h.Options)
	b := make([]byte, length, length+len(payload))
	b[0] = 0x40 | byte(length/4)
	binary.BigEndian.PutUint16(b[2:], uint16(length+len(payload))) //nolint:gosec // a test's packet
	binary.BigEndian.PutUint16(b[6:], h.Frag)
	b[8], b[9] = 64, proto
	copy(b[12:], h.Src.AsSlice())
	copy(b[16:], h.Dst.AsSlice())
	copy(b[20:], h.Options)
	binary.BigEndian.PutUint16(b[10:], Checksum(b))
	return append(b, payload...)
}

// IPv6 is a header's variable parts.
type IPv6 struct{ Src, Dst netip.Addr }

// Packet is the header and the payload.
func (h IPv6) Packet(next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload))) //nolint:gosec // a test's packet
	b[6], b[7] = next, 64
	copy(b[8:], h.Src.AsSlice())
	copy(b[24:], h.Dst.AsSlice())
	return append(b, payload...)
}

// WithExts is Packet with extension headers of the kinds given, 8 bytes each, before the
// payload.
func (h IPv6) WithExts(next byte, payload []byte, kinds ...byte) []byte {
	body := payload
	for _, kind := range slices.Backward(kinds) {
		ext := make([]byte, 8)
		ext[0] = next
		body = append(ext, body...)
		next = kind
	}
	return h.Packet(next, body)
}

// TCP is a SYN without options; UDP a datagram without payload. Checksums are zero.
func TCP(src, dst uint16) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	b[12], b[13] = 5<<4, 2
	return b
}

// UDP is a datagram without payload or checksum.
func UDP(src, dst uint16) []byte {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	b[5] = 8
	return b
}

// Checksum is the Internet checksum (RFC 1071).
func Checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum) //nolint:gosec // folded above
}
