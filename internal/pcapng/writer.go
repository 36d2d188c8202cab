package pcapng

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// MaxSnapLen bounds what is kept of a packet, in bytes: tcpdump and Wireshark refuse files
	// that promise more.
	MaxSnapLen = 262144
	// maxText bounds a text, in bytes: the length of an option is 16 bits.
	maxText = math.MaxUint16
	// maxSeconds bounds times: 64 bits of nanoseconds, some 584 years.
	maxSeconds = math.MaxUint64 / 1_000_000_000
)

// Interface is what packets are captured on. Its link type is Ethernet.
type Interface struct {
	// Name is the kernel's, such as eth0. It may be empty.
	Name string
	// SnapLen is the most that is kept of a packet, in bytes, 1 to MaxSnapLen; 0 is MaxSnapLen.
	// It is the same for all interfaces of a file: libpcap, and so tcpdump, reads no others.
	SnapLen int
}

// Packet is one that came in.
type Packet struct {
	// Time is when, to the nanosecond; from 1970 to 2554.
	Time time.Time
	// Interface is the index in the list given to NewWriter.
	Interface int
	// Data begins with the Ethernet header, and may be cut short. At most the interface's SnapLen
	// bytes; WritePacket does not keep it.
	Data []byte
	// Length was the packet's length on the wire, in bytes; 0 is that of Data. Never less than it.
	Length int
	// Comment says why it was captured. Empty is none; what is not UTF-8 is replaced.
	Comment string
	// Unsampled is how many packets came since the one before and were not captured.
	Unsampled uint64
}

// Statistics is what is known of an interface at the end.
type Statistics struct {
	// Time is when it was known.
	Time time.Time
	// Received and Dropped are packets: those seen, and those of them lost for want of room.
	Received, Dropped uint64
}

// Writer writes one section. It makes one Write call of the underlying writer a block, whole, so
// that a file cut by a crash is readable up to its last packet. It is not safe for use by several
// goroutines.
type Writer struct {
	w      io.Writer
	b      block
	ifaces []Interface
	// err is the first error of w: after half a block nothing can follow.
	err error
}

