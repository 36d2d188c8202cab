package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"weir/broker"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
}

func (f *fakeSource) Subscribe(_ context.Context, t broker.Pattern) (broker.Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return broker.Position{}, f.fail
	}
	f.open[t]++
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
	r.shard = h.NewShard(func() { r.woken <- struct{}{} }, func() int64 { return r.now }, func(_ int64, n uint64) { r.ages += n })
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

func TestEventsReachEverySubscriberInOrder(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.live("x", RawWS), r.live("x", RawWS)
	other := r.live("y", RawWS)
	r.publish("x", 1, 2)
	r.settle()
	r.publish("x", 3)
	r.settle()
	for _, c := range []*fakeConn{a, b} {
		if got := payloads(c.got); got != "1 2 3 " {
			t.Errorf("got %q", got)
		}
		if c.writes != 2 {
			t.Errorf("%d writes for two gathered and one later event, want 2: group commit", c.writes)
		}
	}
	if other.got != "" {
		t.Errorf("subscriber of another topic got %q", other.got)
	}
	if r.ages != 6 {
		t.Errorf("observed %d deliveries, want 6", r.ages)
	}
}

func TestEventsDuringASweepLeaveWithTheNext(t *testing.T) {
	r := newRig(t, Config{SliceWrites: 16})
	conns := make([]*fakeConn, 16*slicesPerRun+40)
	for i := range conns {
		conns[i] = r.live("x", RawWS)
	}
	r.publish("x", 1)
	if !r.shard.Run() {
		t.Fatal("one run swept all: slices are not bounded")
	}
	r.publish("x", 2, 3, 4)
	r.settle()
	for i, c := range conns {
		if got := payloads(c.got); got != "1 2 3 4 " || c.writes != 2 {
			t.Fatalf("conn %d got %q in %d writes", i, got, c.writes)
		}
	}
}

func TestOneTopicsSweepDoesNotHoldUpAnother(t *testing.T) {
	r := newRig(t, Config{SliceWrites: 16})
	for range 16 * slicesPerRun * 4 {
		r.live("big", RawWS)
	}
	small := r.live("small", RawWS)
	r.publish("big", 1)
	r.publish("small", 2)
	r.shard.Run()
	if payloads(small.got) != "2 " {
		t.Fatal("the small topic waits for the big one's whole sweep")
	}
}

func TestConnsThatCloseDuringASweepDisturbNobody(t *testing.T) {
	r := newRig(t, Config{SliceWrites: 16})
	conns := make([]*fakeConn, 300)
	for i := range conns {
		conns[i] = r.live("x", RawWS)
		if i%3 == 0 {
			conns[i].dieAt = 1 + i%2
		}
	}
	r.publish("x", 1)
	r.shard.Run()
	for i := 1; i < len(conns); i += 50 { // some leave by themselves in the middle
		if !conns[i].dead {
			conns[i].dead = true
			r.shard.Unsubscribe(conns[i].sub)
		}
	}
	late := r.live("x", RawWS)
	r.publish("x", 2)
	r.settle()
	r.publish("x", 3)
	r.settle()
	for i, c := range conns {
		if got := payloads(c.got); !c.dead && got != "1 2 3 " {
			t.Fatalf("conn %d got %q", i, got)
		}
	}
	if got := payloads(late.got); got != "2 3 " {
		t.Fatalf("who came during the sweep got %q, want what was published since", got)
	}
}

func TestResumeFromTheRing(t *testing.T) {
	r := newRig(t, Config{})
	r.live("x", RawWS)
	r.publish("x", 1, 2, 3)
	r.settle()
	c := r.subscribe("x", ResumedRawWS, pos(1))
	r.publish("x", 4)
	r.settle()
	control := string(AppendControl(nil, ResumedRawWS, Control{Topic: "x", Position: pos(1), Subscribed: true, Resumed: true, Recovered: true}))
	if len(c.got) < len(control) || c.got[:len(control)] != control {
		t.Fatalf("first frame is not the control: %q", c.got)
	}
	if got := payloads(c.got[len(control):]); got != "2 3 4 " {
		t.Errorf("got %q", got)
	}
	if r.src.recovers != 0 {
		t.Error("the broker was asked although the ring reaches back far enough")
	}
}

