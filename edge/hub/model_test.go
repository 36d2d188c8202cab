package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"weir/broker"
	"weir/edge/ws"

	"pgregory.net/rapid"
)

// told is what a subscriber reads of one frame in JSONWS.
type told struct {
	Topic      string `json:"topic"`
	Offset     uint64 `json:"offset"`
	Key        string `json:"key"`
	Data       *int   `json:"data"`
	Subscribed bool   `json:"subscribed"`
	Recovered  *bool  `json:"recovered"`
	Skipped    uint64 `json:"skipped"`
}

// parseTold takes the frames in JSONWS apart.
func parseTold(t rapid.TB, frames string) (all []told) {
	b := []byte(frames)
	for len(b) > 0 {
		h, n, err := ws.ParseHeader(b)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		var one told
		if err := json.Unmarshal(b[n:n+int(h.Length)], &one); err != nil {
			t.Fatalf("%q: %v", b[n:], err)
		}
		all = append(all, one)
		b = b[n+int(h.Length):]
	}
	return all
}

// model is a hub with some subscribers that block and drain at random, beside what was published.
type model struct {
	*rig
	name      broker.Pattern // what all subscribe to
	topics    []broker.Topic // what is published to
	mode      Mode
	published []*broker.Event
	conns     []*modelConn
	cfg       Config
	next      *rig // that is about to take over
	stops     []func()
}

type modelConn struct {
	*fakeConn
	from   int // events published before it subscribed
	resets int
}

func (m *model) publish(topic broker.Topic, key string) {
	offset := uint64(len(m.published) + 1)
	ev := event(topic, offset)
	ev.Key = key
	m.published = append(m.published, ev)
	m.src.mu.Lock()
	m.src.log = append(m.src.log, ev)
	m.src.mu.Unlock()
	m.hub.Deliver([]*broker.Event{ev})
	if m.next != nil {
		m.next.hub.Deliver([]*broker.Event{ev})
	}
}

// takeOver moves all subscribers to another hub, while events are published.
func (m *model) takeOver(t *testing.T, rt *rapid.T) {
	t.Helper()
	ctx := context.Background()
	some := func(what string) {
		for range rapid.IntRange(0, 10).Draw(rt, what) {
			m.publish(rapid.SampledFrom(m.topics).Draw(rt, "topic"), rapid.StringMatching("[a-e]").Draw(rt, "key"))
		}
	}
	m.src.mu.Lock()
	m.src.head = pos(uint64(len(m.published)))
	m.src.mu.Unlock()
	next, stop := startRigOn(t, m.cfg, m.src)
	m.stops = append(m.stops, stop)
	next.hub.cfg.SliceWrites = 1
	next.shard.Freeze()
	if failed, err := next.hub.Expect(ctx, m.hub.OpenTopics()); failed > 0 {
		rt.Fatal(err)
	}
	m.next = next
	some("events before the freeze")
	for range rapid.IntRange(0, 3).Draw(rt, "runs before the freeze") {
		m.shard.Run()
	}
	m.shard.Freeze()
	some("events in between")
	places := make([]Place, len(m.conns))
	from := map[broker.Pattern]broker.Position{}
	for i, c := range m.conns {
		places[i] = c.sub.Place()
		if at, known := from[m.name]; places[i].Live && (!known || at.Offset > places[i].Since.Offset) {
			from[m.name] = places[i].Since
		}
	}
	m.shard.Run() // which must do nothing
	next.hub.Reach(ctx, from)
	for i, c := range m.conns {
		c.shard = next.shard
		sub, ready, err := next.shard.Adopt(c, places[i])
		if err != nil {
			rt.Fatal(err)
		}
		if c.sub = sub; ready {
			next.shard.Start(sub)
		}
		if i == 0 {
			some("events during the adoption")
		}
	}
	next.shard.Thaw()
	next.hub.Settle(ctx)
	m.rig, m.next = next, nil
}

// quiet runs the shard, and waits for the broker's answers, until nothing is left to do.
func (m *model) quiet() {
	m.settle()
	for _, c := range m.conns {
		for c.sub.state == subResuming {
			<-m.woken
			m.settle()
		}
	}
}

