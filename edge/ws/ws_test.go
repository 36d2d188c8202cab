package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

var server = Limits{MaxFrameBytes: 1 << 16, MaxMessageBytes: 1 << 17, RequireMask: true}

func clientFrame(op OpCode, fin bool, payload string) []byte {
	return AppendMaskedFrame(nil, op, fin, [4]byte{1, 2, 3, 4}, []byte(payload))
}

// decode runs a decoder over b and returns the frames as text, then the error that ended it.
func decode(b []byte, lim Limits) (frames []string, err error) {
	var d Decoder
	b = bytes.Clone(b)
	for {
		f, n, err := d.Next(b, &lim)
		if err != nil {
			return frames, err
		}
		frames = append(frames, string('0'+byte(f.OpCode))+":"+string(f.Payload))
		b = b[n:]
	}
}

func TestFramesComeOutUnmasked(t *testing.T) {
	long := strings.Repeat("x", 65536)
	in := bytes.Join([][]byte{
		clientFrame(OpText, true, "hello"),
		clientFrame(OpText, false, "a"),
		clientFrame(OpPing, true, "p"),
		clientFrame(OpContinuation, true, "b"),
		clientFrame(OpBinary, true, strings.Repeat("y", 126)),
		clientFrame(OpBinary, true, long),
		clientFrame(OpClose, true, ""),
	}, nil)
	got, err := decode(in, server)
	want := []string{"1:hello", "1:a", "9:p", "0:b", "2:" + strings.Repeat("y", 126), "2:" + long, "8:"}
	if !errors.Is(err, ErrShort) || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %.200q, %v", got, err)
	}
}

func TestCutAnywhereItWaitsAndChangesNothing(t *testing.T) {
	whole := bytes.Join([][]byte{clientFrame(OpText, false, "hello"), clientFrame(OpContinuation, true, strings.Repeat("z", 300))}, nil)
	want, _ := decode(whole, server)
	for cut := range whole {
		var d Decoder
		b := bytes.Clone(whole)
		var got []string
		for end := cut; len(b) > 0; end = len(b) {
			f, n, err := d.Next(b[:end], &server)
			if errors.Is(err, ErrShort) {
				if f, n, err = d.Next(b, &server); err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
			}
			got = append(got, string('0'+byte(f.OpCode))+":"+string(f.Payload))
			b = b[n:]
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("cut at %d: %q", cut, got)
		}
	}
}

// emptyFragments is a message of n fragments without a byte, and without an end.
func emptyFragments(n int) []byte {
	return append(clientFrame(OpText, false, ""), bytes.Repeat(clientFrame(OpContinuation, false, ""), n-1)...)
}

// frameFaults has a row for each error that a frame can cause.
var frameFaults = []struct {
	name string
	in   []byte
	want error
}{
	{"a reserved bit", []byte{0xc1, 0x80, 0, 0, 0, 0}, ErrReservedBits},
	{"a reserved op code", []byte{0x83, 0x80, 0, 0, 0, 0}, ErrReservedOpCode},
	{"a reserved control op code", []byte{0x8b, 0x80, 0, 0, 0, 0}, ErrReservedOpCode},
	{"no mask", []byte{0x81, 0x01, 'x'}, ErrNotMasked},
	{"16 bits for what fits in 7", []byte{0x82, 0xfe, 0, 125, 0, 0, 0, 0}, ErrLengthForm},
	{"64 bits for what fits in 16", []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}, ErrLengthForm},
	{"2^63 bytes", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ErrLengthSign},
	{"2^63-1 bytes", []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, ErrFrameTooLarge},
	{"a long ping", append([]byte{0x89, 0xfe, 0, 126}, 0, 0, 0, 0), ErrControlLong},
	{"a fragmented ping", []byte{0x09, 0x80, 0, 0, 0, 0}, ErrControlPart},
	{"a continuation of nothing", clientFrame(OpContinuation, true, "x"), ErrContinuation},
	{"a message inside another", append(clientFrame(OpText, false, "a"), clientFrame(OpText, true, "b")...), ErrInterrupted},
	{"fragments over the limit", bytes.Repeat(append(clientFrame(OpText, false, strings.Repeat("x", 65536)), clientFrame(OpContinuation, false, strings.Repeat("x", 65536))...), 1), ErrShort},
	{"as many empty fragments as may be", emptyFragments(MaxEmptyFragments), ErrShort},
	{"one empty fragment more", emptyFragments(MaxEmptyFragments + 1), ErrEmptyFragments},
	{"a long message after one of empty fragments", append(append(emptyFragments(MaxEmptyFragments), clientFrame(OpContinuation, true, "")...), emptyFragments(MaxEmptyFragments)...), ErrShort},
	{"one byte over the limit", bytes.Join([][]byte{clientFrame(OpText, false, strings.Repeat("x", 65536)), clientFrame(OpContinuation, false, strings.Repeat("x", 65536)), clientFrame(OpContinuation, true, "x")}, nil), ErrTooLarge},
}

