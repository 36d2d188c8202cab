package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"weir/gateway/policy"
)

func TestARequestReachesTheUpstreamAsItCame(t *testing.T) {
	got := make(chan *http.Request, 1)
	body := make(chan string, 1)
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r
		body <- string(b)
		w.Header().Set("X-Answer", "yes")
		w.Header().Set("Connection", "X-Secret")
		w.Header().Set("X-Secret", "hop")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "made")
	})
	r := serve(t, Config{}, plain(up.URL), Deps{})
	c := client(t)
	req, err := http.NewRequest(http.MethodPut, "http://"+r.addr+"/a%20b/c;d?x=1&y=%20&z;=;", strings.NewReader("payload"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"X-Mine": "1", "Connection": "X-Hop", "X-Hop": "no", "Keep-Alive": "x", "Proxy-Authorization": "no", "X-Forwarded-For": "9.9.9.9",
		"Forwarded": "for=9.9.9.9", "X-Real-Ip": "9.9.9.9", "X-Weir-Identity": "root", "X-Request-Id": "forged", "Accept-Encoding": "br", "User-Agent": "",
	} {
		req.Header.Set(name, value)
	}
	res, text := do(t, c, req)
	in := <-got
	if in.Method != "PUT" || in.RequestURI != "/a%20b/c;d?x=1&y=%20&z;=;" || <-body != "payload" || in.ContentLength != 7 {
		t.Errorf("%s %s", in.Method, in.RequestURI)
	}
	for name, want := range map[string]string{
		"X-Mine": "1", "X-Hop": "", "Keep-Alive": "", "Proxy-Authorization": "", "X-Forwarded-For": "127.0.0.1", "Forwarded": "",
		"X-Real-Ip": "127.0.0.1", "X-Weir-Identity": "", "Accept-Encoding": "br", "User-Agent": "", "X-Forwarded-Proto": "http", "X-Forwarded-Host": r.addr,
	} {
		if v := in.Header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	id := in.Header.Get("X-Request-Id")
	if len(id) != 32 || id == "forged" || res.Header.Get("X-Request-Id") != id {
		t.Errorf("request ids %q and %q", id, res.Header.Get("X-Request-Id"))
	}
	if res.StatusCode != 201 || text != "made" || res.Header.Get("X-Answer") != "yes" || res.Header.Get("X-Secret") != "" {
		t.Errorf("%d %q %v", res.StatusCode, text, res.Header)
	}
}

func TestAnAnswerIsAsTheUpstreamSaid(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", "5")
			fmt.Fprint(w, "12345")
		case "/chunked":
			fmt.Fprint(w, "12")
			w.(http.Flusher).Flush()
			fmt.Fprint(w, "345")
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
		case "/trailer":
			w.Header().Set("Trailer", "X-Sum")
			fmt.Fprint(w, "12345")
			w.Header().Set("X-Sum", "15")
		case "/500":
			w.WriteHeader(500)
			fmt.Fprint(w, "oops")
		case "/hints":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			fmt.Fprint(w, "12345")
		}
	})
	r := serve(t, Config{}, plain(up.URL), Deps{})
	c := client(t)
	for path, want := range map[string]struct {
		status int
		length int64
		body   string
	}{
		"/length": {200, 5, "12345"}, "/chunked": {200, -1, "12345"}, "/204": {204, 0, ""}, "/304": {304, 0, ""}, "/500": {500, 4, "oops"}, "/hints": {200, 5, "12345"},
	} {
		res, body := ask(t, c, "http://"+r.addr+path)
		if res.StatusCode != want.status || res.ContentLength != want.length || body != want.body {
			t.Errorf("%s: %d, %d bytes, %q", path, res.StatusCode, res.ContentLength, body)
		}
	}
	res, _ := ask(t, c, "http://"+r.addr+"/trailer", "TE", "trailers")
	if res.Trailer.Get("X-Sum") != "15" {
		t.Errorf("trailers %v", res.Trailer)
	}
	head, err := c.Head("http://" + r.addr + "/length")
	if err != nil {
		t.Fatal(err)
	}
	_ = head.Body.Close()
	if head.ContentLength != 5 {
		t.Errorf("HEAD: %d", head.ContentLength)
	}
}

