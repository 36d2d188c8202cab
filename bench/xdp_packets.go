package bench

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// TCP's flags, and where in a frame without VLAN tags or IP options its fields are (RFC 9293
// section 3.1).
const (
	flagSYN = 0x02
	flagACK = 0x10

	ipAt     = 14
	tcpAt    = ipAt + 20
	tcpSeq   = tcpAt + 4
	tcpAck   = tcpAt + 8
	tcpFlags = tcpAt + 13
)

// ipv4Frame is an Ethernet frame with an IPv4 packet. Checksums are left out: no program here
// looks at one.
func ipv4Frame(from, to netip.Addr, proto byte, payload []byte) []byte {
	b := make([]byte, tcpAt, tcpAt+len(payload))
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0})
	ip := b[ipAt:]
	ip[0], ip[8], ip[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(payload))) //nolint:gosec // small
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.AsSlice())
	return append(b, payload...)
}

func tcp(to netip.AddrPort, flags byte, options ...byte) []byte {
	const sourcePort = 40000
	b := make([]byte, 20, 20+len(options))
	binary.BigEndian.PutUint16(b, sourcePort)
	binary.BigEndian.PutUint16(b[2:], to.Port())
	b[12], b[13] = byte((20+len(options))/4<<4), flags //nolint:gosec // at most 60
	return append(b, options...)
}

func tcpFrame(from netip.Addr, to netip.AddrPort, flags byte) []byte {
	return ipv4Frame(from, to.Addr(), 6, tcp(to, flags))
}

// synFrame is a SYN with an MSS, as long as the answer to it.
func synFrame(from netip.Addr, to netip.AddrPort) []byte {
	return ipv4Frame(from, to.Addr(), 6, tcp(to, flagSYN, 2, 4, 1460>>8, 1460&0xff))
}

// ackOf is the ACK that follows a SYN that was answered with a sequence number.
func ackOf(syn []byte, seq uint32) []byte {
	b := slices.Clone(syn)
	binary.BigEndian.PutUint32(b[tcpSeq:], binary.BigEndian.Uint32(b[tcpSeq:])+1)
	binary.BigEndian.PutUint32(b[tcpAck:], seq+1)
	b[tcpFlags] = flagACK
	return b
}

func udpFrame(from netip.Addr, to netip.AddrPort) []byte {
	b := []byte{0x9c, 0x40, 0, 0, 0, 8, 0, 0}
	binary.BigEndian.PutUint16(b[2:], to.Port())
	return ipv4Frame(from, to.Addr(), 17, b)
}
