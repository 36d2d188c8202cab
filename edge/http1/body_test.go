package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
)

// gone is what going over a body says.
type gone struct {
	payload, raw string
	n, trailers  int
	done         bool
	err          error
}

// goOver goes over in, which comes in parts of step bytes, in all three ways, which have to agree.
func goOver(t *testing.T, f Framing, length, maxBytes int64, in []byte, step int) gone {
	t.Helper()
	all := [3]gone{}
	for way := range all {
		var d Body
		g := &all[way]
		d.Start(f, length, maxBytes)
		g.done = d.Done()
		for end := 0; end < len(in) && !g.done && g.err == nil; {
			end = min(len(in), end+step)
			for g.n < end && !g.done && g.err == nil {
				part, n := []byte(nil), 0
				switch way {
				case 0:
					part, n, g.done, g.err = d.Next(in[g.n:end])
				case 1:
					part, n, g.done, g.err = d.Raw(in[g.n:end])
				case 2:
					n, g.done, g.err = d.Skip(in[g.n:end])
				}
				if n == 0 && !g.done && g.err == nil {
					t.Fatalf("way %d stands still at %d of %q", way, g.n, in)
				}
				if way == 0 {
					g.payload += string(part)
				} else {
					g.raw += string(part)
				}
				g.n += n
			}
		}
		g.trailers = d.Trailers()
		if _, n, _, err := d.Next([]byte("more")); g.err != nil && (n != 0 || !errors.Is(err, g.err)) {
			t.Fatalf("after %v comes %d, %v", g.err, n, err)
		} else if g.done && (n != 0 || err != nil) {
			t.Fatalf("after the end come %d, %v", n, err)
		}
	}
	for way, g := range all[1:] {
		if g.n != all[0].n || g.done != all[0].done || g.trailers != all[0].trailers || !errors.Is(g.err, all[0].err) {
			t.Fatalf("way %d says %+v, Next says %+v, of %q by %d", way+1, g, all[0], in, step)
		}
	}
	all[0].raw = all[1].raw
	return all[0]
}

func TestBodiesEndWhereTheyAreFramed(t *testing.T) {
	const next = "GET"
	for _, tt := range []struct {
		name         string
		f            Framing
		length       int64
		in           string
		payload, raw string
		trailers     int
	}{
		{"none", FramingNone, 0, "", "", "", 0},
		{"a length", FramingLength, 5, "hello", "hello", "hello", 0},
		{"a length of 0", FramingLength, 0, "", "", "", 0},
		{"one chunk", FramingChunked, 0, "5\r\nhello\r\n0\r\n\r\n", "hello", "5\r\nhello\r\n0\r\n\r\n", 0},
		{"no chunk", FramingChunked, 0, "0\r\n\r\n", "", "0\r\n\r\n", 0},
		{"zeros", FramingChunked, 0, "0000000000000001\r\nx\r\n0000\r\n\r\n", "x", "0000000000000001\r\nx\r\n0000\r\n\r\n", 0},
		{"digits in both cases", FramingChunked, 0, "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", 0},
		{"extensions that are left out", FramingChunked, 0, "1;a;b=c;d=\"e;\\\" f\";f=g\r\nx\r\n0;z\r\n\r\n", "x", "1\r\nx\r\n0\r\n\r\n", 0},
		{"trailers that are left out", FramingChunked, 0, "1\r\nx\r\n0\r\nA: b\r\nHosts: c\r\nT:\r\n\r\n", "x", "1\r\nx\r\n0\r\n\r\n", 3},
		{"payload that looks like a chunk", FramingChunked, 0, "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", 0},
	} {
		for step := 1; step <= len(tt.in)+len(next); step++ {
			got := goOver(t, tt.f, tt.length, 0, []byte(tt.in+next), step)
			if got.payload != tt.payload || got.raw != tt.raw || got.n != len(tt.in) || !got.done || got.err != nil || got.trailers != tt.trailers {
				t.Errorf("%s, by %d: %+v", tt.name, step, got)
			}
		}
	}
}

const short = "0\r\n\r\n"

