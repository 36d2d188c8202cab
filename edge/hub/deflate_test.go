package hub

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/broker"
	"weir/edge/ws"
)

// longEvent is an event that compression pays for.
func longEvent(topic broker.Topic, offset uint64) *broker.Event {
	ev := event(topic, offset)
	ev.Data = fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, offset, strings.Repeat("pad ", 200))
	return ev
}

// messages reads a run of server frames, each a message; inflated by the hand of edge/ws, which
// compares itself with compress/flate.
func messages(t *testing.T, frames string) (payloads []string, compressed int) {
	t.Helper()
	d := ws.Decoder{Deflate: true}
	for b := []byte(frames); len(b) > 0; {
		f, n, err := d.Next(b, &ws.Limits{MaxFrameBytes: 1 << 20, MaxMessageBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		payload := f.Payload
		if f.Compressed {
			compressed++
			if payload, err = ws.Inflate(nil, payload, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		payloads = append(payloads, string(payload))
		b = b[n:]
	}
	return payloads, compressed
}

func TestOnePublishReachesCompressedAndPlainSubscribers(t *testing.T) {
	r := newRig(t, Config{})
	plain, deflated := r.live("x", RawWS), r.live("x", DeflatedRawWS)
	envelope, deflatedEnvelope := r.live("x", JSONWS), r.live("x", DeflatedJSONWS)
	first, short, third := longEvent("x", 1), event("x", 2), longEvent("x", 3)
	r.hub.Deliver([]*broker.Event{first, short}) // one batch
	r.settle()
	r.hub.Deliver([]*broker.Event{third}) // another
	r.settle()
	want := []string{string(first.Data), "2", string(third.Data)}
	if got, n := messages(t, plain.got); !slices.Equal(got, want) || n != 0 {
		t.Errorf("plain got %d compressed in %.100q", n, got)
	}
	if got, n := messages(t, deflated.got); !slices.Equal(got, want) || n != 2 {
		t.Errorf("deflated got %d compressed in %.100q, want the two that are long", n, got)
	}
	wantJSON, _ := messages(t, envelope.got)
	if got, n := messages(t, deflatedEnvelope.got); !slices.Equal(got, wantJSON) || n != 2 {
		t.Errorf("deflated got %d compressed in %.100q, want %.100q: controls and short ones are not", n, got, wantJSON)
	}
	saved := uint64(len(plain.got) - len(deflated.got) + len(envelope.got) - len(deflatedEnvelope.got)) //nolint:gosec // above 0, as it is compared
	if st := r.hub.Deflated(); st.Events != 4 || st.SavedBytes != saved {
		t.Errorf("%+v, want 4 events and %d bytes", st, saved)
	}
}

func TestAllLoopsShareOneCompression(t *testing.T) {
	for range 50 {
		var stats deflates
		m := &Message{Event: longEvent("x", 1), deflates: &stats}
		const loops = 8
		var got [loops][]byte
		var begin, done sync.WaitGroup
		begin.Add(1)
		for i := range loops {
			done.Go(func() {
				begin.Wait()
				got[i] = m.Frame([]Variant{DeflatedRawWS, DeflatedResumedRawWS}[i%2])
			})
		}
		begin.Done()
		done.Wait()
		for _, f := range got {
			if &f[0] != &got[0][0] {
				t.Fatal("two loops made a frame each")
			}
		}
		if n := stats.events.Load(); n != 1 {
			t.Fatalf("%d compressions", n)
		}
	}
}

func TestFrameThatIsNotCompressedIsThePlainOne(t *testing.T) {
	var stats deflates
	for name, m := range map[string]*Message{
		"short":                  {Event: event("x", 1), deflates: &stats},
		"recovered for one conn": {Event: longEvent("x", 1)},
	} {
		if plain, f := m.Frame(RawWS), m.Frame(DeflatedRawWS); &plain[0] != &f[0] || len(plain) != len(f) {
			t.Errorf("%s: %.50q", name, f)
		}
	}
	if n := stats.events.Load(); n != 0 {
		t.Errorf("%d counted", n)
	}
}

func TestControlsAreNeverCompressed(t *testing.T) {
	long := broker.Topic(strings.Repeat("x", 200))
	m := &Message{Event: &broker.Event{Topic: long, Position: pos(1)}, Reset: true, deflates: &deflates{}}
	for _, v := range []Variant{RawWS, ResumedRawWS, JSONWS} {
		if got, want := m.Frame(v.Deflated()), m.Frame(v); !bytes.Equal(got, want) {
			t.Errorf("variant %d: %q, want %q", v, got, want)
		}
		c := Control{Topic: broker.Pattern(long), Position: pos(1), Subscribed: true}
		if got, want := AppendControl(nil, v.Deflated(), c), AppendControl(nil, v, c); !bytes.Equal(got, want) {
			t.Errorf("variant %d: %q, want %q", v, got, want)
		}
	}
}

func TestEveryVariantIsPlainOrCompressed(t *testing.T) {
	for v := range variants {
		if d := v.Deflated(); v.plain() == v && v != SSE && (d == v || d.plain() != v) {
			t.Errorf("variant %d is compressed as %d", v, d)
		}
		if d := v.Deflated(); v.plain() != v && d != v || v == SSE && d != v {
			t.Errorf("variant %d is compressed again as %d", v, d)
		}
	}
}

func TestResumeIsCompressedFromTheRing(t *testing.T) {
	r := newRig(t, Config{})
	r.live("x", RawWS)
	r.hub.Deliver([]*broker.Event{longEvent("x", 1), longEvent("x", 2)})
	r.settle()
	c := r.subscribe("x", RawWS.Deflated(), pos(1))
	if got, n := messages(t, c.got); len(got) != 1 || n != 1 || got[0] != string(longEvent("x", 2).Data) {
		t.Errorf("%d compressed in %.100q", n, got)
	}
}
