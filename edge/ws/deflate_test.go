package ws

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// prices is a JSON payload of about n bytes, as a feed of prices sends it.
func prices(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same bytes at each run
	b := []byte(`{"feed":"ticks","prices":[`)
	for len(b) < n-2 {
		b = fmt.Appendf(b, `{"symbol":"%c%c%cUSD","bid":%.5f,"ask":%.5f,"at":%d},`, 'A'+r.IntN(26), 'A'+r.IntN(26), 'A'+r.IntN(26), 1+r.Float64(), 1+r.Float64(), 1764000000000+r.IntN(1000))
	}
	return append(b[:n-2:n-2], "]}"...)
}

// noise is n bytes that do not compress.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same bytes at each run
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// finals is a message of n final blocks, each of one stored byte.
func finals(n int) []byte {
	return append(bytes.Repeat([]byte{1, 1, 0, 0xfe, 0xff, 'x'}, n), 0)
}

func TestDeflatedFrameInflatesToThePayload(t *testing.T) {
	for _, n := range []int{MinDeflateBytes, 1000, 65535, 65536, 300_000} {
		want := prices(n)
		b, ok := AppendDeflated([]byte("before"), OpText, want)
		if !ok || !bytes.HasPrefix(b, []byte("before")) {
			t.Fatalf("%d bytes: compression does not pay: %.20q", n, b)
		}
		h, at, err := ParseHeader(b[6:])
		if err != nil || h.Rsv != rsv1 || h.OpCode != OpText || !h.Fin || h.Masked || int(h.Length) != len(b)-6-at || int(h.Length) >= n {
			t.Fatalf("%d bytes: header %+v, %v", n, h, err)
		}
		got, err := Inflate([]byte("before"), b[6+at:], n)
		if err != nil || string(got) != "before"+string(want) {
			t.Fatalf("%d bytes: inflated to %d, %v", n, len(got), err)
		}
		if _, err := Inflate(nil, b[6+at:], n-1); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("%d bytes where one less is allowed: %v", n, err)
		}
		if bytes.HasSuffix(b, []byte(deflateTail)) {
			t.Errorf("%d bytes: the tail is sent", n)
		}
	}
}

func TestWhatDoesNotPayIsNotCompressed(t *testing.T) {
	for name, payload := range map[string][]byte{
		"nothing": nil,
		"little":  bytes.Repeat([]byte("x"), MinDeflateBytes-1),
		"noise":   noise(4096),
	} {
		if b, ok := AppendDeflated([]byte("before"), OpBinary, payload); ok || string(b) != "before" {
			t.Errorf("%s: %.20q, %v", name, b, ok)
		}
	}
}