// bodyFaults are of chunked bodies of up to 10 bytes.
var bodyFaults = []struct {
	name, in string
	want     error
}{
	{"too much in one chunk", "b\r\n01234567890\r\n" + short, ErrBodyTooLarge},
	{"too much in two", "6\r\n012345\r\n5\r\n01234\r\n" + short, ErrBodyTooLarge},
	{"a size of 17 digits", "00000000000000001\r\nx\r\n" + short, ErrChunkSize},
	{"a size beyond the bound", "1000000000000f\r\n", ErrChunkSize},
	{"a size beyond 64 bits", "ffffffffffffffff\r\n", ErrChunkSize},
	{"no size", "\r\n", ErrChunkSize},
	{"a minus", "-1\r\n", ErrChunkSize},
	{"a plus", "+1\r\n", ErrChunkSize},
	{"0x", "0x1\r\n", ErrChunkSize},
	{"a space", "1 \r\n", ErrChunkSize},
	{"a bare line feed behind the size", "1\nx", ErrChunkSize},
	{"a bare carriage return behind the size", "1\rx", ErrLineEnd},
	{"an extension without a name", "1;\r\n", ErrChunkExtension},
	{"an extension without a value", "1;a=\r\n", ErrChunkExtension},
	{"an extension with a space", "1;a =b\r\n", ErrChunkExtension},
	{"an extension with a line feed", "1;a\nx", ErrChunkExtension},
	{"a value with a line feed", "1;a=b\nx", ErrChunkExtension},
	{"a quoted value with a line feed", "1;a=\"\n\"\r\n", ErrChunkExtension},
	{"a quoted pair with a line feed", "1;a=\"\\\n\"\r\n", ErrChunkExtension},
	{"a quoted value with a carriage return", "1;a=\"\r\"\r\n", ErrChunkExtension},
	{"something behind a quoted value", "1;a=\"b\"c\r\n", ErrChunkExtension},
	{"a long extension", "1;" + strings.Repeat("a", 300), ErrChunkLine},
	{"a chunk that is too long", "1\r\nxy\n" + short, ErrChunkEnd},
	{"a chunk that ends in a line feed", "1\r\nx\n" + short, ErrChunkEnd},
	{"a chunk that ends in a carriage return", "1\r\nx\r" + short, ErrChunkEnd},
	{"a trailer of a length", "0\r\nContent-Length: 1\r\n\r\n", ErrTrailerName},
	{"a trailer that begins like one of a proxy", "0\r\nproxy_X: 1\r\n\r\n", ErrTrailerName},
	{"a trailer without a name", "0\r\n: 1\r\n\r\n", ErrFieldName},
	{"a trailer without a colon", "0\r\nA\r\n\r\n", ErrFieldName},
	{"a trailer that is folded", "0\r\nA: b\r\n c\r\n\r\n", ErrFieldName},
	{"a trailer with a NUL", "0\r\nA: \x00\r\n\r\n", ErrFieldValue},
	{"a trailer that ends in a line feed", "0\r\nA: b\n\r\n", ErrFieldValue},
	{"a trailer that ends in a carriage return", "0\r\nA: b\rc", ErrLineEnd},
	{"the end is a carriage return", "0\r\n\rx", ErrLineEnd},
	{"17 trailers", "0\r\n" + strings.Repeat("A: b\r\n", 17) + "\r\n", ErrTrailersTooLarge},
	{"a large trailer", "0\r\nA: " + strings.Repeat("b", 3000), ErrTrailersTooLarge},
}

func TestEachFaultOfABodyHasItsError(t *testing.T) {
	for _, tt := range bodyFaults {
		for step := 1; step <= len(tt.in); step += 1 + len(tt.in)/64 {
			if got := goOver(t, FramingChunked, 0, 10, []byte(tt.in), step); !errors.Is(got.err, tt.want) || got.done {
				t.Fatalf("%s, by %d: %+v, want %v", tt.name, step, got, tt.want)
			}
		}
	}
}

func TestExtensionsAreBoundedOverABody(t *testing.T) {
	in := strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 100)
	if got := goOver(t, FramingChunked, 0, 0, []byte(in), len(in)); !errors.Is(got.err, ErrChunkLine) || got.n < maxExcessBytes {
		t.Errorf("%d bytes, %v", got.n, got.err)
	}
	in = strings.Repeat("1\r\nx\r\n", 3_000) + short
	if got := goOver(t, FramingChunked, 0, 0, []byte(in), len(in)); got.err != nil || !got.done {
		t.Errorf("byte by byte: %d bytes, %v", got.n, got.err)
	}
}

func TestABodyIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name        string
		f           Framing
		length, max int64
		in          string
		payload     string
		want        error
	}{
		{"a length within", FramingLength, 3, 3, "abc", "abc", nil},
		{"a length beyond", FramingLength, 4, 3, "abcd", "", ErrBodyTooLarge},
		{"chunks within", FramingChunked, 0, 3, "1\r\na\r\n2\r\nbc\r\n" + short, "abc", nil},
		{"until the end within", FramingClose, 0, 3, "abc", "abc", nil},
		{"until the end beyond", FramingClose, 0, 3, "abcd", "abc", ErrBodyTooLarge},
	} {
		if got := goOver(t, tt.f, tt.length, tt.max, []byte(tt.in), len(tt.in)); got.payload != tt.payload || !errors.Is(got.err, tt.want) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func TestTheEndOfAConnEndsABodyOrCutsIt(t *testing.T) {
	for _, tt := range []struct {
		f    Framing
		in   string
		want error
	}{
		{FramingNone, "", nil},
		{FramingLength, "hello", nil},
		{FramingLength, "hell", ErrCutShort},
		{FramingChunked, short, nil},
		{FramingChunked, "0\r\n", ErrCutShort},
		{FramingClose, "x", nil},
		{FramingChunked, "x", ErrChunkSize},
	} {
		var d Body
		d.Start(tt.f, 5, 0)
		_, _, _ = d.Skip([]byte(tt.in))
		if err := d.EOF(); !errors.Is(err, tt.want) || d.Done() != (tt.want == nil) {
			t.Errorf("%d, %q: %v, done=%v", tt.f, tt.in, err, d.Done())
		}
	}
}

func TestNoForbiddenTrailerPasses(t *testing.T) {
	for _, name := range notInTrailers {
		name = strings.Replace(strings.Replace(name, "*", "Any", 1), "-", "_", 1)
		for _, n := range []string{name, strings.ToUpper(name)} {
			in := "0\r\nA: b\r\n" + n + ": c\r\n\r\n"
			if got := goOver(t, FramingChunked, 0, 0, []byte(in), 1); !errors.Is(got.err, ErrTrailerName) {
				t.Errorf("%s: %+v", n, got)
			}
			if err := checkTrailerNames([]byte("a , " + n)); !errors.Is(err, ErrTrailerName) {
				t.Errorf("%s is declared: %v", n, err)
			}
		}
		for _, n := range []string{"x" + name, name[:1], strings.Replace(name, "Any", "", 1)[:2] + "x"} {
			in := "0\r\n" + n + ": c\r\n\r\n"
			if got := goOver(t, FramingChunked, 0, 0, []byte(in), 1); got.err != nil {
				t.Errorf("%s: %v", n, got.err)
			}
		}
	}
}

// FuzzBody: whatever way a chunked body is gone over, and wherever it is cut, the three ways say the same; what
// is taken net/http takes, with the same payload and the same rest; and what is sent on raw is the
// same body again, without extensions and trailers.
func FuzzBody(f *testing.F) {
	for _, tt := range bodyFaults {
		if len(tt.in) < 400 {
			f.Add([]byte(tt.in), byte(1))
		}
	}
	for _, s := range []string{"5\r\nhello\r\n0\r\n\r\nrest", "1;a=\"b\\\"\";c\r\nx\r\n0\r\nA: b\r\n\r\n", "a\r\n0123456789\r\n00\r\n\r\n"} {
		f.Add([]byte(s), byte(2))
	}
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		whole := goOver(t, FramingChunked, 0, 0, in, len(in)+1)
		cut := goOver(t, FramingChunked, 0, 0, in, int(step)+1)
		if fmt.Sprint(whole) != fmt.Sprint(cut) {
			t.Fatalf("cut by %d it is %+v, whole %+v", int(step)+1, cut, whole)
		}
		if !whole.done {
			return
		}
		rest := bytes.NewReader(in)
		buffered := bufio.NewReader(rest)
		std, err := io.ReadAll(httputil.NewChunkedReader(buffered))
		if err != nil || string(std) != whole.payload {
			t.Fatalf("net/http has %q, %v; we have %q", std, err, whole.payload)
		}
		if left := buffered.Buffered() + rest.Len(); whole.trailers == 0 && left != len(in)-whole.n+2 { // it leaves the last line
			t.Fatalf("net/http leaves %d, we leave %d of %q", left, len(in)-whole.n, in)
		}
		again := goOver(t, FramingChunked, 0, 0, []byte(whole.raw), 3)
		if again.payload != whole.payload || again.raw != whole.raw || !again.done || again.n != len(whole.raw) || again.trailers != 0 || strings.ContainsAny(strings.ReplaceAll(whole.raw, whole.payload, ""), ";") && !strings.Contains(whole.payload, ";") {
			t.Fatalf("sent on it is %+v, it was %+v", again, whole)
		}
	})
}
