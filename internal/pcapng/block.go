package pcapng

import (
	"encoding/binary"
	"time"
)

// Block types, of section 11.1 of the draft.
const (
	typeInterface  = 1
	typeStatistics = 5
	typePacket     = 6
	typeSection    = 0x0A0D0D0A
)

// Options, of sections 3.5 and 4.1 to 4.6.
const (
	optEnd       = 0
	optComment   = 1
	optHardware  = 2 // shb_hardware
	optOS        = 3 // shb_os
	optUserAppl  = 4 // shb_userappl
	optIfName    = 2 // if_name
	optIfTSResol = 9 // if_tsresol
	optFlags     = 2 // epb_flags
	optDropCount = 4 // epb_dropcount
	optIfRecv    = 4 // isb_ifrecv
	optIfDrop    = 5 // isb_ifdrop
)

const (
	// byteOrderMagic tells a reader the byte order: little-endian on every machine here.
	byteOrderMagic = 0x1A2B3C4D
	linkEthernet   = 1
	// nanoseconds is a time resolution: ten to the minus ninth of a second.
	nanoseconds = 9
	// flagInbound is the direction of a packet, in the lowest two bits of epb_flags.
	flagInbound = 1
)

// block is one under construction. Its memory is used again for the next.
type block struct{ buf []byte }

// begin starts a block; its length comes with end.
func (b *block) begin(kind uint32) {
	b.buf = b.buf[:0]
	b.u32(kind)
	b.u32(0)
}

func (b *block) u16(v uint16)     { b.buf = binary.LittleEndian.AppendUint16(b.buf, v) }
func (b *block) u32(v uint32)     { b.buf = binary.LittleEndian.AppendUint32(b.buf, v) }
func (b *block) u64(v uint64)     { b.buf = binary.LittleEndian.AppendUint64(b.buf, v) }
func (b *block) bytes(v ...byte)  { b.buf = append(b.buf, v...) }
func (b *block) time(t time.Time) { b.halves(nanosOf(t)) }

// halves appends the high 32 bits first, whatever the byte order (section 4.3).
func (b *block) halves(v uint64) {
	b.u32(uint32(v >> 32))
	b.u32(uint32(v)) //nolint:gosec // its low half
}

// nanosOf is the time since 1970, which UnixNano gives to 2262 only.
func nanosOf(t time.Time) uint64 {
	return uint64(t.Unix())*uint64(time.Second) + uint64(t.Nanosecond()) //nolint:gosec // checkTime
}

// pad appends zeros up to a multiple of four: the format has all begin on one.
func (b *block) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

// option begins one; its value follows, padded.
func (b *block) option(code, length uint16) {
	b.u16(code)
	b.u16(length)
}

// text appends an option that is a text, unless it is empty.
func (b *block) text(code uint16, s string) {
	if s = clean(s); s == "" {
		return
	}
	b.option(code, uint16(len(s))) //nolint:gosec // clean bounds it
	b.buf = append(b.buf, s...)
	b.pad()
}

// end ends the options and puts in the length, which stands before and after the body.
func (b *block) end() []byte {
	b.option(optEnd, 0)
	length := uint32(len(b.buf) + 4) //nolint:gosec // MaxSnapLen and maxText bound it
	b.u32(length)
	binary.LittleEndian.PutUint32(b.buf[4:], length)
	return b.buf
}