func TestEachFaultHasItsErrorAndCloseCode(t *testing.T) {
	produced := map[error]bool{ErrMasked: true, ErrDeflate: true, ErrClosePayload: true, ErrCloseCode: true, ErrCloseUTF8: true} // by the tests below
	for _, tt := range frameFaults {
		_, err := decode(tt.in, server)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		produced[tt.want] = true
	}
	for _, e := range frameErrors {
		if !produced[e.err] {
			t.Errorf("no row produces %q", e.err)
		}
		if code, reason := CloseCodeOf(e.err); code != e.code || reason == "" || len(reason) > maxReasonBytes {
			t.Errorf("%q closes with %d %q", e.err, code, reason)
		}
	}
	if code, _ := CloseCodeOf(errors.New("other")); code != CodeProtocolError {
		t.Errorf("another error closes with %d", code)
	}
}

func TestAServerMustNotMask(t *testing.T) {
	if _, err := decode(clientFrame(OpText, true, "x"), Limits{MaxFrameBytes: 10, MaxMessageBytes: 10}); !errors.Is(err, ErrMasked) {
		t.Errorf("got %v", err)
	}
}

func TestParseClose(t *testing.T) {
	payload := func(code uint16, reason string) []byte {
		return append(binary.BigEndian.AppendUint16(nil, code), reason...)
	}
	for _, tt := range []struct {
		in     []byte
		code   uint16
		reason string
		err    error
	}{
		{nil, 0, "", nil},
		{payload(1000, "bye"), 1000, "bye", nil},
		{payload(4999, ""), 4999, "", nil},
		{[]byte{3}, 0, "", ErrClosePayload},
		{payload(999, ""), 0, "", ErrCloseCode},
		{payload(1004, ""), 0, "", ErrCloseCode},
		{payload(1005, ""), 0, "", ErrCloseCode},
		{payload(1006, ""), 0, "", ErrCloseCode},
		{payload(1015, ""), 0, "", ErrCloseCode},
		{payload(2999, ""), 0, "", ErrCloseCode},
		{payload(5000, ""), 0, "", ErrCloseCode},
		{payload(1000, "\xff"), 0, "", ErrCloseUTF8},
	} {
		if code, reason, err := ParseClose(tt.in); code != tt.code || string(reason) != tt.reason || !errors.Is(err, tt.err) {
			t.Errorf("%x: %d %q %v", tt.in, code, reason, err)
		}
	}
}

func TestTextThatMayBecomeUTF8IsToldFromWhatCannot(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int
		ok   bool
	}{
		{"", 0, true},
		{"aé", 3, true},
		{"a\xc3", 1, true},
		{"a\xe1\xbd", 1, true},
		{"a\xf0\x90\x80", 1, true},
		{"\xf4", 0, true},
		{"a\x80", 2, false},
		{"\xf4\x90", 2, false},
		{"\xed\xa0", 2, false},
		{"\xff", 1, false},
		{"\xffa\xc3", 2, false},
		{"\xc3\xff\xc3", 2, false},
		{"\x80\x80\x80\x80", 4, false},
	} {
		if n, ok := ValidTextPrefix([]byte(tt.text)); n != tt.n || ok != tt.ok {
			t.Errorf("%q: %d, %v, want %d, %v", tt.text, n, ok, tt.n, tt.ok)
		}
	}
}

