package hub

import (
	"testing"
	"time"

	"weir/broker"
)

// again is what the loop does once a second.
func (r *rig) again() {
	r.shard.Tick()
	r.shard.DrainAll()
	r.settle()
}

// asked waits until the broker was asked so often, and its answers are taken.
func (r *rig) asked(times int) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		r.src.mu.Lock()
		n := r.src.recovers
		r.src.mu.Unlock()
		r.settle()
		if n == times && r.resuming() == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("asked %d times, want %d", n, times)
		}
	}
}

// resuming counts the subscribers whose answer has not been taken.
func (r *rig) resuming() (n int) {
	for _, t := range r.shard.topics {
		n += t.refs - len(t.subs) - len(t.late)
	}
	return n - r.shard.Behind()
}

func TestResumeThatTheBrokerCannotAnswerWaits(t *testing.T) {
	r := newRig(t, Config{})
	r.src.head = pos(6)
	r.live("x", RawWS)
	r.src.mu.Lock()
	r.src.fail = broker.ErrUnavailable
	for o := uint64(1); o <= 7; o++ {
		r.src.log = append(r.src.log, event("x", o))
	}
	r.src.mu.Unlock()
	c := r.subscribe("x", ResumedRawWS, pos(3))
	gone := r.subscribe("x", ResumedRawWS, pos(3))
	for try := 1; try <= 3; try++ {
		r.asked(2 * try)
		if c.got != "" || r.shard.Behind() != 2 {
			t.Fatalf("got %q while the broker is away, %d wait", c.got, r.shard.Behind())
		}
		r.shard.DrainAll()
		r.settle()
		if r.shard.Behind() != 2 {
			t.Fatal("it asks again before the next tick")
		}
		r.again()
	}
	r.asked(8)
	r.shard.Unsubscribe(gone.sub)
	r.publish("x", 7) // the topic goes on
	r.settle()
	r.src.mu.Lock()
	r.src.fail = nil
	r.src.mu.Unlock()
	r.again()
	r.asked(9)
	control := string(AppendControl(nil, ResumedRawWS, Control{Topic: "x", Position: pos(3), Subscribed: true, Resumed: true, Recovered: true}))
	if len(c.got) < len(control) || c.got[:len(control)] != control {
		t.Fatalf("got %q, want it to begin with %q", c.got, control)
	}
	if got := payloads(c.got[len(control):]); got != "4 5 6 7 " {
		t.Errorf("got %q", got)
	}
	if gone.got != "" {
		t.Errorf("who went got %q", gone.got)
	}
}
