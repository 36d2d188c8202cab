package hub

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"weir/broker"
	"weir/edge/ws"
)

// Variant is one encoding of an event, chosen by the front door a subscriber came through.
type Variant uint8

// The encodings. Their order is not part of any format.
const (
	// RawWS is a WebSocket message that is the payload itself: text when it is valid UTF-8,
	// else binary. Controls have no form in it: every frame is a payload.
	RawWS Variant = iota
	// ResumedRawWS is RawWS for a subscriber that asked to resume, and so is sent controls,
	// as text.
	ResumedRawWS
	// JSONWS is a WebSocket text message with an envelope, see [Message.Frame].
	JSONWS
	// SSE is a server-sent event whose id is the event's position.
	SSE
	// DeflatedRawWS, DeflatedResumedRawWS and DeflatedJSONWS are those above for conns that agreed
	// on permessage-deflate: an event for which it pays is compressed.
	DeflatedRawWS
	DeflatedResumedRawWS
	DeflatedJSONWS
	variants
)

// Message is an event on its way through the node, or a control of a topic's stream, with
// its encodings: each is made when first asked for and shared from then on. Safe for use by
// any goroutine.
type Message struct {
	// Event is what was published. For a control it carries topic and position only.
	Event *broker.Event
	// Reset marks a control: continuity was lost, delivery goes on after Event.Position.
	Reset bool

	// deflates is set for a message that many may get, by [Hub.Deliver]. What one subscriber
	// recovers by itself is not worth a compression for it alone.
	deflates  *deflates
	deflating sync.Mutex // held while a compressed frame is made

	frames [variants]atomic.Pointer[[]byte]
}

// Frame is m encoded for v: the bytes to write, frame header included. Shared by all
// subscribers: nobody may change them. Empty if v has no form of m.
//
// An event in JSONWS is {"topic":…,"epoch":…,"offset":…}, with its "key" if it has one, and the
// payload as "data" if it is JSON, as "text" if it is other UTF-8, else as "b64". A reset is
// {"topic":…,"epoch":…,"offset":…,"recovered":false}.
func (m *Message) Frame(v Variant) []byte {
	if f := m.frames[v].Load(); f != nil {
		return *f
	}
	f := m.encode(v)
	m.frames[v].Store(&f) // a racing loop stores equal bytes
	return f
}

func (m *Message) encode(v Variant) []byte {
	ev := m.Event
	switch {
	case v == DeflatedResumedRawWS && !m.Reset:
		return m.Frame(DeflatedRawWS)
	case v.plain() != v:
		return m.deflated(v)
	case m.Reset:
		return AppendControl(nil, v, Control{Topic: broker.Pattern(ev.Topic), Position: ev.Position})
	case v == ResumedRawWS:
		return m.Frame(RawWS)
	case v == RawWS:
		op := ws.OpBinary
		if utf8.Valid(ev.Data) {
			op = ws.OpText
		}
		return ws.AppendFrame(make([]byte, 0, len(ev.Data)+10), op, ev.Data)
	case v == JSONWS:
		return ws.AppendFrame(nil, ws.OpText, appendEnvelope(make([]byte, 0, len(ev.Data)+128), ev))
	default:
		return appendSSE(make([]byte, 0, len(ev.Data)+64), ev)
	}
}

// Control is what a subscriber is told about its place in a topic.
type Control struct {
	// Topic is a topic or a pattern; the Position of a pattern is of this node, and no event's.
	Topic    broker.Pattern
	Position broker.Position
	// Subscribed marks the answer to a subscribe; without it the control is a reset.
	Subscribed bool
	// Resumed says that the subscriber asked to go on from a position, so it must be told
	// whether that worked.
	Resumed bool
	// Recovered is the answer to that: everything since is sent, nothing is missing.
	Recovered bool
	// Skipped is how many events after the position are not sent, since newer ones of their keys
	// are. 0 in any other control.
	Skipped uint64
}

// AppendControl appends c, encoded for v, to dst; nothing for RawWS. It is never compressed.
func AppendControl(dst []byte, v Variant, c Control) []byte {
	if v.plain() == RawWS {
		return dst
	}
	body := make([]byte, 0, 160)
	body = append(body, `{"topic":`...)
	body = appendJSONString(body, string(c.Topic))
	body = appendPosition(body, c.Position)
	if c.Subscribed {
		body = append(body, `,"subscribed":true`...)
	}
	switch {
	case c.Skipped > 0:
		body = append(body, `,"skipped":`...)
		body = strconv.AppendUint(body, c.Skipped, 10)
	case c.Resumed || !c.Subscribed:
		body = append(body, `,"recovered":`...)
		body = strconv.AppendBool(body, c.Recovered)
	}
	body = append(body, '}')
	if v != SSE {
		return ws.AppendFrame(dst, ws.OpText, body)
	}
	name := "reset"
	switch {
	case c.Skipped > 0:
		name = "skipped"
	case c.Subscribed:
		name = "subscribed"
	}
	dst = append(dst, "id: "...)
	dst = c.Position.Append(dst)
	dst = append(dst, "\nevent: "...)
	dst = append(dst, name...)
	dst = append(dst, "\ndata: "...)
	dst = append(dst, body...)
	return append(dst, "\n\n"...)
}

func appendEnvelope(b []byte, ev *broker.Event) []byte {
	b = append(b, `{"topic":`...)
	b = appendJSONString(b, string(ev.Topic))
	b = appendPosition(b, ev.Position)
	if ev.Key != "" {
		b = append(b, `,"key":`...)
		b = appendJSONString(b, ev.Key)
	}
	switch {
	case json.Valid(ev.Data) && utf8.Valid(ev.Data): // a JSON string may hold any byte to the former
		b = append(b, `,"data":`...)
		b = append(b, ev.Data...)
	case utf8.Valid(ev.Data):
		b = append(b, `,"text":`...)
		b = appendJSONString(b, string(ev.Data))
	default:
		b = append(b, `,"b64":"`...)
		b = base64.StdEncoding.AppendEncode(b, ev.Data)
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendPosition(b []byte, p broker.Position) []byte {
	b = append(b, `,"epoch":"`...)
	b = append(b, p.Epoch.String()...)
	b = append(b, `","offset":`...)
	return strconv.AppendUint(b, p.Offset, 10)
}

// appendSSE writes one server-sent event (HTML standard, section 9.2). A payload's line
// breaks become data lines; what is not UTF-8 goes as event "b64" in base64.
func appendSSE(b []byte, ev *broker.Event) []byte {
	b = append(b, "id: "...)
	b = ev.Position.Append(b)
	if !utf8.Valid(ev.Data) {
		b = append(b, "\nevent: b64\ndata: "...)
		b = base64.StdEncoding.AppendEncode(b, ev.Data)
		return append(b, "\n\n"...)
	}
	b = append(b, "\ndata: "...)
	for i := 0; i < len(ev.Data); i++ {
		switch c := ev.Data[i]; {
		case c == '\r' && i+1 < len(ev.Data) && ev.Data[i+1] == '\n':
			// The pair is one line break: the '\n' writes it.
		case c == '\n' || c == '\r':
			b = append(b, "\ndata: "...)
		default:
			b = append(b, c)
		}
	}
	return append(b, "\n\n"...)
}

func appendJSONString(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil { // a string always marshals
		panic(err)
	}
	return append(b, q...)
}