// inflateRows are messages as clients send them. RFC 7692 section 7.2.3 has most of the good ones.
var inflateRows = []struct {
	name, in, want string
	err            error
}{
	{"one fixed block", "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello", nil},
	{"a stored block", "\x00\x05\x00\xfa\xffHello\x00", "Hello", nil},
	{"a final block", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello", nil},
	{"a final block without the octet behind it", "\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello", nil},
	{"two blocks", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello", nil},
	{"an empty message", "\x00", "", nil},
	{"a block behind a final one, that refers to it", "\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00", "HelloHello", nil},
	{"as many final blocks as may be", string(finals(maxFinals - 1)), strings.Repeat("x", maxFinals-1), nil},

	{"more final blocks", string(finals(maxFinals)), "", ErrDeflate},
	{"no bytes", "", "", ErrDeflate},
	{"a block of the reserved type", "\x06", "", ErrDeflate},
	{"a stored block whose lengths differ", "\x00\x05\x00\xfb\xffHello\x00", "", ErrDeflate},
	{"a stored block that is cut", "\x00\x05\x00\xfa\xffHel", "", ErrDeflate},
	{"a fixed block that is cut", "\xf2\x48\xcd", "", ErrDeflate},
	{"a reference to the message before", "\xf2\x00\x11\x00\x00", "", ErrDeflate},
	{"text", "Hello, I am not compressed", "", ErrDeflate},
}

func TestInflate(t *testing.T) {
	for _, tt := range inflateRows {
		if got, err := Inflate(nil, []byte(tt.in), 1<<16); string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

// bomb is a message of n zeros.
func bomb(tb testing.TB, n int) []byte {
	tb.Helper()
	d := newDeflater(flate.BestCompression)
	return bytes.Clone(d.deflate(make([]byte, n)))
}

func TestBombMakesOneByteOverTheLimit(t *testing.T) {
	in := bomb(t, 8<<20)
	for _, limit := range []int{0, 1, 1000, 1 << 16} {
		f := &inflater{message: in, tail: inflateTail}
		f.r = flate.NewReader(f)
		b, err := f.appendStream(nil, limit)
		if !errors.Is(err, ErrTooLarge) || len(b) != limit+1 || cap(b) > max(limit+1, 1<<10) {
			t.Errorf("limit %d: %d bytes in %d, %v", limit, len(b), cap(b), err)
		}
	}
	if code, _ := CloseCodeOf(ErrTooLarge); code != CodeTooLarge {
		t.Errorf("closes with %d", code)
	}
}

func TestPoolKeepsNothingOfAMessage(t *testing.T) {
	if _, err := Inflate(nil, []byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), 100); err != nil {
		t.Fatal(err)
	}
	f := inflaters.Get().(*inflater) //nolint:errcheck // the pool holds nothing else
	defer inflaters.Put(f)
	if f.message != nil || f.tail != "" {
		t.Errorf("%q, %q", f.message, f.tail)
	}
}

func TestReservedBitIsForTheFirstFrameOfAnAgreedMessage(t *testing.T) {
	rsv := func(bits byte, frame []byte) []byte {
		frame[0] |= bits << 4
		return frame
	}
	first := rsv(rsv1, clientFrame(OpText, false, "a"))
	for _, tt := range []struct {
		name   string
		in     []byte
		agreed bool
		want   error
	}{
		{"a compressed message", rsv(rsv1, clientFrame(OpText, true, "a")), true, nil},
		{"in fragments, with a ping between", bytes.Join([][]byte{first, clientFrame(OpPing, true, ""), clientFrame(OpContinuation, true, "b")}, nil), true, nil},
		{"a plain message", clientFrame(OpBinary, true, "a"), true, nil},
		{"nothing agreed", rsv(rsv1, clientFrame(OpText, true, "a")), false, ErrReservedBits},
		{"RSV2", rsv(2, clientFrame(OpText, true, "a")), true, ErrReservedBits},
		{"RSV1 and RSV3", rsv(rsv1|1, clientFrame(OpText, true, "a")), true, ErrReservedBits},
		{"a ping", rsv(rsv1, clientFrame(OpPing, true, "")), true, ErrReservedBits},
		{"a close", rsv(rsv1, clientFrame(OpClose, true, "")), true, ErrReservedBits},
		{"a continuation", append(bytes.Clone(first), rsv(rsv1, clientFrame(OpContinuation, true, "b"))...), true, ErrReservedBits},
		{"a continuation of a plain message", append(clientFrame(OpText, false, "a"), rsv(rsv1, clientFrame(OpContinuation, true, "b"))...), true, ErrReservedBits},
		{"a reserved op code", rsv(rsv1, clientFrame(3, true, "")), true, ErrReservedBits},
	} {
		d := Decoder{Deflate: tt.agreed}
		b := bytes.Clone(tt.in)
		for {
			f, n, err := d.Next(b, &server)
			if err != nil {
				if tt.want == nil && !errors.Is(err, ErrShort) || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
				}
				break
			}
			if want := b[0]&rsv1Bit != 0; f.Compressed != want {
				t.Errorf("%s: opcode %d is compressed: %v", tt.name, f.OpCode, f.Compressed)
			}
			b = b[n:]
		}
	}
}

// FuzzInflate: whatever a client sends, there is no more output than allowed, and what inflates is
// what compress/flate makes of it, if nothing follows a final block.
func FuzzInflate(f *testing.F) {
	for _, tt := range inflateRows {
		f.Add([]byte(tt.in), 1000)
	}
	f.Add(bomb(f, 1<<20), 1000)
	f.Add(bomb(f, 1000), 1000)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		limit &= 1<<16 - 1
		before := bytes.Clone(in)
		got, err := Inflate(nil, in, limit)
		if len(got) > limit || cap(got) > max(limit+1, 1<<10) || !bytes.Equal(in, before) {
			t.Fatalf("%d bytes in %d, limit %d", len(got), cap(got), limit)
		}
		switch {
		case errors.Is(err, ErrDeflate), errors.Is(err, ErrTooLarge):
			return
		case err != nil:
			t.Fatal(err)
		}
		want, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(in), strings.NewReader(inflateTail))))
		if err != nil || !bytes.HasPrefix(got, want) {
			t.Fatalf("%q, want %q, %v", got, want, err)
		}
		frame, ok := AppendDeflated(nil, OpBinary, got)
		if !ok {
			return
		}
		_, at, _ := ParseHeader(frame)
		if again, err := Inflate(nil, frame[at:], limit); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q became %q, %v", got, again, err)
		}
	})
}

// BenchmarkAppendDeflated decides deflateLevel and MinDeflateBytes: the time an event costs its
// loop, and the part of its bytes that is left.
func BenchmarkAppendDeflated(b *testing.B) {
	for _, n := range []int{64, 128, 256, 512, 4 << 10, 64 << 10} {
		payload := prices(n)
		for level := 1; level <= 6; level++ {
			b.Run(fmt.Sprintf("%dB/level%d", n, level), func(b *testing.B) {
				d := newDeflater(level)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					d.deflate(payload)
				}
				b.ReportMetric(float64(len(d.deflate(payload)))/float64(n), "left")
			})
		}
	}
}

// dynamicBlocks is n bytes of blocks that hold nothing but their own code, 91 bits each: what takes
// longest to inflate (RFC 1951 section 3.2.7).
func dynamicBlocks(n int) []byte {
	type field struct{ value, bits uint }
	block := []field{{0, 1}, {2, 2}, {0, 5}, {0, 5}, {14, 4}}
	for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1} {
		length := uint(0)
		if symbol == 18 || symbol == 1 {
			length = 1
		}
		block = append(block, field{length, 3})
	}
	// 138 and 118 zeros, the length of symbol 256, that of the one distance; the end of the block.
	block = append(block, field{1, 1}, field{127, 7}, field{1, 1}, field{107, 7}, field{0, 1}, field{0, 1}, field{0, 1})
	var out []byte
	var acc, have uint
	for len(out) < n {
		for _, f := range block {
			acc |= f.value << have
			have += f.bits
			for have >= 8 {
				out, acc, have = append(out, byte(acc)), acc>>8, have-8
			}
		}
	}
	return out[:n]
}

// BenchmarkInflate has the costliest message there is beside a usual one.
func BenchmarkInflate(b *testing.B) {
	d := newDeflater(deflateLevel)
	for _, bb := range []struct {
		name string
		in   []byte
	}{
		{"prices", bytes.Clone(d.deflate(prices(64 << 10)))},
		{"bomb", bomb(b, 8<<20)},
		{"empty dynamic blocks", dynamicBlocks(64 << 10)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				out, _ = Inflate(out[:0], bb.in, 64<<10)
			}
		})
	}
}
