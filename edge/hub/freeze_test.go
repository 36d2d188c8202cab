package hub

import (
	"testing"

	"weir/broker"
)

// TestExpectedTopicHasOnceWhatAPatternBrings: one that stands for a topic brings its events before the topic
// is open, and after that such as are before the place where it opened.
func TestExpectedTopicHasOnceWhatAPatternBrings(t *testing.T) {
	for _, whileOpening := range []int{0, 1} {
		expectBeside(t, whileOpening)
	}
}

func expectBeside(t *testing.T, whileOpening int) {
	t.Helper()
	r := newRig(t, Config{})
	r.src.log = []*broker.Event{event("x.a", 1), event("x.a", 2), event("x.a", 3)}
	r.src.head = pos(2)
	r.src.opening = func() { r.hub.Deliver(r.src.log[1 : 1+whileOpening]) }
	ctx := t.Context()
	if failed, err := r.hub.Expect(ctx, []broker.Pattern{"x.a"}); failed > 0 {
		t.Fatal(err)
	}
	r.shard.Freeze()
	r.hub.Deliver(r.src.log[1:])
	r.hub.Reach(ctx, map[broker.Pattern]broker.Position{"x.a": pos(1)})
	c := &fakeConn{shard: r.shard}
	sub, _, err := r.shard.Adopt(c, Place{Topic: "x.a", Variant: RawWS, Since: pos(1), Told: true, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	c.sub = sub
	r.shard.Thaw()
	r.hub.Settle(ctx)
	r.settle()
	if got := payloads(c.got); got != "2 3 " {
		t.Errorf("%d while it opened: got %q", whileOpening, got)
	}
}
