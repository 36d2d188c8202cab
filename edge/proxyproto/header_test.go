package proxyproto

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// v2 is a binary header: version and command, family and transport, then what follows.
func v2(command, kind byte, body string) string {
	return binarySignature + string([]byte{command, kind, byte(len(body) >> 8), byte(len(body))}) + body
}

const (
	body4 = "\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"
	body6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xdc\x04\x01\xbb"
	tlvs = "\x03\x00\x04\x00\x00\x00\x00" + "\x04\x00\x03abc"
)

var headers = []struct {
	name, text string
	source     string // "": that of the socket
	err        error
}{
	{"a line of IPv4", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", "192.0.2.7:56324", nil},
	{"a line of IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "[2001:db8::7]:56324", nil},
	{"a line of mapped IPv4", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 0 65535\r\n", "[::ffff:192.0.2.7]:0", nil},
	{"the longest line", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "", nil},
	{"unknown", "PROXY UNKNOWN\r\n", "", nil},
	{"unknown with anything", "PROXY UNKNOWN a b\x00c\r\n", "", nil},
	{"a family in lower case", "PROXY tcp4 192.0.2.7 198.51.100.1 56324 443\r\n", "", ErrLine},
	{"no family", "PROXY \r\n", "", ErrLine},
	{"no addresses", "PROXY TCP4\r\n", "", ErrLine},
	{"a port too few", "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n", "", ErrLine},
	{"a field too many", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n", "", ErrLine},
	{"two spaces", "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n", "", ErrLine},
	{"a space at the end", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n", "", ErrLine},
	{"IPv6 in TCP4", "PROXY TCP4 2001:db8::7 198.51.100.1 56324 443\r\n", "", ErrLine},
	{"IPv4 in TCP6", "PROXY TCP6 192.0.2.7 2001:db8::1 56324 443\r\n", "", ErrLine},
	{"an address with leading zeros", "PROXY TCP4 192.0.02.7 198.51.100.1 56324 443\r\n", "", ErrLine},
	{"a zone", "PROXY TCP6 fe80::1%1 2001:db8::1 56324 443\r\n", "", ErrLine},
	{"a bad destination", "PROXY TCP4 192.0.2.7 198.51.100 56324 443\r\n", "", ErrLine},
	{"a port out of range", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", "", ErrLine},
	{"a port with a leading zero", "PROXY TCP4 192.0.2.7 198.51.100.1 0443 443\r\n", "", ErrLine},
	{"a port with a sign", "PROXY TCP4 192.0.2.7 198.51.100.1 +443 443\r\n", "", ErrLine},
	{"a bare line feed", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n", "", ErrLine},
	{"a line feed at once", "PROXY \n", "", ErrLine},
	{"a line without an end", "PROXY UNKNOWN" + strings.Repeat(" ", MaxLineBytes-len("PROXY UNKNOWN")), "", ErrTooLong},
	{"a line one byte too long", "PROXY UNKNOWN" + strings.Repeat(" ", MaxLineBytes-len("PROXY UNKNOWN")-1) + "\r\n", "", ErrTooLong},
	{"a request", "GET / HTTP/1.1\r\n\r\n", "", ErrSignature},
	{"a request whose method begins like it", "PROX / HTTP/1.1\r\n\r\n", "", ErrSignature},
	{"blank lines", "\r\n\r\n\r\n\r\n", "", ErrSignature},

	{"binary IPv4", v2(0x21, 0x11, body4), "192.0.2.7:56324", nil},
	{"binary IPv6", v2(0x21, 0x21, body6), "[2001:db8::7]:56324", nil},
	{"binary IPv4 with extensions", v2(0x21, 0x11, body4+tlvs), "192.0.2.7:56324", nil},
	{"binary IPv6 with extensions", v2(0x21, 0x21, body6+tlvs), "[2001:db8::7]:56324", nil},
	{"the longest binary", v2(0x21, 0x11, body4+strings.Repeat("\x04", MaxBytes-fixedBytes-len(body4))), "192.0.2.7:56324", nil},
	{"one byte longer", v2(0x21, 0x11, strings.Repeat("\x04", MaxBytes-fixedBytes+1)), "", ErrTooLong},
	{"local", v2(0x20, 0x00, ""), "", nil},
	{"local with addresses", v2(0x20, 0x11, body4), "", nil},
	{"local of a family that is none", v2(0x20, 0xff, tlvs), "", nil},
	{"unspecified", v2(0x21, 0x00, ""), "", nil},
	{"unspecified with extensions", v2(0x21, 0x00, tlvs), "", nil},
	{"datagrams", v2(0x21, 0x12, body4), "", nil},
	{"UNIX", v2(0x21, 0x31, strings.Repeat("u", 216)), "", nil},
	{"IPv4 cut short", v2(0x21, 0x11, body4[:11]), "", ErrTooShort},
	{"IPv6 cut short", v2(0x21, 0x21, body6[:35]), "", ErrTooShort},
	{"IPv4 of no length", v2(0x21, 0x11, ""), "", ErrTooShort},
	{"version 1 in binary", v2(0x11, 0x11, body4), "", ErrVersion},
	{"version 3", v2(0x31, 0x11, body4), "", ErrVersion},
	{"a command that is none", v2(0x22, 0x11, body4), "", ErrCommand},
	{"a family that is none", v2(0x21, 0x41, body4), "", ErrFamily},
	{"a transport that is none", v2(0x21, 0x13, body4), "", ErrFamily},
}

func TestHeaders(t *testing.T) {
	for _, tt := range headers {
		t.Run(tt.name, func(t *testing.T) {
			for _, behind := range []string{"", "GET / HTTP/1.1\r\n\r\n"} {
				h, n, err := Parse([]byte(tt.text + behind))
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if err != nil {
					continue
				}
				var want netip.AddrPort
				if tt.source != "" {
					want = netip.MustParseAddrPort(tt.source)
				}
				if h.Source != want || n != len(tt.text) {
					t.Errorf("%v, %d bytes; want %v, %d", h.Source, n, want, len(tt.text))
				}
			}
		})
	}
}

// TestHeadersCutAtEveryByte wants each start of a good header to ask for more, no more than there
// is, and each start of a bad one to ask for more or to be refused as the whole is.
func TestHeadersCutAtEveryByte(t *testing.T) {
	for _, tt := range headers {
		for cut := range len(tt.text) {
			h, n, err := Parse([]byte(tt.text[:cut]))
			switch {
			case h != Header{}:
				t.Fatalf("%s, cut at %d: %v", tt.name, cut, h)
			case errors.Is(err, ErrShort):
				if n <= cut || tt.err == nil && n > len(tt.text) {
					t.Fatalf("%s, cut at %d of %d: wants %d bytes", tt.name, cut, len(tt.text), n)
				}
			case tt.err == nil || !errors.Is(err, tt.err):
				t.Fatalf("%s, cut at %d: %v", tt.name, cut, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range headers {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		switch {
		case err == nil:
			if n <= 0 || n > len(b) || n > MaxBytes {
				t.Fatalf("%d of %d bytes", n, len(b))
			}
			again, m, err := Parse(b[:n])
			if err != nil || again != h || m != n {
				t.Fatalf("by itself: %v, %d bytes, %v", again, m, err)
			}
			for cut := range n {
				if _, _, err := Parse(b[:cut]); !errors.Is(err, ErrShort) {
					t.Fatalf("cut at %d of %d: %v", cut, n, err)
				}
			}
		case errors.Is(err, ErrShort):
			if n <= len(b) || n > MaxBytes || h != (Header{}) {
				t.Fatalf("%d bytes wanted of %d, %v", n, len(b), h)
			}
		case h != Header{} || n != 0:
			t.Fatalf("%v, %d bytes beside %v", h, n, err)
		}
	})
}