// NewWriter writes the header of a section, which says that app wrote it, and the interfaces.
func NewWriter(w io.Writer, app string, ifaces []Interface) (*Writer, error) {
	out := &Writer{w: w, ifaces: append([]Interface(nil), ifaces...)}
	if err := out.writeSection(app); err != nil {
		return nil, err
	}
	for i := range out.ifaces {
		if err := out.writeInterface(&out.ifaces[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// writeSection writes a Section Header Block (section 4.1):
//
//	0 type 0x0A0D0D0A   4 length   8 byte-order magic   12 version 1.0   16 section length, -1
//	24 options   length
func (w *Writer) writeSection(app string) error {
	w.b.begin(typeSection)
	w.b.u32(byteOrderMagic)
	w.b.u16(1)
	w.b.u16(0)
	w.b.u64(math.MaxUint64) // not known while streaming
	w.b.text(optHardware, runtime.GOARCH)
	w.b.text(optOS, runtime.GOOS)
	w.b.text(optUserAppl, app)
	return w.emit("write capture header")
}

// writeInterface writes an Interface Description Block (section 4.2):
//
//	0 type 1   4 length   8 link type   10 reserved   12 snap length   16 options   length
func (w *Writer) writeInterface(i *Interface) error {
	if i.SnapLen == 0 {
		i.SnapLen = MaxSnapLen
	}
	if i.SnapLen < 0 || i.SnapLen > MaxSnapLen {
		return fmt.Errorf("interface %s: snap length %d: %w: set it to 1 to %d", i.Name, i.SnapLen, ErrInvalid, MaxSnapLen)
	}
	if first := w.ifaces[0].SnapLen; i.SnapLen != first {
		return fmt.Errorf("interface %s: snap length %d: %w: set it to that of the first interface, %d", i.Name, i.SnapLen, ErrInvalid, first)
	}
	w.b.begin(typeInterface)
	w.b.u16(linkEthernet)
	w.b.u16(0)
	w.b.u32(uint32(i.SnapLen)) //nolint:gosec // checked above
	w.b.text(optIfName, i.Name)
	w.b.option(optIfTSResol, 1)
	w.b.bytes(nanoseconds)
	w.b.pad()
	return w.emit("write interface " + i.Name)
}

// WritePacket writes an Enhanced Packet Block (section 4.3):
//
//	0 type 6   4 length   8 interface   12 time, high   16 time, low   20 captured   24 length
//	28 data, padded   options   length
//
// It allocates nothing once blocks of that size have been written.
func (w *Writer) WritePacket(p Packet) error {
	if p.Length == 0 {
		p.Length = len(p.Data)
	}
	if err := w.check(&p); err != nil {
		return fmt.Errorf("write packet: %w", err)
	}
	w.b.begin(typePacket)
	w.b.u32(uint32(p.Interface)) //nolint:gosec // checked
	w.b.time(p.Time)
	w.b.u32(uint32(len(p.Data))) //nolint:gosec // checked
	w.b.u32(uint32(p.Length))    //nolint:gosec // checked
	w.b.bytes(p.Data...)
	w.b.pad()
	w.b.text(optComment, p.Comment)
	w.b.option(optFlags, 4)
	w.b.u32(flagInbound)
	if p.Unsampled > 0 {
		w.b.option(optDropCount, 8)
		w.b.u64(p.Unsampled)
	}
	return w.emit("write packet")
}

func (w *Writer) check(p *Packet) error {
	if p.Interface < 0 || p.Interface >= len(w.ifaces) {
		return fmt.Errorf("interface %d: %w: the writer was given %d", p.Interface, ErrInvalid, len(w.ifaces))
	}
	if limit := w.ifaces[p.Interface].SnapLen; len(p.Data) > limit {
		return fmt.Errorf("%d bytes: %w: cut them to the snap length, %d", len(p.Data), ErrInvalid, limit)
	}
	if p.Length < len(p.Data) || int64(p.Length) > math.MaxUint32 {
		return fmt.Errorf("%d bytes of a packet of %d: %w: its length is that on the wire", len(p.Data), p.Length, ErrInvalid)
	}
	return checkTime(p.Time)
}

// checkTime refuses what does not fit into 64 bits of nanoseconds since 1970.
func checkTime(t time.Time) error {
	if s := t.Unix(); s < 0 || s >= maxSeconds {
		return fmt.Errorf("time %v: %w: give it as one from 1970 to 2554", t, ErrInvalid)
	}
	return nil
}

// WriteStatistics writes an Interface Statistics Block (section 4.6), of the interface with that
// index:
//
//	0 type 5   4 length   8 interface   12 time, high   16 time, low   20 options   length
func (w *Writer) WriteStatistics(iface int, s Statistics) error {
	if iface < 0 || iface >= len(w.ifaces) {
		return fmt.Errorf("write statistics: interface %d: %w: the writer was given %d", iface, ErrInvalid, len(w.ifaces))
	}
	if err := checkTime(s.Time); err != nil {
		return fmt.Errorf("write statistics: %w", err)
	}
	w.b.begin(typeStatistics)
	w.b.u32(uint32(iface)) //nolint:gosec // checked above
	w.b.time(s.Time)
	w.b.option(optIfRecv, 8)
	w.b.u64(s.Received)
	w.b.option(optIfDrop, 8)
	w.b.u64(s.Dropped)
	return w.emit("write statistics")
}

// Finish says that nothing follows, and returns the first error of the underlying writer, which
// it does not close. All that was written is with that writer already. Idempotent.
func (w *Writer) Finish() error {
	if w.err == ErrFinished { //nolint:errorlint // it is stored bare
		return nil
	}
	err := w.err
	w.err = ErrFinished
	return err
}

// emit ends the block and writes it.
func (w *Writer) emit(action string) error {
	if w.err != nil {
		return w.err
	}
	n, err := w.w.Write(w.b.end())
	if err == nil && n < len(w.b.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("%s: %w", action, err)
	}
	return w.err
}

// clean is a text as the format wants it: UTF-8, and not too long for an option. It allocates only
// for what was not UTF-8.
func clean(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
