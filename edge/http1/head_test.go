package http1

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"weir/internal/smuggling"
)

func field(name, value string) Field { return Field{Name: []byte(name), Value: []byte(value)} }

func TestRequestHeadIsSentOn(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		o        Onward
		want     string
	}{
		{"as it is", head("A:b", "Cookie: c"), Onward{}, "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nCookie: c\r\n\r\n"},
		{"its target byte for byte", "GET /a//%2e./b?c=%zz&d? HTTP/1.1\r\nHost: x\r\n\r\n", Onward{}, "GET /a//%2e./b?c=%zz&d? HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an empty query is one", "GET /a? HTTP/1.1\r\nHost: x\r\n\r\n", Onward{}, "GET /a? HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an absolute target as a path", "GET HTTP://x:80?a HTTP/1.1\r\nHost: X:80\r\n\r\n", Onward{}, "GET /?a HTTP/1.1\r\nHost: x:80\r\n\r\n"},
		{"another host", head(), Onward{Host: []byte("up:81")}, "GET / HTTP/1.1\r\nHost: up:81\r\n\r\n"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Onward{}, "GET / HTTP/1.1\r\nHost: \r\n\r\n"},
		{"a length, stated anew", head("A: b", "content-length: 007"), Onward{}, "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nContent-Length: 7\r\n\r\n"},
		{"a length of 0", head("Content-Length: 0"), Onward{}, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"},
		{"chunks", head("Transfer-Encoding: CHUNKED", "Trailer: A"), Onward{}, "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"chunks as a length", head("Transfer-Encoding: chunked"), Onward{Framing: FramingLength, Length: 3}, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"},
		{"a length as chunks", head("Content-Length: 3"), Onward{Framing: FramingChunked}, "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"without what is of one hop", head("Connection: close, X-Hop,Keep-Alive", "Keep-Alive: 5", "Proxy-Connection: x", "Proxy-Authorization: x", "x-hop: y", "X-Hops: z", "Upgrade: h2c", "HTTP2-Settings: x", "TE: gzip"), Onward{}, "GET / HTTP/1.1\r\nHost: x\r\nX-Hops: z\r\n\r\n"},
		{"TE is trailers or nothing", head("Connection: TE", "TE: gzip, trailers"), Onward{Close: true}, "GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"},
		{"without what is replaced", head("X-Forwarded-For: 1", "x_forwarded_host: y", "Expect: 100-continue", "A: b"), Onward{Without: []string{"x-forwarded-*", "Expect"}, Extra: []Field{field("X-Forwarded-For", "2")}}, "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nX-Forwarded-For: 2\r\n\r\n"},
		{"an upgrade that is passed", head("Connection: Upgrade", "Upgrade: websocket"), Onward{Upgrade: true}, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"},
		{"an upgrade that is not", head("Connection: Upgrade", "Upgrade: websocket"), Onward{}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an upgrade that Connection does not have", head("Upgrade: websocket"), Onward{Upgrade: true}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an upgrade with a body", head("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 1"), Onward{Upgrade: true}, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"},
	} {
		got, err := AppendRequestHead([]byte("before|"), parseRequest(t, tt.in), &tt.o)
		if err != nil || string(got) != "before|"+tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestResponseHeadIsSentOn(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		o        Onward
		want     string
	}{
		{"a length", "HTTP/1.1 200 All fine\r\nContent-Length: 3\r\nA: b\r\nSet-Cookie: c\r\nSet-Cookie: d\r\n\r\n", Onward{Framing: FramingLength, Length: 3}, "HTTP/1.1 200 All fine\r\nA: b\r\nSet-Cookie: c\r\nSet-Cookie: d\r\nContent-Length: 3\r\n\r\n"},
		{"chunks", "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n", Onward{Framing: FramingChunked}, "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"until the end", "HTTP/1.0 200 OK\r\n\r\n", Onward{Framing: FramingClose, KeepAlive: true}, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"},
		{"until the end, as chunks", "HTTP/1.0 200 OK\r\n\r\n", Onward{Framing: FramingChunked}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"to HTTP/1.0 with keep-alive", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Onward{Framing: FramingLength, Length: 3, KeepAlive: true}, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n"},
		{"to a HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Onward{}, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"},
		{"to a HEAD, of chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Onward{}, "HTTP/1.1 200 OK\r\n\r\n"},
		{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nETag: x\r\n\r\n", Onward{}, "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 3\r\n\r\n"},
		{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Onward{}, "HTTP/1.1 204 No Content\r\n\r\n"},
		{"what is of one hop", "HTTP/1.1 200 OK\r\nConnection: X-Hop, Transfer-Encoding\r\nX-Hop: a\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n", Onward{Framing: FramingChunked}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"a change of protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n", Onward{Upgrade: true}, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"},
		{"what is replaced", "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", Onward{Framing: FramingLength, Without: []string{"server"}, Extra: []Field{field("Via", "1.1 weir")}}, "HTTP/1.1 200 OK\r\nVia: 1.1 weir\r\nContent-Length: 0\r\n\r\n"},
	} {
		got, err := AppendResponseHead([]byte("before|"), parseResponse(t, tt.in), &tt.o)
		if err != nil || string(got) != "before|"+tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestNothingIsInjected(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Onward
		want error
	}{
		{"a line in a value", Onward{Extra: []Field{field("A", "b\r\nC: d")}}, ErrFieldValue},
		{"a line in a name", Onward{Extra: []Field{field("A: b\r\nC", "d")}}, ErrFieldName},
		{"an empty name", Onward{Extra: []Field{field("", "d")}}, ErrFieldName},
		{"a line in the host", Onward{Host: []byte("x\r\nA: b")}, ErrHost},
		{"another length", Onward{Extra: []Field{field("content-length", "1")}}, ErrReserved},
		{"another coding", Onward{Extra: []Field{field("Transfer_Encoding", "chunked")}}, ErrReserved},
		{"another host", Onward{Extra: []Field{field("Host", "y")}}, ErrReserved},
		{"other options", Onward{Extra: []Field{field("Connection", "close")}}, ErrReserved},
		{"a length below 0", Onward{Framing: FramingLength, Length: -1}, ErrFraming},
		{"a framing that is none", Onward{Framing: 9}, ErrFraming},
	} {
		for _, dst := range []string{"", "before"} {
			if got, err := AppendRequestHead([]byte(dst), parseRequest(t, head()), &tt.o); !errors.Is(err, tt.want) || string(got) != dst {
				t.Errorf("%s: %q, %v", tt.name, got, err)
			}
			if got, err := AppendResponseHead([]byte(dst), &Response{Status: 200, ContentLength: -1}, &tt.o); !errors.Is(err, tt.want) || string(got) != dst {
				t.Errorf("%s in an answer: %q, %v", tt.name, got, err)
			}
		}
	}
	if got, err := AppendRequestHead(nil, parseRequest(t, head()), &Onward{Framing: FramingClose}); !errors.Is(err, ErrFraming) {
		t.Errorf("a request until the end: %q, %v", got, err)
	}
	if got, err := AppendResponseHead(nil, &Response{Status: 204, ContentLength: -1}, &Onward{Framing: FramingChunked}); !errors.Is(err, ErrFraming) {
		t.Errorf("a 204 with chunks: %q, %v", got, err)
	}
}

// FuzzHead: what is parsed and sent on is parsed again as the same request, with only what was there to be sent
// on, and nothing left of the hop.
func FuzzHead(f *testing.F) {
	for _, c := range smuggling.Cases() {
		if len(c.Raw) < 1000 {
			f.Add(c.Raw)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var r, again Request
		if _, err := r.Parse(in, gateway); err != nil {
			return
		}
		out, err := AppendRequestHead(nil, &r, &Onward{Close: r.Close, Upgrade: true, Extra: []Field{field("X-Forwarded-For", "192.0.2.1")}, Without: []string{"x-forwarded-for"}})
		if err != nil {
			t.Fatal(err)
		}
		lim := Limits{MaxHeadBytes: len(out), MaxFields: len(r.Fields) + 4}
		if n, err := again.Parse(out, lim); err != nil || n != len(out) {
			t.Fatalf("%q was sent on as %q: %d, %v", in, out, n, err)
		}
		if !bytes.Equal(r.Method, again.Method) || !bytes.Equal(r.Path, again.Path) || !bytes.Equal(r.RawQuery, again.RawQuery) || (r.RawQuery == nil) != (again.RawQuery == nil) ||
			!bytes.Equal(r.Host, again.Host) || r.ContentLength != again.ContentLength || r.Chunked != again.Chunked || r.Close != again.Close || !bytes.Equal(r.Upgrade, again.Upgrade) {
			t.Fatalf("%+v was sent on as %+v", r, again)
		}
		list := func(r *Request) (all []string) {
			for f := range r.Forwarded {
				if !sameName(f.Name, "x-forwarded-for") && !equalFold(f.Name, "host") && !equalFold(f.Name, "content-length") {
					all = append(all, string(f.Name)+": "+string(f.Value))
				}
			}
			return all
		}
		if was, is := list(&r), list(&again); !slices.Equal(was, is) {
			t.Fatalf("%q was sent on as %q", was, is)
		}
		if v, _ := again.Get("X-Forwarded-For"); string(v) != "192.0.2.1" || count(again.Fields, []byte("X-Forwarded-For")) != 1 {
			t.Fatalf("%q has not the address that was given", out)
		}
		once, err := AppendRequestHead(nil, &again, &Onward{Close: again.Close, Upgrade: true})
		if err != nil || len(once) != len(out) {
			t.Fatalf("%q becomes %q: %v", out, once, err)
		}
	})
}

func TestSendingOnAllocatesNothing(t *testing.T) {
	var r Request
	var a Response
	var d Body
	o := Onward{Extra: []Field{field("X-Forwarded-For", "192.0.2.1")}, Without: []string{"X-Forwarded-*", "Forwarded"}}
	ao := Onward{Framing: FramingChunked}
	buf, sum := make([]byte, 0, 4096), 0
	in := []byte(browser)
	answer := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n")
	body := []byte("5;a\r\nhello\r\n0\r\nA: b\r\n\r\n")
	for _, tt := range []struct {
		name string
		once func() (ok bool)
	}{
		{"Request.Parse", func() bool { n, err := r.Parse(in, gateway); return n == len(in) && err == nil }},
		{"AppendRequestHead", func() bool { out, err := AppendRequestHead(buf, &r, &o); return len(out) > 0 && err == nil }},
		{"Request.Forwarded", func() bool {
			for f := range r.Forwarded {
				sum += len(f.Name)
			}
			return sum > 0
		}},
		{"Response.Parse", func() bool { n, err := a.Parse(answer, gateway); return n == len(answer) && err == nil }},
		{"AppendResponseHead", func() bool { out, err := AppendResponseHead(buf, &a, &ao); return len(out) > 0 && err == nil }},
		{"Body.Skip", func() bool {
			d.Start(FramingChunked, 0, 1<<20)
			n, done, err := d.Skip(body)
			return n == len(body) && done && err == nil
		}},
		{"Body.Raw", func() bool {
			d.Start(FramingChunked, 0, 1<<20)
			for at := 0; at < len(body); {
				_, n, _, _ := d.Raw(body[at:])
				at += n
			}
			return d.Done()
		}},
	} {
		if !tt.once() {
			t.Fatalf("%s fails", tt.name)
		}
		if n := testing.AllocsPerRun(100, func() { tt.once() }); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func TestValuesAreLookedAtAsTheirBytesAre(t *testing.T) {
	t.Parallel()
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := bytes.Repeat([]byte{'~'}, n)
				b[at] = byte(c)
				if got, want := isValue(b), all(b, valueByte); got != want {
					t.Fatalf("isValue(%q) = %v, want %v", b, got, want)
				}
			}
		}
	}
}

// TestFieldsAreReadInOnePassAsInSeveral: what the quick way reads is what the other one reads.
func TestFieldsAreReadInOnePassAsInSeveral(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"Host: a\r\n", "A:b\r\n", "A:\r\n", "A: \r\n", "A:   b c\r\n", "A: b \r\n", "A:\tb\r\n", "A: b\tc\r\n", "A : b\r\n", " A: b\r\n", "A: b\n", "A: b\rc\r\n",
		"A: b\x7f\r\n", "A: 12345678\x00\r\n", "A: \xc3\xbc\r\n", ": b\r\n", "A\r\n", "A: b\r", "A: b", "A:", "A", "\r\n", "", "A: long enough for two words\r\n",
	} {
		in := []byte(line)
		colon, start, end := quickField(in)
		if colon == 0 {
			continue
		}
		f, n := Field{Name: in[:colon], Value: in[start:end]}, end+2
		l, rest, err := cutLine(in)
		i := bytes.IndexByte(l, ':')
		if err != nil || len(in)-len(rest) != n || i < 0 || !bytes.Equal(f.Name, l[:i]) || !isToken(l[:i]) || !bytes.Equal(f.Value, trim(l[i+1:])) || !isValue(f.Value) {
			t.Errorf("quickField(%q) = %q, %q, %d", line, f.Name, f.Value, n)
		}
	}
}
