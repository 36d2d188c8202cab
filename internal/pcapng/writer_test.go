package pcapng

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// when has nanoseconds, and more than 32 bits of them.
var when = time.Unix(1_700_000_000, 123_456_789)

func writer(tb testing.TB, w io.Writer, ifaces ...Interface) *Writer {
	tb.Helper()
	out, err := NewWriter(w, "weir test", ifaces)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// TestBytesAreThoseOfTheDraft holds each block to bytes worked out by hand from the draft.
func TestBytesAreThoseOfTheDraft(t *testing.T) {
	var b bytes.Buffer
	w := writer(t, &b, Interface{Name: "eth0", SnapLen: 96})
	section := b.Len()
	must(t, w.WritePacket(Packet{Time: when, Data: []byte{1, 2, 3, 4, 5}, Length: 60, Comment: "quota", Unsampled: 9}))
	must(t, w.WriteStatistics(0, Statistics{Time: when, Received: 10, Dropped: 9}))
	must(t, w.Finish())
	all := b.Bytes()
	if got := hex.EncodeToString(all[:24]); got[:8] != "0a0d0d0a" || got[16:] != "4d3c2b1a"+"01000000"+"ffffffffffffffff" {
		t.Errorf("section header: %s", got)
	}
	iface := "01000000" + "28000000" + "0100" + "0000" + "60000000" +
		"0200" + "0400" + "65746830" + // if_name
		"0900" + "0100" + "09000000" + // if_tsresol
		"00000000" + "28000000"
	if got := hex.EncodeToString(all[section-40 : section]); got != iface {
		t.Errorf("interface:\n%s, want\n%s", got, iface)
	}
	// 1,700,000,000,123,456,789 is 0x17979cfe3d85cd15: two halves, the high one first.
	const high, low = "fe9c9717", "15cd853d"
	packet := "06000000" + "4c000000" + "00000000" + high + low + "05000000" + "3c000000" +
		"0102030405" + "000000" +
		"0100" + "0500" + "71756f7461" + "000000" + // opt_comment
		"0200" + "0400" + "01000000" + // epb_flags
		"0400" + "0800" + "0900000000000000" + // epb_dropcount
		"00000000" + "4c000000"
	if got := hex.EncodeToString(all[section : section+0x4c]); got != packet {
		t.Errorf("packet:\n%s, want\n%s", got, packet)
	}
	stats := "05000000" + "34000000" + "00000000" + high + low +
		"0400" + "0800" + "0a00000000000000" + "0500" + "0800" + "0900000000000000" +
		"00000000" + "34000000"
	if got := hex.EncodeToString(all[section+0x4c:]); got != stats {
		t.Errorf("statistics:\n%s, want\n%s", got, stats)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	var b bytes.Buffer
	w := writer(t, &b, Interface{Name: "eth0"}, Interface{Name: "of-five", SnapLen: MaxSnapLen})
	packets := []Packet{
		{Time: when, Data: []byte{1, 2, 3, 4}},
		{Time: when.Add(1), Interface: 1, Data: bytes.Repeat([]byte{7}, 100), Length: 1514, Comment: "over its quota of packets"},
		{Time: time.Unix(0, 0), Unsampled: math.MaxUint64},
		{Time: time.Date(2500, 1, 1, 0, 0, 0, 5, time.UTC), Data: bytes.Repeat([]byte{8}, 65535), Comment: "é"},
	}
	for _, p := range packets {
		must(t, w.WritePacket(p))
	}
	must(t, w.WriteStatistics(1, Statistics{Time: when, Received: 5, Dropped: 3}))
	f := read(t, b.Bytes())
	if f.hardware != runtime.GOARCH || f.os != runtime.GOOS || f.app != "weir test" {
		t.Errorf("section: %q, %q, %q", f.hardware, f.os, f.app)
	}
	if len(f.ifaces) != 2 || f.ifaces[0] != (Interface{"eth0", MaxSnapLen}) || f.ifaces[1] != (Interface{"of-five", MaxSnapLen}) {
		t.Errorf("interfaces: %+v", f.ifaces)
	}
	if len(f.packets) != len(packets) {
		t.Fatalf("%d packets", len(f.packets))
	}
	for i, want := range packets {
		if want.Length == 0 {
			want.Length = len(want.Data)
		}
		same(t, f.packets[i], want)
	}
	if f.stats != (Statistics{Time: f.stats.Time, Received: 5, Dropped: 3}) || !f.stats.Time.Equal(when) {
		t.Errorf("statistics: %+v", f.stats)
	}
}

func same(t *testing.T, got, want Packet) {
	t.Helper()
	if !got.Time.Equal(want.Time) || got.Interface != want.Interface || !bytes.Equal(got.Data, want.Data) ||
		got.Length != want.Length || got.Comment != want.Comment || got.Unsampled != want.Unsampled {
		t.Errorf("read %v if %d, %d of %d bytes, %.40q, unsampled %d", got.Time, got.Interface, len(got.Data), got.Length, got.Comment, got.Unsampled)
		t.Errorf("want %v if %d, %d of %d bytes, %.40q, unsampled %d", want.Time, want.Interface, len(want.Data), want.Length, want.Comment, want.Unsampled)
	}
}

func TestTextsAreMadeFit(t *testing.T) {
	var b bytes.Buffer
	w := writer(t, &b, Interface{})
	long := strings.Repeat("é", 40000)
	must(t, w.WritePacket(Packet{Time: when, Comment: "a\xff\xfeb"}))
	must(t, w.WritePacket(Packet{Time: when, Comment: long}))
	f := read(t, b.Bytes())
	if got := f.packets[0].Comment; got != "a\uFFFDb" {
		t.Errorf("not UTF-8: %q", got)
	}
	if got := f.packets[1].Comment; len(got) != 65534 || !utf8.ValidString(got) || !strings.HasPrefix(long, got) {
		t.Errorf("too long: %d bytes", len(got))
	}
}

func TestWhatDoesNotFitIsRefusedAndTheWriterGoesOn(t *testing.T) {
	var b bytes.Buffer
	w := writer(t, &b, Interface{Name: "eth0", SnapLen: 64})
	before := b.Len()
	for _, tt := range []struct {
		name string
		p    Packet
		want string
	}{
		{"no such interface", Packet{Time: when, Interface: 1}, "given 1"},
		{"below zero", Packet{Time: when, Interface: -1}, "given 1"},
		{"longer than the snap length", Packet{Time: when, Data: make([]byte, 65)}, "cut them"},
		{"more than the wire had", Packet{Time: when, Data: make([]byte, 60), Length: 59}, "on the wire"},
		{"length below zero", Packet{Time: when, Length: -1}, "on the wire"},
		{"no time", Packet{}, "1970"},
		{"too late", Packet{Time: time.Unix(maxSeconds, 0)}, "2554"},
	} {
		if err := w.WritePacket(tt.p); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for _, iface := range []int{-1, 1} {
		if err := w.WriteStatistics(iface, Statistics{Time: when}); !errors.Is(err, ErrInvalid) {
			t.Errorf("statistics of interface %d: %v", iface, err)
		}
	}
	if err := w.WriteStatistics(0, Statistics{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("statistics without a time: %v", err)
	}
	if b.Len() != before {
		t.Errorf("%d bytes were written", b.Len()-before)
	}
	must(t, w.WritePacket(Packet{Time: when, Data: make([]byte, 64)}))
	if f := read(t, b.Bytes()); len(f.packets) != 1 {
		t.Errorf("%d packets", len(f.packets))
	}
	for _, ifaces := range [][]Interface{{{SnapLen: -1}}, {{SnapLen: MaxSnapLen + 1}}, {{SnapLen: 64}, {}}} {
		if _, err := NewWriter(io.Discard, "", ifaces); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", ifaces, err)
		}
	}
}

// flaky takes some calls, then fails.
type flaky struct {
	calls int
	err   error
}

func (f *flaky) Write(b []byte) (int, error) {
	if f.calls--; f.calls < 0 {
		return len(b) / 2, f.err
	}
	return len(b), nil
}

func TestFirstErrorStays(t *testing.T) {
	for calls := range 2 {
		if _, err := NewWriter(&flaky{calls, io.ErrClosedPipe}, "", []Interface{{}}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d calls: %v", calls, err)
		}
	}
	out := &flaky{3, io.ErrClosedPipe}
	w := writer(t, out, Interface{})
	must(t, w.WritePacket(Packet{Time: when}))
	if err := w.WritePacket(Packet{Time: when}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	out.calls = 10
	if err := w.WritePacket(Packet{Time: when}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after half a block: %v", err)
	}
	if err := w.Finish(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("finish: %v", err)
	}
	if err := w.Finish(); err != nil {
		t.Errorf("finish again: %v", err)
	}
	if err := w.WritePacket(Packet{Time: when}); !errors.Is(err, ErrFinished) {
		t.Errorf("after finish: %v", err)
	}
	w = writer(t, &flaky{2, nil}, Interface{})
	if err := w.WritePacket(Packet{Time: when}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("short write: %v", err)
	}
}

func TestPacketsAllocateNothing(t *testing.T) {
	w := writer(t, io.Discard, Interface{Name: "eth0"})
	p := Packet{Time: when, Data: make([]byte, 1514), Length: 9000, Comment: "over its quota of packets", Unsampled: 1000}
	must(t, w.WritePacket(p))
	if n := testing.AllocsPerRun(1000, func() { must(t, w.WritePacket(p)) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func FuzzWriter(f *testing.F) {
	f.Add([]byte{}, 0, "", int64(0), uint64(0))
	f.Add([]byte{1}, 60, "over its quota", when.UnixNano(), uint64(1))
	f.Add(bytes.Repeat([]byte{0xff}, 1001), 65535, "\xff\xfe", int64(math.MaxInt64), uint64(math.MaxUint64))
	f.Add([]byte{1, 2, 3}, 2, "a\x00b", int64(-1), uint64(2))
	f.Fuzz(func(t *testing.T, data []byte, length int, comment string, nanos int64, unsampled uint64) {
		var b bytes.Buffer
		w := writer(t, &b, Interface{Name: comment})
		p := Packet{Time: time.Unix(0, nanos), Data: data, Length: length, Comment: comment, Unsampled: unsampled}
		last := Packet{Time: when, Data: []byte("last")}
		err := w.WritePacket(p)
		must(t, w.WritePacket(last))
		got := read(t, b.Bytes()).packets
		if err != nil {
			if !errors.Is(err, ErrInvalid) || len(got) != 1 {
				t.Fatalf("%v, and %d packets", err, len(got))
			}
			return
		}
		if p.Length == 0 {
			p.Length = len(data)
		}
		p.Comment = clean(comment)
		if utf8.ValidString(comment) && len(comment) <= maxText && p.Comment != comment {
			t.Errorf("%q became %q", comment, p.Comment)
		}
		last.Length = len(last.Data)
		if len(got) != 2 {
			t.Fatalf("%d packets", len(got))
		}
		same(t, got[0], p)
		same(t, got[1], last)
	})
}

func BenchmarkWritePacket(b *testing.B) {
	w := writer(b, io.Discard, Interface{Name: "eth0"})
	p := Packet{Time: when, Data: make([]byte, 96), Length: 1514, Comment: "over its quota of packets", Unsampled: 1000}
	b.ReportAllocs()
	for b.Loop() {
		must(b, w.WritePacket(p))
	}
}