func TestBodiesOfAnyLengthGoBothWays(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body) // a server of net/http does not read any more once it answers
		_, _ = w.Write(b)
	})
	plan := plain(up.URL)
	plan.Rules.Routes[0].MaxBody = -1
	r := serve(t, Config{}, plan, Deps{})
	c := client(t)
	for _, size := range []int{0, 1, 4095, 4096, 65536, 1<<20 + 1, 20 << 20} {
		for _, chunked := range []bool{false, true} {
			sent := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
			var in io.Reader = bytes.NewReader(sent)
			if chunked {
				in = io.MultiReader(in) // of no length that net/http knows
			}
			req, err := http.NewRequest(http.MethodPost, "http://"+r.addr+"/", in)
			if err != nil {
				t.Fatal(err)
			}
			res, body := do(t, c, req)
			if res.StatusCode != 200 || body != string(sent) {
				t.Errorf("%d bytes, chunked %v: %d, %d bytes back", size, chunked, res.StatusCode, len(body))
			}
		}
	}
}

func TestABodyIsBounded(t *testing.T) {
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	plan := plain(up.URL)
	plan.Rules.Routes[0].MaxBody = 1000
	r := serve(t, Config{}, plan, Deps{})
	c := client(t)
	for size, want := range map[int]int{999: 200, 1000: 200, 1001: 413, 1 << 20: 413} {
		for _, chunked := range []bool{false, true} {
			var in io.Reader = strings.NewReader(strings.Repeat("x", size))
			if chunked {
				in = io.MultiReader(in)
			}
			req, err := http.NewRequest(http.MethodPost, "http://"+r.addr+"/", in)
			if err != nil {
				t.Fatal(err)
			}
			res, err := c.Do(req)
			if err != nil {
				if want == 413 { // the conn may be closed while the client still sends
					continue
				}
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%d bytes, chunked %v: %d", size, chunked, res.StatusCode)
			}
		}
	}
}

func TestExpectContinueIsAnsweredBeforeTheBodyIsSent(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, len(b))
	})
	r := serve(t, Config{}, plain(up.URL), Deps{})
	c, in := r.dial(t)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	line, err := in.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "abc")
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	r := serve(t, Config{}, plain(up.URL), Deps{})
	c, in := r.dial(t)
	var text strings.Builder
	for i := range 20 {
		fmt.Fprintf(&text, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
	}
	fmt.Fprint(c, text.String()+"GET /bad HTTP/1.1\nHost: a\n\n")
	for i := range 20 {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(i, err)
		}
		b, _ := io.ReadAll(res.Body)
		if string(b) != fmt.Sprintf("/%d", i) {
			t.Fatalf("answer %d is %q", i, b)
		}
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 400 {
		t.Fatalf("what is malformed after them: %v, %v", res, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if b, err := in.ReadByte(); err != io.EOF {
		t.Errorf("after that: %q, %v", b, err)
	}
}

func TestHTTP10ClientsAreServed(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	r := serve(t, Config{}, plain(up.URL), Deps{})
	c, in := r.dial(t)
	for i := range 3 { // as ab -k does
		fmt.Fprint(c, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(i, err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != "hello" || res.ContentLength != 5 {
			t.Fatalf("%q, %d", b, res.ContentLength)
		}
	}
	c2, in2 := r.dial(t)
	fmt.Fprint(c2, "GET / HTTP/1.0\r\n\r\n")
	b, err := io.ReadAll(in2)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.0 200") && !strings.HasPrefix(string(b), "HTTP/1.1 200") || !strings.HasSuffix(string(b), "hello") {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAPrefixMayBeTakenOffAndTheHostKept(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host+r.RequestURI) })
	plan := plain(up.URL)
	plan.Rules.Routes = []policy.Route{
		{Name: "strip", Path: "/app", Upstream: "u", StripPath: true, KeepHost: true},
		{Name: "all", Upstream: "u"},
	}
	r := serve(t, Config{}, plan, Deps{})
	server := strings.TrimPrefix(up.URL, "http://")
	for path, want := range map[string]string{
		"/app/x?y":    "a.example/x?y",
		"/app":        "a.example/",
		"/app/%2e%7e": "a.example/%2e%7e",
		"/b":          server + "/b",
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+r.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "a.example"
		if _, body := do(t, client(t), req); body != want {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
}
