package loop

import (
	"bufio"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"weir/broker"
	"weir/edge/hub"
)

// stream opens a stream of server-sent events and reads its first one.
func (r *rig) stream(c *client, target string) *client {
	r.t.Helper()
	c.send("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, body := c.head(); res.StatusCode != 200 {
		r.t.Fatalf("%s %s", res.Status, body)
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			r.t.Fatal(err)
		}
		if line == "\n" {
			return c
		}
	}
}

// sent is an event as a browser makes it of a stream.
type sent struct{ id, name, data string }

// parseStream is the HTML standard's section 9.2.6, less retry.
func parseStream(text string) (all []sent) {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	var id string
	var e sent
	var data []string
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			if data != nil {
				e.id, e.data = id, strings.Join(data, "\n")
				all = append(all, e)
			}
			e, data = sent{}, nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.name = value
		case "data":
			data = append(data, value)
		case "id":
			id = value
		}
	}
	return all
}

// streamEvents are payloads that would be something else if their line breaks were sent as they are.
var streamEvents = []string{
	"", "\n", "\r", "\r\n", "\n\n", "\r\r", "\n\r", "a\n", "a\r", "a\r\n\r\nb", " a", "\na", ":", ":a", "data: x", "a\rb\nc\r\nd",
	"x\n\nid: dead:9\nevent: reset\ndata: {}\n\n", "x\r\rid: dead:9\r\r", "x\r\n\r\nretry: 1\r\n\r\n",
	"\u2028\u2029\u0085\v\f", "\xef\xbb\xbfa", "a\x00b", "\xff\n\nid: dead:9\n\n",
}

// wantOne holds what a browser makes of the event's frames to the event.
func wantOne(t *testing.T, data string, got []sent) {
	t.Helper()
	want := sent{id: "abc:7", data: strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data)}
	if !utf8.ValidString(data) {
		want = sent{id: "abc:7", name: "b64", data: base64.StdEncoding.EncodeToString([]byte(data))}
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("%q comes as %q, want %q", data, got, want)
	}
}

func eventOf(data string) *broker.Event {
	return &broker.Event{Topic: "a", Position: broker.Position{Epoch: 0xabc, Offset: 7}, Key: "k\nid: dead:9\n", Data: []byte(data)}
}

func TestLineBreaksInDataStayData(t *testing.T) {
	for _, data := range streamEvents {
		wantOne(t, data, parseStream(string((&hub.Message{Event: eventOf(data)}).Frame(hub.SSE))))
	}
}

// FuzzStreamEvent: whatever is published, a browser gets one event, with its id and its lines.
func FuzzStreamEvent(f *testing.F) {
	for _, data := range streamEvents {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data string) {
		wantOne(t, data, parseStream(string((&hub.Message{Event: eventOf(data)}).Frame(hub.SSE))))
	})
}

// TestStreamCarriesNoLineBreakOfAClient: over a socket, with what a client and a publisher can put into a
// stream's head and events.
func TestStreamCarriesNoLineBreakOfAClient(t *testing.T) {
	r := start(t, Config{})
	c := r.stream(r.dial(), "/sse/a")
	for _, data := range streamEvents {
		r.publishKey("a", "k\r\nid: dead:9\r\n", data)
	}
	r.publish("a", "the end")
	var text strings.Builder
	s := bufio.NewScanner(c.r)
	for s.Scan() && s.Text() != "data: the end" {
		text.WriteString(s.Text() + "\n")
	}
	got := parseStream(text.String())
	if len(got) != len(streamEvents) || slices.ContainsFunc(got, func(e sent) bool { return !strings.HasPrefix(e.id, "abc:") || e.name != "" && e.name != "b64" }) {
		t.Errorf("%d events of %d: %q", len(got), len(streamEvents), got)
	}
	for _, tt := range []string{"/sse/a%0d%0aX", "/sse/a%0A", "/sse/a?since=abc:1%0D%0A"} {
		r.wantStatus("GET "+tt+" HTTP/1.1\r\nHost: x\r\n\r\n", 400, "")
	}
	r.wantStatus("GET /sse/a HTTP/1.1\r\nHost: x\r\nOrigin: x\ry\r\n\r\n", 400, "CR LF")
}
