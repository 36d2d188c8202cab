package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
	way       way // to the hub
	conns     []*modelConn
	cfg       Config
	next      *rig // that is about to take over
	nextWay   way
	stops     []func()
}

type modelConn struct {
	*fakeConn
	from   int // events published before it subscribed
	resets int
}

// way is the events that are stored and not yet delivered, each topic's in order.
type way map[broker.Topic][]*broker.Event

// deliver hands on at most n events, of topics in any order.
func (w way) deliver(t *rapid.T, h *Hub, n int) {
	for ; n > 0; n-- {
		var topics []broker.Topic
		for topic := range w {
			topics = append(topics, topic)
		}
		if len(topics) == 0 {
			return
		}
		slices.Sort(topics)
		w.pop(rapid.SampledFrom(topics).Draw(t, "delivered"), h)
	}
}

func (w way) pop(topic broker.Topic, h *Hub) {
	h.Deliver(w[topic][:1])
	if w[topic] = w[topic][1:]; len(w[topic]) == 0 {
		delete(w, topic)
	}
}

func (w way) deliverAll(h *Hub) {
	for topic := range w {
		for len(w[topic]) > 0 {
			w.pop(topic, h)
		}
	}
}

func (m *model) publish(topic broker.Topic, key string) {
	offset := uint64(len(m.published) + 1)
	ev := event(topic, offset)
	ev.Key, ev.Prev = key, 0
	for _, before := range m.published {
		if before.Topic == topic {
			ev.Prev = before.Position.Offset
		}
	}
	m.published = append(m.published, ev)
	m.src.mu.Lock()
	m.src.log = append(m.src.log, ev)
	m.src.mu.Unlock()
	m.way[topic] = append(m.way[topic], ev)
	if m.next != nil {
		m.nextWay[topic] = append(m.nextWay[topic], ev)
	}
}

// cutRuns has a run of the shard end after one write, in the middle of a sweep.
func (r *rig) cutRuns() { r.hub.cfg.SliceWrites, r.step = 1, int64(runTime) }

// takeOver moves all subscribers to another hub, while events are published.
func (m *model) takeOver(t *testing.T, rt *rapid.T) {
	t.Helper()
	ctx := context.Background()
	some := func(what string) {
		for range rapid.IntRange(0, 10).Draw(rt, what) {
			m.publish(rapid.SampledFrom(m.topics).Draw(rt, "topic"), rapid.StringMatching("[a-e]").Draw(rt, "key"))
		}
		m.way.deliver(rt, m.hub, rapid.IntRange(0, 10).Draw(rt, what+": delivered"))
		if m.next != nil {
			m.nextWay.deliver(rt, m.next.hub, rapid.IntRange(0, 10).Draw(rt, what+": delivered to the next"))
		}
	}
	m.src.mu.Lock()
	m.src.head = pos(uint64(len(m.published)))
	m.src.mu.Unlock()
	next, stop := startRigOn(t, m.cfg, m.src)
	m.stops = append(m.stops, stop)
	next.cutRuns()
	next.shard.Freeze()
	if failed, err := next.hub.Expect(ctx, m.hub.OpenTopics()); failed > 0 {
		rt.Fatal(err)
	}
	m.next, m.nextWay = next, way{}
	some("events before the record")
	m.src.settle = func() {
		some("events beside the record")
		m.way.deliverAll(m.hub)
	}
	m.hub.Record(ctx)
	some("events before the freeze")
	for range rapid.IntRange(0, 3).Draw(rt, "runs before the freeze") {
		m.shard.Run()
	}
	m.shard.Freeze()
	some("events in between")
	places := make([]Place, len(m.conns))
	from := map[broker.Pattern]broker.Position{}
	needs := Needs{}
	for i, c := range m.conns {
		places[i] = c.sub.Place()
		needs.Add(places[i])
		if at, known := from[m.name]; places[i].Live && (!known || at.Offset > places[i].Since.Offset) {
			from[m.name] = places[i].Since
		}
	}
	m.shard.Run() // which must do nothing
	orders, err := m.hub.Orders(ctx, needs, []Recent{m.shard.Recent(needs)})
	if err != nil {
		rt.Fatal(err)
	}
	some("events after the freeze")
	m.hub.EndRecord()
	next.hub.Reach(ctx, from)
	if orders != nil {
		if n, err := next.hub.Inherit(ctx, orders); err != nil || n != 1 {
			rt.Fatalf("%d patterns inherited: %v", n, err)
		}
	}
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
	m.rig, m.next, m.way = next, nil, m.nextWay
}

