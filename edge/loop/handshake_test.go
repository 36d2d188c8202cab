package loop

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"weir/edge/http1"
)

// lists reports whether the header, a list over all its lines, has the token.
func lists(h http.Header, name, token string) bool {
	for _, line := range h[name] {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// isHandshake is RFC 6455 section 4.2.1 over what net/http makes of a request.
func isHandshake(r *http.Request) bool {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-Websocket-Key"))
	return r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) && lists(r.Header, "Upgrade", "websocket") && lists(r.Header, "Connection", "upgrade") &&
		r.Header.Get("Sec-Websocket-Version") == "13" && err == nil && len(key) == 16
}

// handshakeSeeds are requests as clients send them, and some that are nearly so.
func handshakeSeeds() []string {
	return []string{
		upgrade("/ws/a"), upgrade("/ws/a%2eb?since=abc:1&format=json"), upgrade("/ws?topic=a&topic=b&since=&since=abc:2", offer),
		upgrade("/echo", offer), upgrade("/echo", "Sec-WebSocket-Protocol: chat\r\n"), upgrade("/ws/a", "Origin: https://a.example\r\n"),
		"GET /sse/a?since=abc:1 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: abc:2\r\n\r\n",
		without("Connection: "), without("Upgrade: "), without("Sec-WebSocket-Key: "), without("Sec-WebSocket-Version: "),
		upgrade("/ws/a", "Content-Length: 1\r\n") + "x", strings.Replace(upgrade("/ws/a"), "GET", "POST", 1), upgrade("/ws/a%0d%0ab"),
	}
}

// FuzzHandshake: a request that comes cut at any byte is not taken before its end, and is taken for a
// WebSocket only where net/http and the RFC have a handshake; whatever it is refused for is said, and
// nothing of it can break a line of the answer.
func FuzzHandshake(f *testing.F) {
	for _, s := range handshakeSeeds() {
		f.Add([]byte(s))
	}
	l := &loop{cfg: Config{Echo: true}.Defaults()}
	lim := http1.Limits{MaxHeadBytes: 8 << 10, MaxFields: maxHeadFields}
	f.Fuzz(func(t *testing.T, in []byte) {
		var r http1.Request
		n, err := r.Parse(in, lim)
		if err != nil {
			return
		}
		for cut := range n {
			if _, err := new(http1.Request).Parse(in[:cut], lim); !errors.Is(err, http1.ErrShort) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		o, err := l.route(&r)
		switch {
		case err != nil && err.Error() == "":
			t.Fatal("refused without a reason")
		case err != nil:
			return
		case o != nil && o.stream:
			if head := appendStreamHead(nil, o.origin); bytes.Count(head, []byte("\n")) > 8 || bytes.Count(head, []byte("\r\n\r\n")) != 1 {
				t.Fatalf("the answer is %q", head)
			}
			return
		}
		std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
		if err != nil || !isHandshake(std) {
			t.Fatalf("%q is taken for a handshake; net/http has %+v, %v", in[:n], std, err)
		}
		_ = std.Body.Close()
	})
}
