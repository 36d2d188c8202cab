package pcapng

import (
	"encoding/binary"
	"testing"
	"time"
	"unicode/utf8"
)

// file is what a reader found. The reader is written from the draft, and shares no code with the
// writer.
type file struct {
	hardware, os, app string
	ifaces            []Interface
	packets           []Packet
	stats             Statistics
}

// read fails the test at whatever the draft does not allow.
func read(t *testing.T, b []byte) (f file) {
	t.Helper()
	for first := true; len(b) > 0; first = false {
		if len(b) < 12 {
			t.Fatalf("%d bytes of a block", len(b))
		}
		kind, length := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
		if length%4 != 0 || length < 12 || length > len(b) {
			t.Fatalf("block %#x of %d bytes, %d are left", kind, length, len(b))
		}
		if again := int(binary.LittleEndian.Uint32(b[length-4:])); again != length {
			t.Fatalf("block %#x begins with length %d, ends with %d", kind, length, again)
		}
		if first != (kind == 0x0A0D0D0A) {
			t.Fatalf("block %#x: a section header is the first, and that alone", kind)
		}
		f.block(t, kind, b[8:length-4])
		b = b[length:]
	}
	return f
}

func (f *file) block(t *testing.T, kind uint32, b []byte) {
	t.Helper()
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	at := func() time.Time {
		n := uint64(u32(4))<<32 | uint64(u32(8))
		return time.Unix(int64(n/1e9), int64(n%1e9))
	}
	switch kind {
	case 0x0A0D0D0A:
		if u32(0) != 0x1A2B3C4D || u32(4) != 1 || u32(8) != ^uint32(0) || u32(12) != ^uint32(0) {
			t.Fatalf("section header % x", b[:16])
		}
		o := options(t, b[16:])
		f.hardware, f.os, f.app = o[2], o[3], o[4]
	case 1:
		if u32(0) != 1 {
			t.Fatalf("link type and reserved: %#x", u32(0))
		}
		o := options(t, b[8:])
		if o[9] != "\x09" {
			t.Fatalf("if_tsresol: %q", o[9])
		}
		f.ifaces = append(f.ifaces, Interface{o[2], int(u32(4))})
	case 6:
		p := Packet{Time: at(), Interface: int(u32(0)), Length: int(u32(16))}
		n := int(u32(12))
		p.Data = b[20 : 20+n]
		o := options(t, b[20+(n+3)/4*4:])
		if o[2] != "\x01\x00\x00\x00" {
			t.Fatalf("epb_flags: %q", o[2])
		}
		p.Comment = o[1]
		if dropped, ok := o[4]; ok {
			p.Unsampled = binary.LittleEndian.Uint64([]byte(dropped))
		}
		f.packets = append(f.packets, p)
	case 5:
		o := options(t, b[12:])
		f.stats = Statistics{at(), binary.LittleEndian.Uint64([]byte(o[4])), binary.LittleEndian.Uint64([]byte(o[5]))}
	default:
		t.Fatalf("block type %#x", kind)
	}
}

// options are those up to the end, by code; texts among them are UTF-8, and padding is zero.
func options(t *testing.T, b []byte) map[uint16]string {
	t.Helper()
	all := map[uint16]string{}
	for len(b) >= 4 {
		code, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		padded := 4 + (n+3)/4*4
		if padded > len(b) {
			t.Fatalf("option %d of %d bytes, %d are left", code, n, len(b))
		}
		if code == 0 {
			if n != 0 || len(b) != 4 {
				t.Fatalf("end of options has %d bytes, %d are left", n, len(b))
			}
			return all
		}
		if _, twice := all[code]; twice {
			t.Fatalf("option %d is there twice", code)
		}
		all[code] = string(b[4 : 4+n])
		for _, zero := range b[4+n : padded] {
			if zero != 0 {
				t.Fatalf("option %d: padding % x", code, b[4+n:padded])
			}
		}
		if code == 1 && !utf8.ValidString(all[code]) {
			t.Fatalf("comment %q", all[code])
		}
		b = b[padded:]
	}
	t.Fatalf("options do not end: % x", b)
	return nil
}
