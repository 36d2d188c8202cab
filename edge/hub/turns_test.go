package hub

import (
	"slices"
	"testing"

	"weir/broker"
)

// hookConn calls back at each write.
type hookConn struct {
	nullConn
	onWrite func()
}

func (c *hookConn) Deliver(b []byte, n int) {
	c.nullConn.Deliver(b, n)
	c.onWrite()
}

// crowd subscribes n conns that call back.
func (r *rig) crowd(name broker.Pattern, n int, onWrite func()) {
	r.t.Helper()
	first := r.live(name, RawWS)
	for range n {
		sub, _, err := r.shard.Subscribe(&hookConn{nullConn{shard: r.shard}, onWrite}, name, RawWS, broker.Position{})
		if err != nil {
			r.t.Fatal(err)
		}
		r.shard.Start(sub)
	}
	r.shard.Unsubscribe(first.sub)
}

// TestSmallTopicGoesBeforeTheRestOfABigSweep publishes to a small topic in the midst of a big one's
// sweep: the big one has a bounded number of writes before the small one has had all of its own.
func TestSmallTopicGoesBeforeTheRestOfABigSweep(t *testing.T) {
	r := newRig(t, Config{})
	const bigConns, smallConns = 5000, 100
	big, small, between, done := 0, 0, 0, 0
	r.crowd("small", smallConns, func() {
		if small++; small%smallConns == 0 {
			done++
		}
	})
	offset := uint64(1)
	r.crowd("big", bigConns, func() {
		if small < int(offset-1)*smallConns { //nolint:gosec // a small number
			between++
		}
		if big++; big%1000 == 500 {
			r.hub.Deliver([]*broker.Event{event("small", offset)})
			offset++
		}
	})
	r.publish("big", 1)
	r.settle()
	if big != bigConns || done != 5 {
		t.Fatalf("%d writes of the big topic, %d whole batches of the small one", big, done)
	}
	// The rest of a slice, then one of each fairTurn turns of the small topic's slices.
	slice := r.hub.cfg.SliceWrites
	if most := done * slice * (1 + (smallConns+slice-1)/slice/(fairTurn-1) + 1); between > most {
		t.Errorf("%d writes of the big topic came before the small one's, want at most %d", between, most)
	}
}

// TestBigSweepEndsWhileSmallTopicsComeWithoutEnd has each write of a small topic bring its next event.
func TestBigSweepEndsWhileSmallTopicsComeWithoutEnd(t *testing.T) {
	r := newRig(t, Config{})
	const bigConns = 1600
	big, small := 0, 0
	offset := uint64(1)
	r.crowd("big", bigConns, func() { big++ })
	r.crowd("small", 1, func() {
		small++
		if big < bigConns {
			offset++
			r.hub.Deliver([]*broker.Event{event("small", offset)})
		}
	})
	r.publish("big", 1)
	r.publish("small", 1)
	r.settle()
	if most := fairTurn * (bigConns/r.hub.cfg.SliceWrites + 1); big != bigConns || small > most {
		t.Errorf("%d of %d writes of the big topic in %d turns of the small one, want at most %d", big, bigConns, small, most)
	}
}

// TestReadsGetTheirTurn has each write take 10 us of the clock.
func TestReadsGetTheirTurn(t *testing.T) {
	r := newRig(t, Config{})
	const perWrite = 10_000
	r.crowd("big", 2000, func() { r.now += perWrite })
	r.publish("big", 1)
	for more := true; more; {
		before := r.now
		more = r.shard.Run()
		if took := r.now - before; took > int64(runTime)+int64(r.hub.cfg.SliceWrites)*perWrite {
			t.Fatalf("one run took %d us", took/1000)
		}
	}
}

// TestEventThatComesAsARunEndsIsNotForgotten pushes at each write, without a look at who is woken.
func TestEventThatComesAsARunEndsIsNotForgotten(t *testing.T) {
	r := newRig(t, Config{})
	writes, offset := 0, uint64(1)
	r.crowd("x", 1, func() {
		if writes++; writes < 100 {
			offset++
			r.hub.Deliver([]*broker.Event{event("x", offset)})
		}
	})
	r.publish("x", 1)
	drain(r.woken)
	r.settle()
	if writes != 100 {
		t.Errorf("%d writes of 100", writes)
	}
	if len(r.woken) != 0 {
		t.Errorf("woken %d times for what a run saw itself", len(r.woken))
	}
	r.hub.Deliver([]*broker.Event{event("x", offset+1)})
	if len(r.woken) != 1 {
		t.Error("not woken after the run")
	}
}

func TestTurnsAreByHowFarASweepHasCome(t *testing.T) {
	var q turns
	names := func(n int) (got []string) {
		for range n {
			got = append(got, string(q.next().name))
		}
		return got
	}
	topicAt := func(name broker.Pattern, cursor int) *topic {
		return &topic{name: name, sweeping: cursor > 0, cursor: cursor}
	}
	for _, tp := range []*topic{topicAt("far", 1600), topicAt("fresh", 0), topicAt("half", 800), topicAt("begun", 16), topicAt("fresh2", 0)} {
		q.add(tp, 16)
	}
	// The fourth turn is of the one that waits the longest.
	if got, want := names(5), []string{"fresh", "fresh2", "begun", "far", "half"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if q.next() != nil || !q.empty() {
		t.Error("a turn is left of none")
	}
}
