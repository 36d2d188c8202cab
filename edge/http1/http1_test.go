package http1

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
)

var limits = Limits{MaxHeadBytes: 8 << 10, MaxFields: 64}

const good = "GET /ws/a%20b?x=1&y=%2B HTTP/1.1\r\nHost: edge.example:8000\r\nConnection: keep-alive, Upgrade\r\nA:\tb \r\n\r\n"

func TestRequestIsReadInPlace(t *testing.T) {
	var r Request
	in := []byte(good + "rest")
	n, err := r.Parse(in, limits)
	if err != nil || n != len(good) {
		t.Fatalf("%d, %v", n, err)
	}
	if string(r.Method) != "GET" || string(r.Path) != "/ws/a%20b" || string(r.RawQuery) != "x=1&y=%2B" || string(r.Host) != "edge.example:8000" || r.ContentLength != -1 || r.Chunked || r.Close {
		t.Errorf("%+v", r)
	}
	if v, ok := r.Get("a"); !ok || string(v) != "b" {
		t.Errorf("a is %q", v)
	}
	if v, ok := r.Get("CONNECTION"); !ok || !HasToken(v, "upgrade") || HasToken(v, "up") {
		t.Errorf("connection is %q", v)
	}
}

func TestCutAnywhereItWaits(t *testing.T) {
	for cut := range len(good) {
		var r Request
		if n, err := r.Parse([]byte(good[:cut]), limits); !errors.Is(err, ErrShort) || n != 0 {
			t.Fatalf("cut at %d: %d, %v", cut, n, err)
		}
	}
}

