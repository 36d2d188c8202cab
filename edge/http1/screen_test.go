package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"weir/internal/smuggling"
)

// feed has a Screen look at in, which comes in parts of step bytes.
func feed(s *Screen, in []byte, step int) (pass int, err error) {
	for end := 0; end < len(in) && err == nil; {
		end = min(len(in), end+step)
		var n int
		n, err = s.Feed(in[pass:end])
		pass += n
	}
	return pass, err
}

func TestScreenHoldsWhatIsSmuggled(t *testing.T) {
	for _, c := range smuggling.Cases() {
		_, end, wrong := readAll(c.Raw)
		whole := &Screen{Limits: gateway}
		pass, err := feed(whole, c.Raw, len(c.Raw))
		if statusOf(err) != c.Status || pass < end || wrong == nil && pass != len(c.Raw) {
			t.Errorf("%s (%s): %d of %d bytes pass, then %v", c.Name, c.Why, pass, len(c.Raw), err)
		}
		for _, step := range [...]int{1, 2, 3, 7, 19, 61} {
			if len(c.Raw)/step > 4096 {
				continue
			}
			if p, err := feed(&Screen{Limits: gateway}, c.Raw, step); p != pass || (err == nil) != (wrong == nil) {
				t.Errorf("%s: by %d bytes %d pass, whole %d: %v", c.Name, step, p, pass, err)
			}
		}
		if _, err := whole.Feed([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); (err == nil) != c.Good() {
			t.Errorf("%s: after %v comes %v", c.Name, wrong, err)
		}
		agree(t, c.Raw[:pass])
	}
}

func TestAHeadIsHeldUntilItIsWhole(t *testing.T) {
	const first, second = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
	in := first + "hello" + second
	s := &Screen{Limits: gateway}
	pass := 0
	for end := range len(in) + 1 {
		n, err := s.Feed([]byte(in[pass:end]))
		if err != nil {
			t.Fatal(err)
		}
		pass += n
		want := 0
		switch {
		case end == len(in):
			want = end
		case end >= len(first):
			want = min(end, len(first)+5)
		}
		if pass != want {
			t.Errorf("of %d bytes %d pass, want %d", end, pass, want)
		}
	}
}

func TestAScreenLetsOtherProtocolsThrough(t *testing.T) {
	const frames = "\x00\x00\x00\x04\x00\x00\x00\x00\x00\r\r\n\n"
	s := &Screen{Limits: gateway, AllowHTTP2: true}
	pass, err := feed(s, []byte(preface+frames), 1)
	if err != nil || pass != len(preface)+len(frames) || !s.HTTP2() {
		t.Errorf("HTTP/2: %d, %v", pass, err)
	}
	s = &Screen{Limits: gateway, AllowHTTP2: true}
	if pass, err = feed(s, []byte(wrk+preface), 1); pass != len(wrk) || !errors.Is(err, ErrVersion) || s.HTTP2() {
		t.Errorf("HTTP/2 behind a request: %d, %v", pass, err)
	}
	s = &Screen{Limits: gateway, AllowHTTP2: true}
	if pass, err = feed(s, []byte("PRI * HTTP/2.0\r\n\r\nSX"+wrk), 1); pass != 0 || !errors.Is(err, ErrVersion) {
		t.Errorf("what only begins as HTTP/2: %d, %v", pass, err)
	}
	s = &Screen{Limits: gateway, AllowHTTP2: true}
	if pass, err = feed(s, []byte("POST / HTTP/1.1\r\nHost: x\r\n\r\n"), 1); pass != 28 || err != nil {
		t.Errorf("POST: %d, %v", pass, err)
	}
	s = &Screen{Limits: gateway}
	if pass, err = feed(s, []byte(preface), 1); pass != 0 || !errors.Is(err, ErrVersion) {
		t.Errorf("HTTP/2 without leave: %d, %v", pass, err)
	}
	s = &Screen{Limits: gateway}
	upgrade := head("Connection: Upgrade", "Upgrade: websocket")
	if pass, err = feed(s, []byte(upgrade), 1); pass != len(upgrade) || err != nil {
		t.Errorf("an upgrade: %d, %v", pass, err)
	}
	s.Switched()
	if pass, err = s.Feed([]byte(frames)); pass != len(frames) || err != nil {
		t.Errorf("after the upgrade: %d, %v", pass, err)
	}
	s = &Screen{Limits: gateway}
	if pass, err = feed(s, []byte(upgrade+frames), len(upgrade)); pass != len(upgrade) || err == nil {
		t.Errorf("an upgrade that was not agreed to: %d, %v", pass, err)
	}
}

func TestAScreenBoundsBodies(t *testing.T) {
	s := &Screen{Limits: gateway, MaxBodyBytes: 4}
	if pass, err := s.Feed([]byte(head("Content-Length: 5") + "hello")); pass != 0 || !errors.Is(err, ErrBodyTooLarge) {
		t.Errorf("a length: %d, %v", pass, err)
	}
	s = &Screen{Limits: gateway, MaxBodyBytes: 4}
	chunks := head("Transfer-Encoding: chunked")
	if pass, err := s.Feed([]byte(chunks + "5\r\nhello\r\n0\r\n\r\n")); pass != len(chunks)+2 || !errors.Is(err, ErrBodyTooLarge) {
		t.Errorf("chunks: %d, %v", pass, err)
	}
	if pass, err := s.Feed([]byte(wrk)); pass != 0 || !errors.Is(err, ErrBodyTooLarge) {
		t.Errorf("afterwards: %d, %v", pass, err)
	}
}

func TestAScreenAllocatesNothing(t *testing.T) {
	s := &Screen{Limits: gateway}
	post := []byte("POST http://x/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nA: b\r\n\r\n")
	if n := testing.AllocsPerRun(100, func() {
		if n, err := s.Feed(post); n != len(post) || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzScreen: what passes net/http reads as the same requests, and it is the same wherever it is cut.
func FuzzScreen(f *testing.F) {
	for _, c := range smuggling.Cases() {
		if len(c.Raw) < 1000 {
			f.Add(c.Raw, byte(7))
		}
	}
	f.Add([]byte(head("Transfer-Encoding: chunked", "Trailer: A, B")+"1\r\nx\r\n0\r\nA: b\r\n\r\n"+strings.Replace(wrk, "HTTP/1.1", "HTTP/1.0", 1)+wrk), byte(1))
	f.Add([]byte("GET http://[::1]:80/%41?x HTTP/1.1\r\nHost: [::1]:80\r\nPragma: no-cache\r\n\r\n"), byte(1))
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		pass, err := feed(&Screen{Limits: gateway}, in, len(in)+1)
		p, err2 := feed(&Screen{Limits: gateway}, in, int(step)+1)
		if p != pass || (err == nil) != (err2 == nil) {
			t.Fatalf("by %d bytes %d pass (%v), whole %d (%v)", int(step)+1, p, err2, pass, err)
		}
		agree(t, in[:pass])
	})
}

// agree holds what passed a Screen to net/http: it reads the same requests out of it, and leaves the same rest.
func agree(t *testing.T, in []byte) {
	t.Helper()
	rest := bytes.NewReader(in)
	buffered := bufio.NewReader(rest)
	var r Request
	for at := 0; at < len(in); {
		n, err := r.Parse(in[at:], gateway)
		if err != nil {
			t.Fatalf("%q passed: %v", in[at:], err)
		}
		at += n
		std, err := http.ReadRequest(buffered)
		if err != nil {
			t.Fatalf("%q passed, and net/http refuses it: %v", in[at-n:at], err)
		}
		sameHead(t, std, &r)
		payload, n, done, trailers := walk(&r, in[at:])
		at += n
		body, err := io.ReadAll(std.Body)
		if !bytes.Equal(body, payload) {
			t.Fatalf("net/http has the body %q (%v), we have %q", body, err, payload)
		}
		if (err == nil) != done {
			t.Fatalf("net/http has %v at the end of the body, we have done=%v, of %q", err, done, in)
		}
		if !done {
			return
		}
		maps.DeleteFunc(std.Trailer, func(_ string, v []string) bool { return v == nil }) // announced, and not sent
		if (len(std.Trailer) > 0) != (trailers > 0) {
			t.Fatalf("net/http has the trailers %v, we have %d", std.Trailer, trailers)
		}
		if left := buffered.Buffered() + rest.Len(); left != len(in)-at {
			t.Fatalf("net/http leaves %d bytes, we leave %d of %q", left, len(in)-at, in)
		}
	}
}

// walk is a request's payload, and how many bytes its body has.
func walk(r *Request, in []byte) (payload []byte, n int, done bool, trailers int) {
	var d Body
	d.Start(r.Framing(), r.ContentLength, 0)
	for !done && n < len(in) {
		data, k, end, err := d.Next(in[n:])
		if err != nil {
			return payload, n, false, d.Trailers()
		}
		payload, n, done = append(payload, data...), n+k, end
	}
	return payload, n, d.Done(), d.Trailers()
}
