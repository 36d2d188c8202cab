package hub

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"weir/broker"
)

const testEpoch = broker.Epoch(0xabc)

func pos(offset uint64) broker.Position { return broker.Position{Epoch: testEpoch, Offset: offset} }

func event(topic broker.Topic, offset uint64) *broker.Event {
	return &broker.Event{Topic: topic, Position: pos(offset), Prev: offset - 1, OriginNanos: 1, Data: fmt.Appendf(nil, "%d", offset)}
}

// fakeSource opens every topic at head, and recovers from a log of events.
type fakeSource struct {
	mu       sync.Mutex
	head     broker.Position
	fail     error
	log      []*broker.Event
	gone     uint64 // offsets up to here cannot be recovered
	open     map[broker.Pattern]int
	recovers int
	settle   func() // hands on what is stored
	opening  func() // is called as a topic opens, and it or a pattern is live
}

func (f *fakeSource) Heads(context.Context) (*broker.Heads, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	heads := new(broker.Heads)
	for _, ev := range f.log {
		heads[ev.Topic.Shard()] = ev.Position
	}
	return heads, f.fail
}

func (f *fakeSource) Settle(context.Context, *broker.Heads) error {
	if f.settle != nil {
		f.settle()
	}
	return f.fail
}

func (f *fakeSource) ReadShard(_ context.Context, shard int, after, last broker.Position, wanted broker.Wanted) (events []*broker.Event, whole bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ev := range f.log {
		if at := ev.Position.Offset; ev.Topic.Shard() != shard || at <= after.Offset || at > last.Offset {
			continue
		}
		if past, ok := wanted(ev.Topic); ok && ev.Position.Offset > past {
			events = append(events, ev)
		}
	}
	return events, after.Offset >= f.gone, nil
}

func (f *fakeSource) Subscribe(_ context.Context, t broker.Pattern) (broker.Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return broker.Position{}, f.fail
	}
	f.open[t]++
	if f.opening != nil {
		f.opening()
	}
	return f.head, nil
}

func (f *fakeSource) Unsubscribe(t broker.Pattern) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[t]--
}

func (f *fakeSource) Recover(_ context.Context, t broker.Topic, after broker.Position, limit int) (broker.Recovery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recovers++
	if f.fail != nil {
		return broker.Recovery{}, f.fail
	}
	rec := broker.Recovery{Head: after}
	if after.Epoch != testEpoch || after.Offset < f.gone {
		return broker.Recovery{Head: f.head}, nil
	}
	for _, ev := range f.log {
		if ev.Topic == t && ev.Position.Offset > after.Offset {
			if len(rec.Events) == limit {
				rec.More = true
				break
			}
			rec.Events = append(rec.Events, ev)
			rec.Head = ev.Position
		}
	}
	rec.Recovered = true
	return rec, nil
}

// fakeConn records what it is given, and can end itself at a write, as a failing socket does.
type fakeConn struct {
	shard   *Shard
	sub     *Sub
	got     string
	writes  int
	events  int
	opened  int
	failed  error
	dieAt   int // the write at which it closes, 0 never
	dead    bool
	started bool
	// room is the writes that it takes before it is blocked, if limited.
	limited bool
	room    int
}

func (c *fakeConn) Fell()          {}
func (c *fakeConn) Skipped(uint64) {}

func (c *fakeConn) Blocked() bool { return c.limited && c.room <= 0 }

func (c *fakeConn) Deliver(frames []byte, events int) {
	if c.dead {
		panic("delivered to a closed conn")
	}
	if c.limited {
		c.room--
	}
	c.got += string(frames)
	c.writes++
	c.events += events
	if c.writes == c.dieAt {
		c.dead = true
		c.shard.Unsubscribe(c.sub)
	}
}

func (c *fakeConn) Opened(s *Sub, err error) {
	c.opened++
	c.failed = err
	if err == nil {
		c.started = true
		c.shard.Start(s)
	}
}

// bench is a hub with one shard that the test runs by hand.
type rig struct {
	t     *testing.T
	src   *fakeSource
	hub   *Hub
	shard *Shard
	woken chan struct{}
	now   int64
	step  int64 // by which each look at the clock moves it
	ages  uint64
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	r, stop := startRig(t, cfg)
	t.Cleanup(stop)
	return r
}

func startRig(t *testing.T, cfg Config) (r *rig, stop func()) {
	t.Helper()
	return startRigOn(t, cfg, &fakeSource{head: pos(0), open: map[broker.Pattern]int{}})
}

func startRigOn(t *testing.T, cfg Config, src *fakeSource) (r *rig, stop func()) {
	t.Helper()
	r = &rig{t: t, src: src, woken: make(chan struct{}, 1024), now: 1 << 40}
	h, err := New(cfg, r.src)
	if err != nil {
		t.Fatal(err)
	}
	r.hub = h
	r.shard = h.NewShard(func() { r.woken <- struct{}{} }, func() int64 { r.now += r.step; return r.now }, func(_ int64, n uint64) { r.ages += n })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Run(ctx)
	}()
	return r, func() {
		cancel()
		<-done
	}
}

// settle runs the shard until nothing is left to do.
func (r *rig) settle() {
	for r.shard.Run() {
		continue
	}
}

// answer waits for the hub's answer to what the shard asked, and takes it.
func (r *rig) answer() {
	r.t.Helper()
	<-r.woken
	r.settle()
}

func (r *rig) subscribe(topic broker.Pattern, v Variant, since broker.Position) *fakeConn {
	r.t.Helper()
	c := &fakeConn{shard: r.shard}
	sub, ready, err := r.shard.Subscribe(c, topic, v, since)
	if err != nil {
		r.t.Fatal(err)
	}
	c.sub = sub
	if ready {
		c.started = true
		r.shard.Start(sub)
	}
	return c
}

// live is subscribe, with the topic open when it returns.
func (r *rig) live(topic broker.Pattern, v Variant) *fakeConn {
	r.t.Helper()
	c := r.subscribe(topic, v, broker.Position{})
	if !c.started {
		r.answer()
	}
	if !c.started {
		r.t.Fatal("topic did not open")
	}
	return c
}

func (r *rig) publish(topic broker.Topic, offsets ...uint64) {
	for _, o := range offsets {
		r.hub.Deliver([]*broker.Event{event(topic, o)})
	}
	drain(r.woken)
}

func drain(ch chan struct{}) {
	for {
		select {
		case <-ch:
		default:
			return
		}
	}
}

// payloads is what raw text frames of one-byte length carry, joined.
func payloads(frames string) string {
	var out string
	for len(frames) >= 2 {
		n := int(frames[1])
		out += frames[2:2+n] + " "
		frames = frames[2+n:]
	}
	return out
}
