package proxyproto

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
)

const (
	// MaxLineBytes is the longest line of version 1, with its CR LF (section 2.1).
	MaxLineBytes = 107
	// MaxBytes bounds a header. The format allows 64 KiB of extensions; what proxies send is
	// addresses, names, and a client's certificate at most.
	MaxBytes = 16 << 10

	fixedBytes = 16
)

const (
	lineSignature   = "PROXY "
	binarySignature = "\r\n\r\n\x00\r\nQUIT\n"
)

// Header is what a proxy says.
type Header struct {
	// Source is whom the proxy speaks for. The zero value says that it speaks for itself (as
	// for a check of our health) or does not tell: the address of the socket holds.
	Source netip.AddrPort
}

// Parse reads a header from the start of b; n is its length. With [ErrShort] n is how long b has
// to be for it to be worth asking again; what cannot become a header is refused at its first wrong
// byte.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case begins(b, lineSignature):
		return parseLine(b)
	case begins(b, binarySignature):
		return parseBinary(b)
	}
	return Header{}, 0, ErrSignature
}

// begins reports whether b begins with a signature, as far as both go.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

// parseLine is version 1, in ASCII:
//
//	PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 CR LF
//	PROXY TCP6 2001:db8::1 2001:db8::2 56324 443 CR LF
//	PROXY UNKNOWN [anything] CR LF
func parseLine(b []byte) (Header, int, error) {
	window := b[:min(len(b), MaxLineBytes)]
	end := bytes.IndexByte(window, '\n')
	if end < 0 {
		if len(b) >= MaxLineBytes {
			return Header{}, 0, ErrTooLong
		}
		return Header{}, len(b) + 1, ErrShort
	}
	if end < len(lineSignature) || window[end-1] != '\r' {
		return Header{}, 0, ErrLine
	}
	line := window[len(lineSignature) : end-1]
	family, rest, has := bytes.Cut(line, []byte(" "))
	if string(family) == "UNKNOWN" {
		return Header{}, end + 1, nil
	}
	fields := bytes.Split(rest, []byte(" "))
	if !has || len(fields) != 4 {
		return Header{}, 0, ErrLine
	}
	source, ok := parseAddr(string(family), fields[0])
	_, ok2 := parseAddr(string(family), fields[1])
	port, ok3 := parsePort(fields[2])
	_, ok4 := parsePort(fields[3])
	if !ok || !ok2 || !ok3 || !ok4 {
		return Header{}, 0, ErrLine
	}
	return Header{netip.AddrPortFrom(source, port)}, end + 1, nil
}

// parseAddr reads an address of a line's family.
func parseAddr(family string, b []byte) (netip.Addr, bool) {
	a, err := netip.ParseAddr(string(b))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	switch family {
	case "TCP4":
		return a, a.Is4()
	case "TCP6":
		return a, a.Is6()
	}
	return netip.Addr{}, false
}

// parsePort reads a port as a line has it: decimal, without a sign or a leading 0.
func parsePort(b []byte) (uint16, bool) {
	if len(b) == 0 || b[0] == '0' && len(b) > 1 || b[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b), 10, 16)
	return uint16(n), err == nil //nolint:gosec // 16 bits were asked for
}

// parseBinary is version 2:
//
//	 0                                      12      13        14        16
//	+---------------------------------------+-------+---------+---------+------------------+
//	| signature                             |version|family   | length, | addresses, ports,|
//	| 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A   |command|transport| big-end.| extensions (TLV) |
//	+---------------------------------------+-------+---------+---------+------------------+
//
// Addresses: source, destination; then the ports in the same order.
func parseBinary(b []byte) (Header, int, error) {
	// What is wrong is said as soon as its byte is there.
	if len(b) > 12 {
		if b[12]>>4 != 2 {
			return Header{}, 0, ErrVersion
		}
		if b[12]&0xf > 1 {
			return Header{}, 0, ErrCommand
		}
	}
	if len(b) < fixedBytes {
		return Header{}, fixedBytes, ErrShort
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	n := fixedBytes + length
	if n > MaxBytes {
		return Header{}, 0, ErrTooLong
	}
	addrBytes, err := sourceBytes(b[12]&0xf, b[13])
	if err != nil {
		return Header{}, 0, err
	}
	if 2*addrBytes > 0 && length < 2*addrBytes+4 {
		return Header{}, 0, ErrTooShort
	}
	if len(b) < n {
		return Header{}, n, ErrShort
	}
	if addrBytes == 0 {
		return Header{}, n, nil
	}
	source, _ := netip.AddrFromSlice(b[fixedBytes : fixedBytes+addrBytes])
	return Header{netip.AddrPortFrom(source, binary.BigEndian.Uint16(b[fixedBytes+2*addrBytes:]))}, n, nil
}

// Commands, families and transports of version 2 (section 2.2).
const (
	commandLocal = 0
	familyIPv4   = 1
	familyIPv6   = 2
	familyMax    = 3 // UNIX
	streams      = 1 // TCP
	transportMax = 2 // datagrams
)

// sourceBytes is the length of the source's address, 0 where there is none that a conn could have:
// LOCAL, whose family is not looked at, and families or transports other than TCP over IP.
func sourceBytes(command, kind byte) (int, error) {
	family, transport := kind>>4, kind&0xf
	switch {
	case command == commandLocal:
		return 0, nil
	case family > familyMax || transport > transportMax:
		return 0, ErrFamily
	case family == familyIPv4 && transport == streams:
		return 4, nil
	case family == familyIPv6 && transport == streams:
		return 16, nil
	}
	return 0, nil
}
