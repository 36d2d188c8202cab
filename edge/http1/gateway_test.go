package http1

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func parseRequest(t *testing.T, in string) *Request {
	t.Helper()
	var r Request
	if n, err := r.Parse([]byte(in), gateway); err != nil || n == 0 {
		t.Fatalf("%q: %d, %v", in, n, err)
	}
	return &r
}

func parseResponse(t *testing.T, in string) *Response {
	t.Helper()
	var r Response
	if n, err := r.Parse([]byte(in), gateway); err != nil || n != len(in) {
		t.Fatalf("%q: %d, %v", in, n, err)
	}
	return &r
}

func TestForwardedStopsWhenTold(t *testing.T) {
	r := parseRequest(t, head("A: 1", "Connection: B", "B: 2", "C: 3", "D: 4"))
	var got []string
	for f := range r.Forwarded {
		if got = append(got, string(f.Name)); len(got) == 3 {
			break
		}
	}
	if !slices.Equal(got, []string{"Host", "A", "C"}) {
		t.Errorf("%q", got)
	}
	got = nil
	for f := range parseResponse(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n").Forwarded {
		got = append(got, string(f.Name))
	}
	if !slices.Equal(got, []string{"A"}) {
		t.Errorf("%q", got)
	}
}

func TestHTTP10AsABSpeaksIt(t *testing.T) {
	for _, tt := range []struct {
		in    string
		close bool
	}{
		{"GET / HTTP/1.0\r\nHost: x\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n", true},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: x\r\n\r\n", false},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n", true},
		{"POST / HTTP/1.0\r\nContent-length: 3\r\nExpect: 100-continue\r\n\r\n", true},
		{"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", true},
	} {
		r := parseRequest(t, tt.in)
		if !r.HTTP10 || r.Close != tt.close || r.Expect100 || r.Upgrade != nil {
			t.Errorf("%q: %+v", tt.in, r)
		}
		if _, err := new(Request).Parse([]byte(tt.in), limits); !errors.Is(err, ErrVersion) {
			t.Errorf("without leave: %v", err)
		}
	}
}

func TestWhatARequestAsksFor(t *testing.T) {
	for _, tt := range []struct {
		in      string
		expect  bool
		upgrade string
		framing Framing
	}{
		{head("Expect: 100-Continue", "Content-Length: 1"), true, "", FramingLength},
		{head("Expect: 100-continue", "Transfer-Encoding: chunked"), true, "", FramingChunked},
		{head("Expect: 100-continue"), false, "", FramingNone},
		{head("Expect: 100-continue", "Content-Length: 0"), false, "", FramingLength},
		{head("Connection: keep-alive, Upgrade", "Upgrade: websocket"), false, "websocket", FramingNone},
		{head("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 0"), false, "websocket", FramingLength},
		{head("Upgrade: websocket"), false, "", FramingNone},
		{head("Connection: Upgrade"), false, "", FramingNone},
		{head("Connection: Upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked"), false, "", FramingChunked},
	} {
		if r := parseRequest(t, tt.in); r.Expect100 != tt.expect || string(r.Upgrade) != tt.upgrade || r.Framing() != tt.framing {
			t.Errorf("%q: %+v", tt.in, r)
		}
	}
}

func TestNoEndToEndFieldIsOfOneHop(t *testing.T) {
	for _, pattern := range endToEnd {
		name := strings.Replace(pattern, "*", "Any", 1)
		for _, n := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "-", "_")} {
			if _, err := new(Request).Parse([]byte(head("Connection: close,"+n)), limits); !errors.Is(err, ErrConnection) {
				t.Errorf("Connection: %s is %v", n, err)
			}
		}
	}
	in := "HTTP/1.1 200 OK\r\nConnection: Set-Cookie\r\nSet-Cookie: a\r\n\r\n"
	if _, err := new(Response).Parse([]byte(in), limits); !errors.Is(err, ErrConnection) {
		t.Errorf("in an answer: %v", err)
	}
}
