package loop

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// closing is the payload of a close frame.
func closing(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// frameRows are what a client may not send on a WebSocket, each on a conn of its own.
func frameRows() []frameRow {
	rows := []frameRow{
		{"an unmasked text", "\x81\x01x", 1002, ""},
		{"an unmasked ping", "\x89\x00", 1002, ""},
		{"an unmasked close", "\x88\x02\x03\xe8", 1002, ""},
		{"RSV1 on a text", masked(0xc1, "x"), 1002, ""},
		{"RSV2 on a text", masked(0xa1, "x"), 1002, ""},
		{"RSV3 on a binary", masked(0x92, "x"), 1002, ""},
		{"RSV1 on a ping", masked(0xc9, "x"), 1002, ""},
		{"RSV2 on a pong", masked(0xaa, "x"), 1002, ""},
		{"RSV3 on a close", masked(0x98, closing(1000, "")), 1002, ""},
		{"RSV1 on a continuation", masked(0x01, "x") + masked(0xc0, "x"), 1002, "-"},
		{"a fragmented ping", masked(0x09, "x"), 1002, ""},
		{"a fragmented pong", masked(0x0a, "x"), 1002, ""},
		{"a fragmented close", masked(0x08, closing(1000, "")), 1002, ""},
		{"a ping of 126 bytes", masked(0x89, strings.Repeat("x", 126)), 1002, ""},
		{"a pong of 126 bytes", masked(0x8a, strings.Repeat("x", 126)), 1002, ""},
		{"a close of 126 bytes", masked(0x88, closing(1000, strings.Repeat("x", 124))), 1002, ""},
		{"a continuation of nothing", masked(0x80, "x"), 1002, ""},
		{"a continuation after a whole message", masked(0x81, "xx") + masked(0x80, "x"), 1002, "xx"},
		{"a continuation after the last fragment", masked(0x01, "x") + masked(0x80, "x") + masked(0x00, "x"), 1002, "xx"},
		{"a text within a message", masked(0x01, "x") + masked(0x81, "x"), 1002, "-"},
		{"a binary fragment within a message", masked(0x01, "x") + masked(0x02, "x"), 1002, "-"},
		{"a length of 125 in 16 bits", "\x82\xfe\x00\x7d\x01\x02\x03\x04", 1002, ""},
		{"a length of 0 in 64 bits", "\x82\xff\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04", 1002, ""},
		{"a length of 65535 in 64 bits", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff\x01\x02\x03\x04", 1002, ""},
		{"a length of 2^63", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04", 1002, ""},
		{"a length of 2^64-1", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 1002, ""},
		{"a length of 2^63-1", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 1009, ""},
		{"a frame a byte over the limit", "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01\x01\x02\x03\x04", 1009, ""},
		{"fragments a byte over the limit", masked(0x02, strings.Repeat("x", 1<<16)) + masked(0x80, "x"), 1009, "-"},
		{"a close of one byte", masked(0x88, "\x03"), 1002, ""},
		{"a close reason that is not UTF-8", masked(0x88, closing(1000, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80")), 1007, ""},
	}
	for op := byte(3); op < 16; op++ {
		if op != 8 && op != 9 && op != 10 {
			rows = append(rows, frameRow{fmt.Sprint("op code ", op), masked(0x80|op, "x"), 1002, ""})
		}
	}
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		rows = append(rows, frameRow{fmt.Sprint("close code ", code), masked(0x88, closing(code, "")), 1002, ""})
	}
	return rows
}

type frameRow struct {
	name, in string
	code     uint16
	// echoed is the message that is answered before the fault, "-" if what comes before it is none: either
	// way a door that only sends has closed the conn by then.
	echoed string
}

var reasonOfCode = map[uint16]CloseReason{
	1002: ReasonProtocolError, 1007: ReasonInvalidUTF8, 1009: ReasonTooLarge,
}

// TestWrongFrameIsClosedWithItsCode holds /echo and a door that only sends to the same rules; the close
// frame says why, and the reason's counter moves.
func TestWrongFrameIsClosedWithItsCode(t *testing.T) {
	r := start(t, Config{Echo: true})
	closed := map[CloseReason]uint64{}
	for _, tt := range frameRows() {
		for _, door := range []string{"/echo", "/ws/a"} {
			if door == "/ws/a" && tt.echoed != "" {
				continue
			}
			c := r.open(door)
			c.send(tt.in)
			if len(tt.echoed) > 1 {
				c.wantFrame(1, tt.echoed)
			}
			if text := c.wantClose(tt.code); text == "" {
				t.Errorf("%s at %s: closed without a reason", tt.name, door)
			}
			reason := reasonOfCode[tt.code]
			closed[reason]++
			r.wantClosed(reason, closed[reason])
		}
	}
}

// TestWrongFrameIsRefusedBeforeItsPayload: what the header shows is not waited for.
func TestWrongFrameIsRefusedBeforeItsPayload(t *testing.T) {
	r := start(t, Config{Echo: true})
	for name, in := range map[string]string{
		"no mask":      "\x81\x7d",
		"a long ping":  "\x89\xfe\x00\x7e\x01\x02\x03\x04",
		"a long frame": "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01\x01\x02\x03\x04",
	} {
		c := r.open("/echo")
		c.send(in)
		if op, p := c.frame(); op != 8 || len(p) < 3 {
			t.Errorf("%s: opcode %d %q, want a close frame", name, op, p)
		}
	}
}

func TestCloseIsAnsweredWithItsCode(t *testing.T) {
	r := start(t, Config{Echo: true})
	for i, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		c := r.open("/echo")
		c.send(masked(0x88, closing(code, strings.Repeat("é", 61))))
		c.wantClose(code)
		r.wantClosed(ReasonClientClosed, uint64(i+1)) //nolint:gosec // a small index
	}
}

// TestNothingIsAnsweredAfterAClose: what stands behind a close frame is dropped, a ping before it is
// answered or not (RFC 6455 section 5.5.2).
func TestNothingIsAnsweredAfterAClose(t *testing.T) {
	r := start(t, Config{Echo: true})
	c := r.open("/echo")
	c.send(masked(0x81, "before") + masked(0x88, closing(1000, "")) + masked(0x81, "after") + masked(0x89, "ping") + masked(0x88, closing(1001, "")) + "\xff\xff")
	c.wantFrame(1, "before")
	c.wantClose(1000)
	r.wantClosed(ReasonClientClosed, 1)
	c = r.open("/echo")
	c.send("\x81\x01x") // a server that failed the conn takes no more of it either
	op, _ := c.frame()
	c.send(masked(0x81, "after"))
	if op != 8 {
		t.Errorf("opcode %d", op)
	}
	c.wantEnd()
}

// utf8Rows are texts at the edges of UTF-8 (RFC 3629 section 3 and the table of section 4).
var utf8Rows = []struct {
	text  string
	valid bool
}{
	{"", true},
	{"\x00", true},
	{"κόσμε", true},
	{"\x7f\xc2\x80\xdf\xbf", true},
	{"\xe0\xa0\x80\xef\xbf\xbf", true},
	{"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd", true},
	{"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true},
	{"\xef\xbb\xbfa byte order mark", true},
	{"\xef\xbf\xbe\xef\xbf\xbf", true}, // noncharacters
	{"\x80", false},
	{"\xbf\xbf", false},
	{"\xc0\x80", false},
	{"\xc1\xbf", false},
	{"\xe0\x80\xaf", false},
	{"\xe0\x9f\xbf", false},
	{"\xf0\x80\x80\xaf", false},
	{"\xf0\x8f\xbf\xbf", false},
	{"\xed\xa0\x80", false},
	{"\xed\xbf\xbf", false},
	{"\xf4\x90\x80\x80", false},
	{"\xf5\x80\x80\x80", false},
	{"\xf8\x88\x80\x80\x80", false},
	{"\xfc\x84\x80\x80\x80\x80", false},
	{"\xfe", false},
	{"\xff", false},
	{"cut \xce", false},
	{"cut \xe1\xbd", false},
	{"cut \xf0\x90\x80", false},
	{"κόσμε\xed\xa0\x80edited", false},
}

func TestTextIsUTF8OverAllItsFragments(t *testing.T) {
	r := start(t, Config{Echo: true})
	good := r.open("/echo")
	var refused uint64
	for _, tt := range utf8Rows {
		for cut := range max(len(tt.text), 1) {
			c := good
			if !tt.valid {
				c = r.open("/echo")
			}
			c.send(masked(0x01, tt.text[:cut]) + masked(0x00, "") + masked(0x80, tt.text[cut:]))
			if tt.valid {
				c.wantFrame(1, tt.text)
				continue
			}
			if text := c.wantClose(1007); !strings.Contains(text, "UTF-8") {
				t.Errorf("%q: reason %q", tt.text, text)
			}
			refused++
		}
	}
	r.wantClosed(ReasonInvalidUTF8, refused)
	bytes := r.open("/echo") // a binary message may have any
	bytes.send(masked(0x82, "\xff\xfe"))
	bytes.wantFrame(2, "\xff\xfe")
}

func TestTextThatCannotBecomeUTF8IsRefusedAtItsFragment(t *testing.T) {
	r := start(t, Config{Echo: true})
	c := r.open("/echo")
	c.send(masked(0x01, "κόσμε\xf4") + masked(0x00, "\x8f\xbf") + masked(0x00, "\xbf") + masked(0x80, "")) // cut within a rune
	c.wantFrame(1, "κόσμε\xf4\x8f\xbf\xbf")
	c.send(masked(0x01, "κόσμε\xf4") + masked(0x00, "\x90"))
	c.wantClose(1007)
	r.wantClosed(ReasonInvalidUTF8, 1)
}

// TestEventThatIsNotUTF8IsNoText: our own text frames are UTF-8, also where JSON holds what is not.
func TestEventThatIsNotUTF8IsNoText(t *testing.T) {
	r := start(t, Config{})
	raw, json := r.open("/ws/a"), r.open("/ws/a?format=json")
	json.frame()
	r.publish("a", "{\"text\":\"\xed\xa0\x80\"}")
	raw.wantFrame(2, "{\"text\":\"\xed\xa0\x80\"}")
	json.wantFrame(1, `{"topic":"a","epoch":"abc","offset":1,"b64":"eyJ0ZXh0Ijoi7aCAIn0="}`)
}

func TestMessagesOfAllSizesAreEchoed(t *testing.T) {
	r := start(t, Config{Echo: true, MaxMessageBytes: 1 << 20, MaxPendingBytes: 4 << 20})
	c := r.open("/echo")
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1 << 20} {
		text := strings.Repeat("*", n)
		whole := masked(0x81, text)
		for len(whole) > 0 { // in parts that fit no frame
			part := min(len(whole), 997+n/8)
			c.send(whole[:part])
			whole = whole[part:]
		}
		c.wantFrame(1, text)
		c.send(masked(0x82, text))
		c.wantFrame(2, text)
	}
	for _, n := range []int{0, 1, 125} {
		c.send(masked(0x89, strings.Repeat("p", n)))
		c.wantFrame(10, strings.Repeat("p", n))
	}
	c.send(masked(0x8a, "not asked for") + masked(0x01, "a") + masked(0x89, "p") + masked(0x80, "b"))
	c.wantFrame(10, "p")
	c.wantFrame(1, "ab")
}

// TestPingsAreAnsweredEachAndInOrder: up to maxPongs that come at once, before what stands behind them.
func TestPingsAreAnsweredEachAndInOrder(t *testing.T) {
	r := start(t, Config{Echo: true})
	c := r.open("/echo")
	var run strings.Builder
	for i := range maxPongs {
		run.WriteString(masked(0x89, fmt.Sprint(i)))
	}
	for _, rest := range []string{masked(0x81, "text"), masked(0x88, "")} {
		c.send(run.String() + rest)
		for i := range maxPongs {
			c.wantFrame(10, fmt.Sprint(i))
		}
		if op, _ := c.frame(); op != rest[0]&0x0f {
			t.Fatalf("opcode %d", op)
		}
	}
}

// without is the handshake less the header line that begins so.
func without(header string) string { return changed(header, "") }

// changed is the handshake with the header line that begins so replaced.
func changed(header, to string) string {
	h := upgrade("/ws/a")
	at := strings.Index(h, header)
	if at < 0 {
		panic(header)
	}
	end := at + strings.Index(h[at:], "\r\n") + 2
	return h[:at] + to + h[end:]
}

func TestHandshakeIsHeldToTheRFC(t *testing.T) {
	r := start(t, Config{})
	key := "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"good", upgrade("/ws/a"), 101},
		{"tokens in other case", strings.NewReplacer("Upgrade: websocket", "uPGRADE: WebSocket", "keep-alive, Upgrade", "UPGRADE").Replace(upgrade("/ws/a")), 101},
		{"a token in a list", changed("Connection: ", "Connection: foo ,\tupgrade,bar\r\n"), 101},
		{"a HEAD", strings.Replace(upgrade("/ws/a"), "GET", "HEAD", 1), 405},
		{"a POST", strings.Replace(upgrade("/ws/a"), "GET", "POST", 1), 405},
		{"HTTP/1.0", strings.Replace(upgrade("/ws/a"), "HTTP/1.1", "HTTP/1.0", 1), 505},
		{"HTTP/2.0", strings.Replace(upgrade("/ws/a"), "HTTP/1.1", "HTTP/2.0", 1), 505},
		{"no Host", without("Host: "), 400},
		{"two Hosts", upgrade("/ws/a", "Host: edge\r\n"), 400},
		{"a Host that is none", changed("Host: ", "Host: a b\r\n"), 400},
		{"no Upgrade", without("Upgrade: "), 426},
		{"another Upgrade", changed("Upgrade: ", "Upgrade: h2c\r\n"), 426},
		{"a longer Upgrade", changed("Upgrade: ", "Upgrade: websockets\r\n"), 426},
		{"no Connection", without("Connection: "), 426},
		{"another Connection", changed("Connection: ", "Connection: keep-alive\r\n"), 426},
		{"no version", without("Sec-WebSocket-Version: "), 426},
		{"version 0", changed("Sec-WebSocket-Version: ", "Sec-WebSocket-Version: 0\r\n"), 426},
		{"version 12", changed("Sec-WebSocket-Version: ", "Sec-WebSocket-Version: 12\r\n"), 426},
		{"version 013", changed("Sec-WebSocket-Version: ", "Sec-WebSocket-Version: 013\r\n"), 426},
		{"a list of versions", changed("Sec-WebSocket-Version: ", "Sec-WebSocket-Version: 13, 8\r\n"), 426},
		{"two versions", upgrade("/ws/a", "Sec-WebSocket-Version: 8\r\n"), 400},
		{"no key", without("Sec-WebSocket-Key: "), 400},
		{"an empty key", changed("Sec-WebSocket-Key: ", "Sec-WebSocket-Key:\r\n"), 400},
		{"a key of 15 bytes", changed("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA\r\n"), 400},
		{"a key of 17 bytes", changed("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=\r\n"), 400},
		{"a key that is not base64", changed("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==\r\n"), 400},
		{"two keys", upgrade("/ws/a", key), 400},
		{"two Origins", upgrade("/ws/a", "Origin: a\r\nOrigin: b\r\n"), 400},
		{"a folded header", upgrade("/ws/a", "A: b\r\n c\r\n"), 400},
		{"a bare LF", strings.Replace(upgrade("/ws/a"), "Host: edge\r\n", "Host: edge\n", 1), 400},
		{"a bare CR", upgrade("/ws/a", "A: b\rc\r\n"), 400},
		{"a NUL", upgrade("/ws/a", "A: b\x00c\r\n"), 400},
		{"a space before the colon", upgrade("/ws/a", "A : b\r\n"), 400},
		{"a line without a colon", upgrade("/ws/a", "A\r\n"), 400},
		{"a line break before the request", "\r\n" + upgrade("/ws/a"), 400},
		{"65 headers", upgrade("/ws/a", strings.Repeat("A: b\r\n", 65)), 431},
		{"a head over the limit", upgrade("/ws/a", "A: "+strings.Repeat("b", 8<<10)+"\r\n"), 431},
		{"a length", upgrade("/ws/a", "Content-Length: 5\r\n") + "hello", 400},
		{"chunks", upgrade("/ws/a", "Transfer-Encoding: chunked\r\n"), 400},
		{"a length beside chunks", upgrade("/ws/a", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400},
		{"two lengths", upgrade("/ws/a", "Content-Length: 0\r\nContent-Length: 0\r\n"), 400},
		{"gzip", upgrade("/ws/a", "Transfer-Encoding: gzip\r\n"), 501},
		{"an absolute target", upgrade("http://edge/ws/a"), 400},
		{"a fragment", upgrade("/ws/a#b"), 400},
		{"an escape that is none", upgrade("/ws/a%2"), 400},
		{"a topic with an escaped line break", upgrade("/ws/a%0d%0ab"), 400},
		{"a topic with an escaped NUL", upgrade("/ws/a%00"), 400},
		{"a topic in the query with a line break", upgrade("/ws?topic=a%0Ab"), 400},
		{"a position with a line break", upgrade("/ws/a?since=abc:1%0d%0a"), 400},
		{"an escaped topic", upgrade("/ws/%61.b"), 101},
	} {
		c := r.dial()
		c.send(tt.request)
		res, body := c.head()
		if res.StatusCode != tt.status || tt.status != 101 && !strings.Contains(body, `"message":"`) {
			t.Errorf("%s: %s %s, want %d", tt.name, res.Status, body, tt.status)
		}
		if res.StatusCode == http.StatusUpgradeRequired && (res.Header.Get("Sec-WebSocket-Version") != "13" || res.Header.Get("Upgrade") != "websocket") {
			t.Errorf("%s: %v", tt.name, res.Header)
		}
	}
}

// TestAnswerHasNothingThatWasNotAskedFor: no subprotocol and no extension that the client did not offer,
// and none that we do not have (RFC 6455 sections 4.2.2 and 9.1).
func TestAnswerHasNothingThatWasNotAskedFor(t *testing.T) {
	r := start(t, Config{})
	for _, extra := range []string{"", "Sec-WebSocket-Protocol: chat, superchat\r\n", "Sec-WebSocket-Extensions: x-webkit-deflate-frame, mux; max-channels=4\r\n"} {
		c := r.dial()
		c.send(upgrade("/ws/a", extra))
		res, _ := c.head()
		if res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Connection") != "Upgrade" || res.Header.Get("Sec-WebSocket-Accept") == "" || len(res.Header) != 3 {
			t.Errorf("%q: %s %v", extra, res.Status, res.Header)
		}
	}
}

// TestTextThatCannotBecomeUTF8EndsTheConnInTheMiddleOfItsFrame: as soon as that is to be seen, wherever the
// frame is cut.
func TestTextThatCannotBecomeUTF8EndsTheConnInTheMiddleOfItsFrame(t *testing.T) {
	r := start(t, Config{Echo: true})
	text := "κόσμε\xf4\x90"
	frame := masked(0x81, text+strings.Repeat("x", 200))
	head := len(frame) - len(text) - 200
	for cut := range len(text) {
		c := r.open("/echo")
		c.send(frame[:head+cut])
		c.send(frame[head+cut : head+len(text)])
		c.wantClose(closeInvalidUTF8)
	}
	for _, valid := range []string{"κόσμε", strings.Repeat("日本語", 2000)} {
		c := r.open("/echo")
		frame := masked(0x81, valid)
		for len(frame) > 0 {
			n := min(len(frame), 1+len(frame)/7)
			c.send(frame[:n])
			frame = frame[n:]
		}
		c.wantFrame(1, valid)
		// A rune in two frames, the second of which is not whole.
		c.send(masked(0x01, "日\xe6"))
		rest := masked(0x80, "\x9c\xac語")
		c.send(rest[:len(rest)-3])
		c.send(rest[len(rest)-3:])
		c.wantFrame(1, "日本語")
	}
	c := r.open("/echo")
	c.send(masked(0x01, "日\xe6"))
	c.send(masked(0x80, "xyz")[:7]) // the rune does not go on
	c.wantClose(closeInvalidUTF8)
}