func head(fields ...string) string {
	return "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

// faults has a row for each error.
var faults = []struct {
	name, in string
	want     error
}{
	{"100 KB of headers", head("A: " + strings.Repeat("a", 100<<10)), ErrHeadTooLarge},
	{"no end within the limit", "GET / HTTP/1.1\r\nA: " + strings.Repeat("a", 9000), ErrHeadTooLarge},
	{"65 headers", head(strings.Split(strings.Repeat("a: b,", 64)+"a: b", ",")...), ErrTooManyFields},
	{"one word", "GET\r\n\r\n", ErrRequestLine},
	{"no version", "GET /\r\n\r\n", ErrRequestLine},
	{"four words", "GET / x HTTP/1.1\r\n\r\n", ErrRequestLine},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", ErrRequestLine},
	{"a method with a colon", "G:T / HTTP/1.1\r\nHost: x\r\n\r\n", ErrMethod},
	{"an absolute target", "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", ErrTarget},
	{"a star", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", ErrTarget},
	{"a fragment", "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", ErrTarget},
	{"a byte beyond ASCII", "GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", ErrTarget},
	{"a percent sign alone", "GET /a% HTTP/1.1\r\nHost: x\r\n\r\n", ErrEscape},
	{"an escape that is none", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", ErrEscape},
	{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\n\r\n", ErrVersion},
	{"HTTP/2.0", "PRI / HTTP/2.0\r\nHost: x\r\n\r\n", ErrVersion},
	{"a bare line feed", "GET / HTTP/1.1\nHost: x\r\n\r\n", ErrLineEnd},
	{"a bare carriage return", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", ErrLineEnd},
	{"a space before the colon", head("A : b"), ErrFieldName},
	{"no colon", head("A"), ErrFieldName},
	{"an empty name", head(": b"), ErrFieldName},
	{"a NUL in a value", head("A: b\x00"), ErrFieldValue},
	{"a folded header", head("A: b", " c"), ErrFolded},
	{"no host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", ErrHost},
	{"two hosts", head("Host: y"), ErrHost},
	{"a host with a slash", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", ErrHost},
	{"two keys", head("Sec-WebSocket-Key: a", "sec-websocket-key: b"), ErrRepeated},
	{"a length with a sign", head("Content-Length: +1"), ErrContentLength},
	{"two lengths", head("Content-Length: 1", "Content-Length: 1"), ErrContentLength},
	{"a list of lengths", head("Content-Length: 1, 1"), ErrContentLength},
	{"a length beyond all bounds", head("Content-Length: 9999999999999999999"), ErrContentLength},
	{"a length beside chunks", head("Content-Length: 1", "Transfer-Encoding: chunked"), ErrLengthAndChunks},
	{"gzip", head("Transfer-Encoding: gzip, chunked"), ErrTransferEncoding},
	{"chunked twice", head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ErrTransferEncoding},
	{"a target without end", "GET /" + strings.Repeat("a", 9000), ErrTargetTooLong},
	{"a tunnel", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", ErrConnect},
	{"a length with an underscore", head("Content_Length: 1"), ErrUnderscore},
	{"Connection names the length", head("Connection: content-length", "Content-Length: 1"), ErrConnection},
	{"two protocols to change to", head("Upgrade: a", "Upgrade: b"), ErrRepeated},
	{"an expectation that nobody meets", head("Expect: 200-ok"), ErrExpect},
	{"a length as a trailer", head("Transfer-Encoding: chunked", "Trailer: A, Content-Length"), ErrTrailerName},
	{"a line that is wrong, before the head is whole", "GET /\r\n", ErrRequestLine},
	{"a bare line feed, before the head is whole", "GET / HTTP/1.1\r\nHost: x\n\r\n", ErrLineEnd},
	{"a bare carriage return, before the head is whole", "GET / HTTP/1.1\rHost: x\r\r", ErrLineEnd},
}

// gatewayFaults are of what a gateway takes, and the edge does not.
var gatewayFaults = []struct {
	name, in string
	want     error
}{
	{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ErrChunksInHTTP10},
	{"two hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", ErrHost},
	{"another host than the target's", "GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n", ErrHostDiffers},
	{"a target of another scheme", "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", ErrTarget},
	{"a user in an absolute target", "GET http://u@x/ HTTP/1.0\r\n\r\n", ErrTarget},
	{"an absolute target's escape", "GET http://x/%z HTTP/1.1\r\nHost: x\r\n\r\n", ErrEscape},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", ErrVersion},
	{"Connection names what the gateway relies on", head("Connection: X-Tenant-Id"), ErrConnection},
}

func TestEachFaultHasItsErrorAndStatus(t *testing.T) {
	produced := map[error]bool{ErrStatusLine: true, ErrNoBody: true, ErrCutShort: true, ErrReserved: true, ErrFraming: true} // by tests of their own
	for _, tt := range faults {
		var r Request
		if _, err := r.Parse([]byte(tt.in), limits); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		produced[tt.want] = true
	}
	for _, tt := range gatewayFaults {
		var r Request
		lim := gateway
		lim.EndToEnd = []string{"X-Tenant-*"}
		if _, err := r.Parse([]byte(tt.in), lim); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		produced[tt.want] = true
	}
	for _, tt := range bodyFaults {
		produced[tt.want] = true // TestEachFaultOfABodyHasItsError
	}
	for _, s := range statuses {
		if !produced[s.err] {
			t.Errorf("no row produces %q", s.err)
		}
		if StatusOf(s.err) != s.status {
			t.Errorf("%q has status %d", s.err, StatusOf(s.err))
		}
	}
	if StatusOf(errors.New("other")) != http.StatusBadRequest {
		t.Error("another error is not 400")
	}
}

func TestResponse(t *testing.T) {
	in := AppendResponse(nil, 404, "application/json", []Field{{Name: []byte("Retry-After"), Value: []byte("5")}}, []byte("{}"))
	var r Response
	n, err := r.Parse(in, limits)
	if v, _ := r.Get("retry-after"); err != nil || r.Status != 404 || string(in[n:]) != "{}" || string(v) != "5" {
		t.Errorf("%+v, %q, %v", r, in[n:], err)
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), nil)
	if err != nil || res.ContentLength != 2 || !res.Close {
		t.Errorf("%+v, %v", res, err)
	}
	_ = res.Body.Close()
	for _, bad := range []string{"HTTP/1.1 20\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n"} {
		if _, err := r.Parse([]byte(bad), limits); !errors.Is(err, ErrStatusLine) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestQueryValues(t *testing.T) {
	var got []string
	err := QueryValues([]byte("a=1&b=x%20y&&c&d=+%2B"), func(k, v []byte) bool {
		got = append(got, string(k)+"="+string(v))
		return true
	})
	if want := "a=1|b=x y|c=|d= +"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"a=%", "a=%2", "%zz=1"} {
		if err := QueryValues([]byte(bad), func(_, _ []byte) bool { return true }); !errors.Is(err, ErrEscape) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if p, err := PathUnescape(nil, []byte("a%2Fb+c")); err != nil || string(p) != "a/b+c" {
		t.Errorf("%q, %v", p, err)
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	var r Request
	in := []byte(good)
	if _, err := r.Parse(in, limits); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Parse(in, limits) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRepeatedListsAreOne(t *testing.T) {
	var r Request
	in := head("Connection: keep-alive", "Connection: Upgrade")
	if _, err := r.Parse([]byte(in), limits); err != nil || !r.HasToken("connection", "upgrade") || r.HasToken("connection", "close") {
		t.Errorf("%+v, %v", r, err)
	}
}

// FuzzRequest holds the parser to net/http's: what it takes, the other takes as well, and they
// agree about what it says. Cut anywhere it waits, and what follows changes nothing.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(good))
	for _, tt := range faults {
		if len(tt.in) < 200 {
			f.Add([]byte(tt.in))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var r Request
		n, err := r.Parse(in, limits)
		if err != nil {
			return
		}
		std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		defer std.Body.Close() //nolint:errcheck // it is not read
		sameHead(t, std, &r)
		for cut := range n {
			if _, err := new(Request).Parse(in[:cut], limits); !errors.Is(err, ErrShort) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		if m, err := new(Request).Parse(in[:n], limits); m != n || err != nil {
			t.Fatalf("alone the head ends at %d, with what follows at %d: %v", m, n, err)
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	var r Request
	in := []byte(good)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Parse(in, limits); err != nil {
			b.Fatal(err)
		}
	}
}
