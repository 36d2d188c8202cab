package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
)

func TestAnswersAreFramed(t *testing.T) {
	for _, tt := range []struct {
		name, method, in string
		framing          Framing
		close            bool
		err              error
	}{
		{"a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", FramingLength, false, nil},
		{"a length of 0", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", FramingLength, false, nil},
		{"chunks", "POST", "HTTP/1.1 500\r\nTransfer-Encoding: chunked\r\n\r\n", FramingChunked, false, nil},
		{"neither", "GET", "HTTP/1.1 200 OK\r\n\r\n", FramingClose, true, nil},
		{"neither, and close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", FramingClose, true, nil},
		{"a length and close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", FramingLength, true, nil},
		{"to a HEAD, a length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", FramingNone, false, nil},
		{"to a HEAD, chunks", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", FramingNone, false, nil},
		{"to a HEAD, neither", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", FramingNone, false, nil},
		{"to what only looks like a HEAD", "head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", FramingLength, false, nil},
		{"100", "POST", "HTTP/1.1 100 Continue\r\n\r\n", FramingNone, false, nil},
		{"103", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", FramingNone, false, nil},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", FramingNone, false, nil},
		{"204 with a length of 0", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", FramingNone, false, nil},
		{"204 with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", FramingNone, false, ErrNoBody},
		{"204 with chunks", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", FramingNone, false, ErrNoBody},
		{"100 with a length", "GET", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", FramingNone, false, ErrNoBody},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", FramingNone, false, nil},
		{"205", "GET", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", FramingLength, false, nil},
		{"to a CONNECT, a tunnel", "CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", FramingNone, false, nil},
		{"to a CONNECT, a refusal", "CONNECT", "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\n", FramingLength, false, nil},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n\r\n", FramingClose, true, nil},
		{"HTTP/1.0 with keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", FramingLength, true, nil},
	} {
		r := parseResponse(t, tt.in)
		if f, err := r.Framing([]byte(tt.method)); f != tt.framing || r.Close != tt.close || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d, close=%v, %v", tt.name, f, r.Close, err)
		}
	}
}

func TestAnswersInDoubtAreRefused(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want error
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ErrLengthAndChunks},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", ErrContentLength},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", ErrContentLength},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", ErrTransferEncoding},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ErrChunksInHTTP10},
		{"HTTP/1.1 200 O\x00K\r\n\r\n", ErrStatusLine},
		{"HTTP/1.1 +20 OK\r\n\r\n", ErrStatusLine},
		{"HTTP/1.1  200 OK\r\n\r\n", ErrStatusLine},
		{"HTTP/1.1 099 OK\r\n\r\n", ErrStatusLine},
		{"http/1.1 200 OK\r\n\r\n", ErrStatusLine},
		{"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", ErrFolded},
		{"HTTP/1.1 200 OK\nA: b\r\n\r\n", ErrLineEnd},
	} {
		if n, err := new(Response).Parse([]byte(tt.in), gateway); n != 0 || !errors.Is(err, tt.want) {
			t.Errorf("%q: %d, %v, want %v", tt.in, n, err, tt.want)
		}
	}
}

func TestOnlyA101Upgrades(t *testing.T) {
	const fields = "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
	if r := parseResponse(t, "HTTP/1.1 101 Switching Protocols\r\n"+fields); string(r.Upgrade) != "websocket" || string(r.Reason) != "Switching Protocols" {
		t.Errorf("%+v", r)
	}
	if r := parseResponse(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"+fields); r.Upgrade != nil {
		t.Errorf("%+v", r)
	}
}

// FuzzResponse holds answers to net/http's client: what is taken it takes as well, with the same status,
// body and rest; and what is sent on is the same answer.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\nx",
		"HTTP/1.0 200 OK\r\n\r\nuntil the end", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\nx", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nx",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200\r\nConnection: X-Hop\r\nX-Hop: a\r\nPragma: no-cache\r\n\r\nx",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			f.Add([]byte(s), method == "HEAD")
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, isHead bool) {
		method := http.MethodGet
		if isHead {
			method = http.MethodHead
		}
		var r Response
		var d Body
		n, err := r.Parse(in, gateway)
		if err != nil {
			return
		}
		framing, err := r.Framing([]byte(method))
		if err != nil {
			return
		}
		rest := bytes.NewReader(in)
		buffered := bufio.NewReader(rest)
		std, err := http.ReadResponse(buffered, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", in[:n], err)
		}
		d.Start(framing, r.ContentLength, 0)
		var payload []byte
		for end := n; !d.Done() && end < len(in); {
			data, k, _, err := d.Next(in[end:])
			if payload = append(payload, data...); err != nil {
				return // net/http may be more tolerant of chunks of answers
			}
			end += k
			n = end
		}
		body, err := io.ReadAll(std.Body)
		if std.StatusCode != r.Status || !bytes.Equal(body, payload) || (err == nil) != (d.EOF() == nil) {
			t.Fatalf("net/http has %d %q %v, we have %d %q %v", std.StatusCode, body, err, r.Status, payload, d.EOF())
		}
		if left := buffered.Buffered() + rest.Len(); err == nil && left != len(in)-n {
			t.Fatalf("net/http leaves %d bytes, we leave %d of %q", left, len(in)-n, in)
		}
		out, err := AppendResponseHead(nil, &r, &Onward{Framing: framing, Length: r.ContentLength, Upgrade: true})
		if err != nil {
			t.Fatal(err)
		}
		var again Response
		if n, err := again.Parse(out, Limits{MaxHeadBytes: len(out), MaxFields: len(r.Fields) + 4}); err != nil || n != len(out) {
			t.Fatalf("%q was sent on as %q: %v", in, out, err)
		}
		if f, err := again.Framing([]byte(method)); f != framing || err != nil || again.Status != r.Status || !bytes.Equal(again.Upgrade, r.Upgrade) || framing == FramingLength && again.ContentLength != r.ContentLength {
			t.Fatalf("%+v was sent on as %+v: %v", r, again, err)
		}
	})
}
