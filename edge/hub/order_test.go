package hub

import (
	"errors"
	"fmt"
	"testing"

	"weir/broker"
)

// handOver is a takeover of one subscriber of x.*, which has read event 1. between is called before the taker
// reads what the shards have. It returns what the subscriber is sent by the taker.
func handOver(t *testing.T, between func(giver, taker *rig)) string {
	t.Helper()
	ctx := t.Context()
	a := newRig(t, Config{})
	c := a.live("x.*", JSONWS)
	a.store("x.a", 1)
	a.settle()
	b, stop := startRigOn(t, Config{}, a.src)
	t.Cleanup(stop)
	if failed, err := b.hub.Expect(ctx, a.hub.OpenTopics()); failed > 0 {
		t.Fatal(err)
	}
	b.shard.Freeze()
	a.hub.Record(ctx)
	a.shard.Freeze()
	place, needs := c.sub.Place(), Needs{}
	needs.Add(place)
	between(a, b)
	orders, err := a.hub.Orders(ctx, needs, []Recent{a.shard.Recent(needs)})
	a.hub.EndRecord()
	switch {
	case err != nil:
		t.Logf("orders: %v", err)
	case orders != nil:
		if n, err := b.hub.Inherit(ctx, orders); err != nil {
			t.Logf("%d inherited: %v", n, err)
		}
	}
	c.got, c.shard = "", b.shard
	if c.sub, _, err = b.shard.Adopt(c, place); err != nil {
		t.Fatal(err)
	}
	b.shard.Thaw()
	b.hub.Settle(ctx)
	b.settle()
	var got string
	for _, one := range parseTold(t, c.got) {
		if one.Recovered != nil {
			got += fmt.Sprint(" recovered:", *one.Recovered)
		} else {
			got += fmt.Sprint(" ", one.Offset)
		}
	}
	return got
}

// store publishes to the topic, and has it stored.
func (r *rig) store(topic broker.Topic, offsets ...uint64) {
	for _, o := range offsets {
		r.src.mu.Lock()
		r.src.log = append(r.src.log, event(topic, o))
		r.src.mu.Unlock()
	}
	r.publish(topic, offsets...)
}

func (s *fakeSource) add(events ...*broker.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, events...)
}

func TestPatternGoesOnInAnotherProcessOrSaysThatItCannot(t *testing.T) {
	for _, tt := range []struct {
		name    string
		between func(giver, taker *rig)
		want    string
	}{
		{"nothing came", func(*rig, *rig) {}, ""},
		{"what only the giver got", func(a, _ *rig) { a.store("x.a", 2) }, " 2"},
		{"what nobody got", func(a, _ *rig) { a.src.add(event("x.a", 2)) }, " 2"},
		{"what both got", func(a, b *rig) {
			a.store("x.a", 2)
			b.publish("x.a", 2)
		}, " 2"},
		{"what the taker had live after the shards were read", func(_, b *rig) { b.publish("x.a", 2) }, " 2"},
		{"the event before that is not to be found", func(_, b *rig) { b.publish("x.a", 3) }, " recovered:false"},
		{"the giver was told of a loss", func(a, _ *rig) { a.hub.Reset("x.*", broker.Position{}) }, " recovered:false"},
		{"the taker was", func(_, b *rig) { b.hub.Reset("x.*", broker.Position{}) }, " recovered:false"},
		{"the stream does not go back so far", func(a, _ *rig) {
			a.src.add(event("x.a", 2))
			a.src.gone = 2
		}, " recovered:false"},
		{"the stream was made anew", func(a, _ *rig) {
			ev := event("x.a", 2)
			ev.Position.Epoch++
			a.src.add(ev)
		}, " recovered:false"},
		{"the bus is away", func(a, _ *rig) {
			a.src.mu.Lock()
			defer a.src.mu.Unlock()
			a.src.fail = errors.New("gone")
		}, " recovered:false"},
		{"too many topics to record", func(a, _ *rig) {
			for i := range maxRecorded {
				a.hub.recording.Load().last[broker.Topic(fmt.Sprint("x.", i))] = pos(1)
			}
			a.publish("x.a", 2)
		}, " recovered:false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := handOver(t, tt.between); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPatternsAreNotRecordedWithoutTheBus(t *testing.T) {
	r := newRig(t, Config{})
	c := r.live("x.*", RawWS)
	r.src.fail = errors.New("gone")
	r.hub.Record(t.Context())
	defer r.hub.EndRecord()
	r.shard.Freeze()
	needs := Needs{}
	needs.Add(c.sub.Place())
	if o, err := r.hub.Orders(t.Context(), needs, nil); !errors.Is(err, r.src.fail) {
		t.Errorf("got %+v, %v", o, err)
	}
}

// TestNewPatternOpensWhenTheRecordIsOver: nobody would know what it got.
func TestNewPatternOpensWhenTheRecordIsOver(t *testing.T) {
	r := newRig(t, Config{})
	r.live("x.*", RawWS)
	r.hub.Record(t.Context())
	c := r.subscribe("y.*", RawWS, broker.Position{})
	plain := r.live("y.a", RawWS) // behind it, in some lane
	if c.started || !plain.started {
		t.Fatalf("started: pattern %v, topic %v", c.started, plain.started)
	}
	r.hub.EndRecord()
	for !c.started {
		r.answer()
	}
	r.publish("y.a", 1)
	r.settle()
	if got := payloads(c.got); got != "1 " {
		t.Errorf("got %q", got)
	}
}

// TestPatternThatOpenedBesideARecordIsToldOf: one that was about to open when a record began without any.
func TestPatternThatOpenedBesideARecordIsToldOf(t *testing.T) {
	r := newRig(t, Config{})
	r.src.opening = func() {
		r.src.opening = nil
		r.hub.recording.Store(&recording{last: map[broker.Topic]broker.Position{}}) // as Record leaves it without patterns
	}
	c := r.live("x.*", RawWS)
	defer r.hub.EndRecord()
	r.shard.Freeze()
	needs := Needs{}
	needs.Add(c.sub.Place())
	if o, err := r.hub.Orders(t.Context(), needs, nil); o != nil || !errors.Is(err, errOpenedSince) {
		t.Errorf("got %+v, %v", o, err)
	}
}