// check holds what a conn that has drained read to what was published.
func (m *model) check(t rapid.TB, c *modelConn) {
	var last uint64
	var got []told
	var skipped uint64
	resets := 0 // since the last event
	for _, one := range parseTold(t, c.got) {
		switch {
		case one.Data == nil && one.Topic != string(m.name):
			t.Fatalf("a control of %q", one.Topic)
		case one.Subscribed:
			last = uint64(c.from) //nolint:gosec // a count
		case one.Data != nil:
			if m.mode == ModeLog && one.Offset != last+1 && resets == 0 {
				t.Fatalf("offset %d after %d", one.Offset, last)
			}
			if one.Offset <= last {
				t.Fatalf("offset %d after %d", one.Offset, last)
			}
			last = one.Offset
			got = append(got, one)
			resets = 0
		case one.Skipped > 0:
			skipped += one.Skipped
		case m.name.Wild() && one.Recovered != nil: // the ring did not reach so far back
			resets++
			c.resets++
		default:
			t.Fatalf("told %+v", one)
		}
	}
	want := m.published[c.from:]
	if resets > 0 {
		return // nothing came since
	}
	if c.resets > 0 { // nothing is missing since the last one
		want = m.published[last:]
		got, skipped = nil, 0
	}
	if uint64(len(got))+skipped != uint64(len(want)) {
		t.Fatalf("%d events and %d skipped, %d were published", len(got), skipped, len(want))
	}
	if m.mode == ModeLog && skipped > 0 {
		t.Fatalf("%d skipped in mode log", skipped)
	}
	newest, read := map[string]uint64{}, map[string]uint64{}
	for _, ev := range want {
		newest[string(ev.Topic)+" "+ev.Key] = ev.Position.Offset
	}
	for _, one := range got {
		read[one.Topic+" "+one.Key] = one.Offset
	}
	if fmt.Sprint(newest) != fmt.Sprint(read) {
		t.Fatalf("newest of each key: read %v, published %v", read, newest)
	}
}

// TestSlowReadersEndWhereTheOthersAre: whatever the order in which subscribers block and drain while
// events are published, and move to another process, one of mode log reads every event once and in
// order, one of mode latest the newest of each key, and is told how many it was not sent. One of a
// pattern may be told instead that some are missing.
func TestSlowReadersEndWhereTheOthersAre(t *testing.T) {
	for _, mode := range []Mode{ModeLog, ModeLatest} {
		for _, name := range []broker.Pattern{"m.a", "m.*"} {
			t.Run(mode.String()+" "+string(name), func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) { runModel(t, rt, mode, name) })
			})
		}
	}
}

func runModel(t *testing.T, rt *rapid.T, mode Mode, name broker.Pattern) {
	t.Helper()
	cfg := Config{
		RingEvents: rapid.IntRange(1, 8).Draw(rt, "ring"), RecoverEvents: rapid.IntRange(1, 5).Draw(rt, "recover"),
		LatestKeys: rapid.IntRange(1, 6).Draw(rt, "keys kept"), Modes: []ModeRule{{"m.>", mode}},
		PatternRingEvents: rapid.IntRange(1, 8).Draw(rt, "pattern's ring"),
	}
	r, stop := startRig(t, cfg)
	defer stop()
	r.hub.cfg.SliceWrites = 1 // so that a run ends in the middle of a sweep
	m := &model{rig: r, name: name, mode: mode, topics: []broker.Topic{"m.a"}, cfg: cfg}
	defer func() {
		for _, stop := range m.stops {
			stop()
		}
	}()
	if name.Wild() {
		m.topics = append(m.topics, "m.b", "m.c")
		m.live("m.b", RawWS) // which is subscribed to by itself, too
	}
	m.conns = append(m.conns, &modelConn{fakeConn: m.live(name, JSONWS)})
	rt.Repeat(map[string]func(*rapid.T){
		"publish": func(rt *rapid.T) {
			for range rapid.IntRange(1, 12).Draw(rt, "events") {
				m.publish(rapid.SampledFrom(m.topics).Draw(rt, "topic"), rapid.StringMatching("[a-e]").Draw(rt, "key"))
			}
		},
		"take over": func(rt *rapid.T) {
			if len(m.stops) < 3 {
				m.takeOver(t, rt)
			}
		},
		"run":    func(*rapid.T) { m.shard.Run() },
		"settle": func(*rapid.T) { m.quiet() },
		"subscribe": func(rt *rapid.T) {
			m.quiet()
			m.conns = append(m.conns, &modelConn{fakeConn: m.live(name, JSONWS), from: len(m.published)})
		},
		"block": func(rt *rapid.T) {
			c := rapid.SampledFrom(m.conns).Draw(rt, "conn")
			c.limited, c.room = true, rapid.IntRange(0, 2).Draw(rt, "room")
		},
		"drain": func(rt *rapid.T) {
			rapid.SampledFrom(m.conns).Draw(rt, "conn").room = rapid.IntRange(1, 3).Draw(rt, "room")
			if rapid.Bool().Draw(rt, "all") {
				m.shard.DrainAll()
			} else {
				m.shard.Drain()
			}
		},
	})
	for _, c := range m.conns {
		c.limited = false
	}
	for first := true; first || m.shard.Behind() > 0; first = false {
		m.shard.DrainAll()
		m.quiet()
	}
	for _, c := range m.conns {
		if c.sub.state != subLive {
			rt.Fatalf("a subscriber that reads is in state %d", c.sub.state)
		}
		m.check(rt, c)
	}
}