func TestCloseReasonIsCutBetweenRunes(t *testing.T) {
	b := AppendClose(nil, 1000, strings.Repeat("é", 100))
	h, n, err := ParseHeader(b)
	if err != nil || h.Length != 124 {
		t.Fatalf("%+v, %v", h, err)
	}
	if _, reason, err := ParseClose(b[n:]); err != nil || string(reason) != strings.Repeat("é", 61) {
		t.Errorf("%q, %v", reason, err)
	}
}

func TestHandshake(t *testing.T) {
	good := Handshake{Method: []byte("GET"), Connection: []byte("keep-alive, Upgrade"), Upgrade: []byte("WebSocket"), Version: []byte("13"), Key: []byte("dGhlIHNhbXBsZSBub25jZQ==")}
	for _, tt := range []struct {
		name   string
		change func(h *Handshake)
		want   *HandshakeError
	}{
		{"good", func(*Handshake) {}, nil},
		{"a POST", func(h *Handshake) { h.Method = []byte("POST") }, ErrHandshakeMethod},
		{"no upgrade", func(h *Handshake) { h.Upgrade = nil }, ErrHandshakeUpgrade},
		{"no connection token", func(h *Handshake) { h.Connection = []byte("close") }, ErrHandshakeUpgrade},
		{"version 8", func(h *Handshake) { h.Version = []byte("8") }, ErrHandshakeVersion},
		{"a short key", func(h *Handshake) { h.Key = []byte("abc") }, ErrHandshakeKey},
		{"a key of 17 bytes", func(h *Handshake) { h.Key = []byte("AAAAAAAAAAAAAAAAAAAAAAA=") }, ErrHandshakeKey},
	} {
		h := good
		tt.change(&h)
		err := CheckHandshake(h)
		if tt.want == nil && err != nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// The example of RFC 6455 section 1.3.
	if got := string(AcceptKey(nil, good.Key)); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("accept key %q", got)
	}
	answer := AppendUpgradeResponse(nil, good.Key, "chat", "")
	if err := CheckServerHandshake(answer, string(good.Key)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: no\r\n\r\n"} {
		if err := CheckServerHandshake([]byte(bad), string(good.Key)); !errors.Is(err, ErrNotUpgraded) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestDecodingAndEncodingAllocateNothing(t *testing.T) {
	in, work, out := clientFrame(OpText, true, strings.Repeat("x", 1000)), make([]byte, 2000), make([]byte, 0, 2000)
	var d Decoder
	if n := testing.AllocsPerRun(100, func() {
		copy(work, in)
		f, _, err := d.Next(work[:len(in)], &server)
		if err != nil {
			t.Fatal(err)
		}
		out = AppendFrame(out[:0], OpText, f.Payload)
		out = AcceptKey(out[:0], []byte("dGhlIHNhbXBsZSBub25jZQ=="))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// decodeCut is decode with the bytes coming in two parts.
func decodeCut(in []byte, cut int, lim Limits) (frames []string, err error) {
	var d Decoder
	b := bytes.Clone(in)
	for end := cut; ; {
		f, n, err := d.Next(b[:end], &lim)
		if errors.Is(err, ErrShort) && end < len(b) {
			end = len(b)
			continue
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, string('0'+byte(f.OpCode))+":"+string(f.Payload))
		b, end = b[n:], max(end-n, 0)
	}
}

// FuzzDecoder feeds bytes cut at every one and at once: the frames and the error are the same, and
// nothing declared makes it allocate or read past the end.
func FuzzDecoder(f *testing.F) {
	for _, tt := range frameFaults {
		if len(tt.in) < 100 {
			f.Add(tt.in)
		}
	}
	f.Add(append(clientFrame(OpText, false, "he"), clientFrame(OpContinuation, true, "llo")...))
	f.Fuzz(func(t *testing.T, in []byte) {
		want, wantErr := decode(in, server)
		for cut := range min(len(in), 512) {
			got, err := decodeCut(in, cut, server)
			if !errors.Is(err, wantErr) || strings.Join(got, "|") != strings.Join(want, "|") {
				t.Fatalf("cut at %d %q, %v; whole %q, %v", cut, got, err, want, wantErr)
			}
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	in := clientFrame(OpText, true, strings.Repeat("x", 128))
	work := make([]byte, len(in))
	var d Decoder
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, in)
		if _, _, err := d.Next(work, &server); err != nil {
			b.Fatal(err)
		}
	}
}