func TestResumeThroughTheBroker(t *testing.T) {
	for _, tt := range []struct {
		name  string
		since broker.Position
		gone  uint64
		live  uint64 // published while the broker is asked
		want  string
		ok    bool
	}{
		{"what was missed, then live", pos(3), 0, 7, "4 5 6 7 ", true},
		{"a hole is said", pos(1), 3, 7, "7 ", false},
		{"another epoch is said", broker.Position{Epoch: 1, Offset: 5}, 0, 7, "7 ", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.src.head, r.src.gone = pos(6), tt.gone
			for o := uint64(1); o <= tt.live; o++ {
				r.src.log = append(r.src.log, event("x", o)) // the store is ahead of the loop
			}
			r.live("x", RawWS)
			c := r.subscribe("x", ResumedRawWS, tt.since)
			r.answer()
			r.publish("x", tt.live)
			r.settle()
			at := tt.since
			if !tt.ok {
				at = pos(6)
			}
			control := string(AppendControl(nil, ResumedRawWS, Control{Topic: "x", Position: at, Subscribed: true, Resumed: true, Recovered: tt.ok}))
			if len(c.got) < len(control) || c.got[:len(control)] != control {
				t.Fatalf("got %q, want it to begin with %q", c.got, control)
			}
			if got := payloads(c.got[len(control):]); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestResetIsToldToWhoCanRead(t *testing.T) {
	r := newRig(t, Config{})
	raw, json, sse := r.live("x", RawWS), r.live("x", JSONWS), r.live("x", SSE)
	raw.got, json.got, sse.got = "", "", ""
	r.publish("x", 1)
	r.hub.Reset("x", broker.Position{Epoch: 9, Offset: 5})
	r.hub.Deliver([]*broker.Event{{Topic: "x", Position: broker.Position{Epoch: 9, Offset: 6}, Data: []byte("6")}})
	r.settle()
	if got := payloads(raw.got); got != "1 6 " {
		t.Errorf("raw got %q", got)
	}
	wantSSE := "id: abc:1\ndata: 1\n\n" +
		"id: 9:5\nevent: reset\ndata: {\"topic\":\"x\",\"epoch\":\"9\",\"offset\":5,\"recovered\":false}\n\n" +
		"id: 9:6\ndata: 6\n\n"
	if sse.got != wantSSE {
		t.Errorf("sse got %q, want %q", sse.got, wantSSE)
	}
	if json.events != 3 || json.writes != 4 {
		t.Errorf("json got %d events in %d writes: %q", json.events, json.writes, json.got)
	}
}

func TestTopicThatCannotOpenIsSaid(t *testing.T) {
	r := newRig(t, Config{})
	r.src.fail = broker.ErrUnavailable
	c := r.subscribe("x", RawWS, broker.Position{})
	r.answer()
	if !errors.Is(c.failed, broker.ErrUnavailable) {
		t.Fatalf("got %v", c.failed)
	}
	r.shard.Unsubscribe(c.sub)
	r.src.mu.Lock()
	r.src.fail = nil
	r.src.mu.Unlock()
	r.live("x", RawWS) // and opens when asked again
}

func TestTopicClosesAfterTheLinger(t *testing.T) {
	r := newRig(t, Config{})
	c := r.live("x", RawWS)
	r.shard.Unsubscribe(c.sub)
	r.shard.Unsubscribe(c.sub) // twice does nothing
	r.shard.Tick()
	if r.hub.Topics() != 1 {
		t.Fatal("closed before the linger")
	}
	r.now += int64(r.hub.cfg.Linger)
	r.shard.Tick()
	again := r.live("x", RawWS) // opens behind the close, in order
	r.publish("x", 1)
	r.settle()
	if got := payloads(again.got); got != "1 " {
		t.Fatalf("got %q", got)
	}
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	if r.src.open["x"] != 1 {
		t.Errorf("%d subscriptions at the broker, want 1", r.src.open["x"])
	}
	if r.shard.Subscriptions() != 1 {
		t.Errorf("%d subscriptions", r.shard.Subscriptions())
	}
}

func TestFullInboxStallsTheReaderAndLosesNothing(t *testing.T) {
	r := newRig(t, Config{InboxEvents: 64})
	c := r.live("x", RawWS)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for o := uint64(1); o <= 1000; o++ {
			r.hub.Deliver([]*broker.Event{event("x", o)})
		}
	}()
	for c.events < 1000 {
		<-r.woken
		r.settle()
	}
	<-done
	if r.shard.Stalls() == 0 {
		t.Error("1000 events went through an inbox of 64 without a stall")
	}
}

func TestConfigReportsEveryField(t *testing.T) {
	err := Config{SliceWrites: 1, BatchBytes: 1}.Validate()
	var fe *FieldError
	if !errors.As(err, &fe) || fe.Field != "SliceWrites" {
		t.Fatalf("got %v", err)
	}
	if want := "hub.SliceWrites is 1: want 16 to 65536\nhub.BatchBytes is 1: want 1024 to 16777216"; err.Error() != want {
		t.Errorf("got %q", err)
	}
}