// quiet delivers what is on its way, runs the shard, and waits for the broker's answers, until nothing is
// left to do.
func (m *model) quiet() {
	m.way.deliverAll(m.hub)
	m.settle()
	for _, c := range m.conns {
		for c.sub.state == subResuming {
			<-m.woken
			m.settle()
		}
	}
}

// check holds what a conn that has drained read to what was published. What came before a reset counts for
// its order alone.
func (m *model) check(t rapid.TB, c *modelConn) {
	last := map[string]uint64{}
	got := map[string][]told{}
	var skipped uint64
	for _, one := range parseTold(t, c.got) {
		switch {
		case one.Data == nil && one.Topic != string(m.name):
			t.Fatalf("a control of %q", one.Topic)
		case one.Subscribed:
		case one.Data != nil:
			if one.Offset <= max(last[one.Topic], uint64(c.from)) { //nolint:gosec // a count
				t.Fatalf("%s: offset %d after %d", one.Topic, one.Offset, last[one.Topic])
			}
			last[one.Topic] = one.Offset
			got[one.Topic] = append(got[one.Topic], one)
		case one.Skipped > 0:
			skipped += one.Skipped
		case m.name.Wild() && one.Recovered != nil: // the ring did not reach so far back
			c.resets++
			clear(got)
			skipped = 0
		default:
			t.Fatalf("told %+v", one)
		}
	}
	if m.mode == ModeLog && skipped > 0 {
		t.Fatalf("%d skipped in mode log", skipped)
	}
	if c.resets > 0 && m.cfg.PatternRingEvents >= wideRing {
		t.Fatalf("%d resets, though the ring has all", c.resets)
	}
	read := uint64(0)
	for _, topic := range m.topics {
		read += uint64(len(got[string(topic)]))
		m.checkTopic(t, c, topic, got[string(topic)])
	}
	if want := uint64(len(m.published) - c.from); c.resets == 0 && read+skipped != want { //nolint:gosec // a count
		t.Fatalf("%d events and %d skipped, %d were published", read, skipped, want)
	}
}

// checkTopic holds the events of a topic that a conn read since its last reset to those published.
func (m *model) checkTopic(t rapid.TB, c *modelConn, topic broker.Topic, got []told) {
	var want []*broker.Event
	for _, ev := range m.published[c.from:] {
		if ev.Topic == topic && (c.resets == 0 || len(got) > 0 && ev.Position.Offset >= got[0].Offset) {
			want = append(want, ev)
		}
	}
	if m.mode == ModeLog {
		if len(got) != len(want) {
			t.Fatalf("%s: %d events, %d were published", topic, len(got), len(want))
		}
		return // their offsets rise
	}
	newest, read := map[string]uint64{}, map[string]uint64{}
	for _, ev := range want {
		newest[ev.Key] = ev.Position.Offset
	}
	for _, one := range got {
		read[one.Key] = one.Offset
	}
	if c.resets == 0 && fmt.Sprint(newest) != fmt.Sprint(read) {
		t.Fatalf("%s: newest of each key: read %v, published %v", topic, read, newest)
	}
}

// wideRing is the events of a pattern's ring that has all there are.
const wideRing = 1 << 12

// TestSlowReadersEndWhereTheOthersAre: whatever the order in which subscribers block and drain while
// events are published, and move to another process, one of mode log reads every event once and in
// order, one of mode latest the newest of each key, and is told how many it was not sent. One of a
// pattern may be told instead that some are missing, if the ring does not reach back to where it stood.
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
		PatternRingEvents: rapid.OneOf(rapid.IntRange(1, 8), rapid.Just(wideRing)).Draw(rt, "pattern's ring"),
	}
	r, stop := startRig(t, cfg)
	defer stop()
	r.cutRuns()
	m := &model{rig: r, name: name, mode: mode, topics: []broker.Topic{"m.a"}, way: way{}, cfg: cfg}
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
		"deliver": func(rt *rapid.T) { m.way.deliver(rt, m.hub, rapid.IntRange(1, 12).Draw(rt, "events on their way")) },
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
