package hub

import (
	"errors"
	"testing"
	"time"

	"weir/broker"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	for deadline := time.Now().Add(10 * time.Second); r.shard.Stalls() == 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("1000 events do not stall on an inbox of 64")
		}
	}
	for c.events < 1000 {
		<-r.woken
		r.settle()
	}
	<-done
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
