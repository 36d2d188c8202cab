package hub

import (
	"fmt"
	"strings"
	"testing"

	"weir/broker"
)

func TestPatternGetsTheEventsOfItsTopicsInOrder(t *testing.T) {
	r := newRig(t, Config{})
	pattern, all, plain := r.live("x.*", RawWS), r.live(">", JSONWS), r.live("x.a", RawWS)
	all.got = ""
	r.publish("x.a", 1)
	r.publish("x.b", 2)
	r.publish("x.b.c", 3)
	r.publish("x.a", 4)
	r.settle()
	if got := payloads(pattern.got); got != "1 2 4 " || pattern.writes != 1 {
		t.Errorf("x.* got %q in %d writes, want one", got, pattern.writes)
	}
	if got := payloads(plain.got); got != "1 4 " {
		t.Errorf("x.a got %q", got)
	}
	var got []string
	for _, one := range parseTold(t, all.got) {
		got = append(got, fmt.Sprint(one.Topic, ":", one.Offset))
	}
	if want := "x.a:1 x.b:2 x.b.c:3 x.a:4"; strings.Join(got, " ") != want {
		t.Errorf("> got %q, want each event's own topic and offset: %q", got, want)
	}
}

func TestFramesAreSharedByTopicAndPattern(t *testing.T) {
	r := newRig(t, Config{})
	r.live("x.*", JSONWS)
	r.live("x.a", JSONWS)
	m := &Message{Event: event("x.a", 1)}
	for _, name := range []broker.Pattern{"x.a", "x.*"} {
		r.shard.push(item{msg: m, topic: name, at: 1})
	}
	r.settle()
	for _, name := range []broker.Pattern{"x.a", "x.*"} {
		if msgs, ok := r.shard.topics[name].ring.after(0); !ok || len(msgs) != 1 || msgs[0].Message != m {
			t.Errorf("%s has a message of its own", name)
		}
	}
}

func TestPatternResumesNothingAndSaysSo(t *testing.T) {
	r := newRig(t, Config{})
	r.live("x.*", RawWS)
	r.publish("x.a", 1, 2)
	r.settle()
	c := r.subscribe("x.*", SSE, pos(1))
	r.publish("x.a", 3)
	r.settle()
	head, rest, _ := strings.Cut(c.got, "\n\n")
	if !strings.Contains(head, "event: subscribed\n") || !strings.Contains(head, `"topic":"x.*"`) || !strings.Contains(head, `"recovered":false`) {
		t.Errorf("told %q", head)
	}
	if rest != "id: abc:3\ndata: 3\n\n" {
		t.Errorf("got %q", rest)
	}
	if r.src.recovers != 0 {
		t.Error("the broker was asked for what a pattern missed")
	}
}

func TestPatternIsToldOfItsTopicsResets(t *testing.T) {
	r := newRig(t, Config{})
	both, one, other := r.live("x.*", SSE), r.live("x.a", SSE), r.live("y.*", SSE)
	for _, c := range []*fakeConn{both, one, other} {
		c.got = ""
	}
	at := r.shard.topics["x.*"].position()
	r.hub.Reset("x.a", pos(7))
	r.hub.Reset("x.*", broker.Position{})
	r.hub.Reset("z.*", broker.Position{}) // nobody has it
	r.publish("x.a", 8)
	r.settle()
	var want string
	for _, offset := range []uint64{at.Offset + 1, at.Offset + 2} {
		want += string(AppendControl(nil, SSE, Control{Topic: "x.*", Position: broker.Position{Epoch: at.Epoch, Offset: offset}}))
	}
	if want += "id: abc:8\ndata: 8\n\n"; both.got != want {
		t.Errorf("x.* got %q, want %q", both.got, want)
	}
	if n := strings.Count(one.got, "event: reset"); n != 1 {
		t.Errorf("x.a got %q", one.got)
	}
	if other.got != "" {
		t.Errorf("y.* got %q", other.got)
	}
}

func TestSlowReaderOfAPatternRisesFromItsRingOrIsToldOfAHole(t *testing.T) {
	r := newRig(t, Config{PatternRingEvents: 4, RingEvents: 1})
	c := r.live("x.*", JSONWS)
	for _, tt := range []struct {
		events uint64
		want   string
	}{{4, "1 2 3 4"}, {5, "reset"}} {
		c.got = ""
		c.limited, c.room = true, 0
		for i := range tt.events {
			r.publish(broker.Topic(fmt.Sprint("x.", i%2)), i+1)
			r.settle()
		}
		c.limited = false
		r.shard.DrainAll()
		r.settle()
		var got []string
		for _, one := range parseTold(t, c.got) {
			if one.Recovered != nil && !*one.Recovered {
				got = append(got, "reset")
			} else {
				got = append(got, fmt.Sprint(one.Offset))
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%d behind: got %q, want %q", tt.events, got, tt.want)
		}
	}
	if r.src.recovers != 0 {
		t.Error("the broker was asked for what a pattern missed")
	}
}

func TestKeysOfAPatternAreItsTopicsOwn(t *testing.T) {
	r := newRig(t, Config{Modes: []ModeRule{{"x.>", ModeLatest}}})
	c := r.live("x.*", JSONWS)
	c.got, c.limited = "", true
	for i, topic := range []broker.Topic{"x.a", "x.b", "x.a", "x.a"} {
		ev := event(topic, uint64(i+1)) //nolint:gosec // a small number
		ev.Key = "k"
		r.hub.Deliver([]*broker.Event{ev})
	}
	r.settle()
	c.limited = false
	r.shard.DrainAll()
	r.settle()
	got := parseTold(t, c.got)
	if len(got) != 3 || got[0].Skipped != 2 || got[0].Topic != "x.*" || got[1].Offset != 2 || got[2].Offset != 4 {
		t.Errorf("got %+v, want two skipped, then the newest of x.b and of x.a", got)
	}
}

func TestPatternClosesAndOpensAgain(t *testing.T) {
	r := newRig(t, Config{})
	c := r.live("x.*", RawWS)
	if open, _ := r.hub.Patterns(); open != 1 {
		t.Fatalf("%d patterns are open", open)
	}
	r.shard.Unsubscribe(c.sub)
	r.now += int64(r.hub.cfg.Linger) + 1
	r.shard.Tick()
	again := r.live("x.*", RawWS) // behind the close
	r.publish("x.a", 1)
	r.settle()
	if got := payloads(again.got); got != "1 " {
		t.Errorf("got %q", got)
	}
	open, matched := r.hub.Patterns()
	if open != 1 || matched.Misses != 1 {
		t.Errorf("%d patterns are open, matched %+v", open, matched)
	}
}

func TestRingKeepsItsBoundAndFloor(t *testing.T) {
	var g ring
	for i := uint64(1); i <= 100; i++ {
		g.push(placed{&Message{Event: event("x", i)}, i}, 10, 1<<20)
		if len(g.msgs) > 2*11 {
			t.Fatalf("%d kept for 10", len(g.msgs))
		}
		low := max(int64(i)-10, 0) //nolint:gosec // a small number
		if msgs, ok := g.after(uint64(low)); !ok || uint64(len(msgs)) != i-uint64(low) || msgs[0].at != uint64(low)+1 {
			t.Fatalf("after %d: %d messages, %v", low, len(msgs), ok)
		}
		if _, ok := g.after(uint64(low) - 1); ok && low > 0 {
			t.Fatalf("the ring claims to reach back to %d of %d", low, i)
		}
	}
}
