package loop

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// deflate compresses as a client does, by compress/flate alone.
func deflate(tb testing.TB, s string) string {
	tb.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = w.Write([]byte(s))
	if err = errors.Join(err, w.Flush()); err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// wantDeflated reads a compressed frame that inflates to the payload, by compress/flate alone.
func (c *client) wantDeflated(op byte, payload string) {
	c.t.Helper()
	first, err := c.r.Peek(1)
	if err != nil {
		c.t.Fatal(err)
	}
	if first[0]&0x70 != 0x40 {
		c.t.Fatalf("first byte %#x, want RSV1 alone", first[0])
	}
	gotOp, raw := c.frame()
	got, err := io.ReadAll(flate.NewReader(strings.NewReader(raw + "\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	if err != nil || gotOp != op || string(got) != payload || len(raw) >= len(payload) {
		c.t.Fatalf("opcode %d, %d bytes inflated to %.100q, %v; want %d %.100q", gotOp, len(raw), got, err, op, payload)
	}
}

// wantPlain reads a frame without a reserved bit.
func (c *client) wantPlain(op byte, payload string) {
	c.t.Helper()
	if first, err := c.r.Peek(1); err != nil || first[0]&0x70 != 0 {
		c.t.Fatalf("first byte %#x, %v, want no reserved bit", first, err)
	}
	c.wantFrame(op, payload)
}

const (
	offer  = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
)

var longPayload = `{"pad":"` + strings.Repeat("a payload that compresses ", 100) + `"}`

func TestOnePublishIsCompressedForWhoAgreed(t *testing.T) {
	r := start(t, Config{})
	plain, deflated, again := r.open("/ws/a"), r.open("/ws/a", offer), r.open("/ws/a", offer)
	binary := longPayload + "\xff"
	r.publish("a", longPayload)
	r.publish("a", "short")
	r.publish("a", binary)
	for _, c := range []*client{deflated, again} {
		c.wantDeflated(1, longPayload)
		c.wantPlain(1, "short")
		c.wantDeflated(2, binary)
	}
	plain.wantPlain(1, longPayload)
	plain.wantPlain(1, "short")
	plain.wantPlain(2, binary)
	st := r.srv.Stats()
	if st.Accepted != 3 || st.AcceptedDeflate != 2 || st.Deflated.Events != 2 || st.Deflated.SavedBytes < 4000 {
		t.Errorf("%d accepted, %d of them with compression, %+v", st.Accepted, st.AcceptedDeflate, st.Deflated)
	}
}

func TestEnvelopeAndResumeAreCompressed(t *testing.T) {
	r := start(t, Config{Loops: 1}) // the ring of one loop
	c := r.open("/ws/a?format=json", offer)
	c.wantPlain(1, `{"topic":"a","epoch":"abc","offset":0,"subscribed":true}`)
	r.publish("a", longPayload)
	c.wantDeflated(1, `{"topic":"a","epoch":"abc","offset":1,"data":`+longPayload+`}`)
	c = r.open("/ws/a?since=abc:0", offer)
	c.wantPlain(1, `{"topic":"a","epoch":"abc","offset":0,"subscribed":true,"recovered":true}`)
	c.wantDeflated(1, longPayload)
}

func TestOfferIsNeverAnError(t *testing.T) {
	r := start(t, Config{Echo: true})
	for _, tt := range []struct{ name, fields, want string }{
		{"none", "", ""},
		{"an acceptable one", offer, agreed},
		{"one in other case", "sec-websocket-extensions: permessage-deflate\r\n", agreed},
		{"a window that we have", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15\r\n", agreed + "; server_max_window_bits=15"},
		{"a smaller window", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n", agreed + "; server_max_window_bits=9"},
		{"a window that cannot be", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\r\n", ""},
		{"in the second field", "Sec-WebSocket-Extensions: x-foo\r\nSec-WebSocket-Extensions: permessage-deflate\r\n", agreed},
		{"behind a broken field", "Sec-WebSocket-Extensions: ;;=\"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n", agreed},
		{"a broken one", "Sec-WebSocket-Extensions: permessage-deflate; =\xff;\"\r\n", ""},
	} {
		for _, door := range []string{"/ws/a", "/echo"} {
			c := r.dial()
			c.send(upgrade(door, tt.fields))
			res, body := c.head()
			if got := res.Header.Get("Sec-WebSocket-Extensions"); res.StatusCode != http.StatusSwitchingProtocols || got != tt.want {
				t.Errorf("%s at %s: %s %s, %q, want %q", tt.name, door, res.Status, body, got, tt.want)
			}
		}
	}
}

// TestNoMessageIsCompressedThatASmallWindowHasNoRoomFor: within a message nothing refers further back than
// it is long. Events are compressed for the window of 32 KiB alone.
func TestNoMessageIsCompressedThatASmallWindowHasNoRoomFor(t *testing.T) {
	r := start(t, Config{Echo: true})
	small := "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n"
	c := r.open("/echo", small)
	for _, n := range []int{512, 513} {
		text := strings.Repeat("x", n)
		c.send(masked(0xc1, deflate(t, text)))
		if n > 512 {
			c.wantPlain(1, text)
		} else {
			c.wantDeflated(1, text)
		}
	}
	c = r.open("/ws/a", small)
	r.publish("a", longPayload)
	c.wantPlain(1, longPayload)
}

func TestCompressionThatIsOffIsNotAgreed(t *testing.T) {
	r := start(t, Config{Compression: CompressionOff, Echo: true})
	c := r.dial()
	c.send(upgrade("/echo", offer))
	if res, _ := c.head(); res.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Fatalf("%v", res.Header)
	}
	c.send(masked(0xc1, deflate(t, "hello")))
	c.wantClose(1002)
	var bad *FieldError
	if err := (Config{Compression: "on"}).Validate(); !errors.As(err, &bad) || bad.Error() != "edge.Compression is on: want auto or off" {
		t.Errorf("got %v", err)
	}
}

func TestEchoInflatesAndDeflates(t *testing.T) {
	r := start(t, Config{Echo: true})
	c := r.open("/echo", offer)
	c.send(masked(0xc1, deflate(t, "hello")))
	c.wantPlain(1, "hello")
	if st := r.srv.Stats(); st.Accepted != 1 || st.AcceptedDeflate != 1 {
		t.Errorf("%d accepted, %d of them with compression", st.Accepted, st.AcceptedDeflate)
	}
	c.send(masked(0xc1, deflate(t, longPayload)))
	c.wantDeflated(1, longPayload)
	whole := deflate(t, longPayload)
	c.send(masked(0x42, whole[:5]) + masked(0x00, "") + masked(0x89, "ping") + masked(0x00, whole[5:20]) + masked(0x80, whole[20:]))
	c.wantPlain(10, "ping")
	c.wantDeflated(2, longPayload)
	c.send(masked(0x01, "pl") + masked(0x80, "ain")) // a plain message stays allowed
	c.wantPlain(1, "plain")
	full := strings.Repeat("x", 64<<10) // the default limit, to the byte
	c.send(masked(0xc2, deflate(t, full)))
	c.wantDeflated(2, full)
}

func TestCompressedMessageThatIsWrongClosesTheConn(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		code     uint16
		reason   CloseReason
	}{
		{"a bomb of 8 MiB", masked(0xc2, deflate(t, strings.Repeat("\x00", 8<<20))), 1009, ReasonTooLarge},
		{"a byte over the limit", masked(0xc2, deflate(t, strings.Repeat("x", 64<<10+1))), 1009, ReasonTooLarge},
		{"not DEFLATE", masked(0xc1, "hello, hello"), 1002, ReasonProtocolError},
		{"cut", masked(0xc1, deflate(t, longPayload)[:20]), 1002, ReasonProtocolError},
		{"not UTF-8 once it is inflated", masked(0xc1, deflate(t, longPayload+"\xff")), 1007, ReasonInvalidUTF8},
		{"a compressed ping", masked(0xc9, deflate(t, "ping")), 1002, ReasonProtocolError},
		{"a continuation with RSV1", masked(0x41, deflate(t, longPayload)[:20]) + masked(0xc0, "x"), 1002, ReasonProtocolError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, Config{Echo: true})
			c := r.open("/echo", offer)
			c.send(tt.in)
			c.wantClose(tt.code)
			r.wantClosed(tt.reason, 1)
		})
	}
}

func TestDoorThatOnlySendsRefusesCompressedMessagesToo(t *testing.T) {
	r := start(t, Config{})
	c := r.open("/ws/a", offer)
	c.send(masked(0xc1, deflate(t, "let me publish")))
	c.wantClose(1008)
}
