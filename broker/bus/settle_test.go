package bus

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"weir/broker"
)

// TestSettledLinkHasHandedOnAllUpToTheHeads: whatever was stored when the heads were read has been handed on
// when Settle returns, while more is published.
func TestSettledLinkHasHandedOnAllUpToTheHeads(t *testing.T) {
	b := open(t, Config{HistoryEvents: 10})
	r := read(t, link(t, b))
	r.add("s.>")
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			publish(t, b, broker.Topic(fmt.Sprintf("s.%d", i%50)), "x")
		}
	}()
	defer func() {
		stop.Store(true)
		<-done
	}()
	publish(t, b, "s.0", "the first")
	for range 100 {
		heads, err := r.Heads(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Settle(t.Context(), heads); err != nil {
			t.Fatal(err)
		}
		reached := r.reached()
		for n, head := range heads {
			if reached[n] < head.Offset {
				t.Fatalf("shard %d was at %d, and %d was handed on", n, head.Offset, reached[n])
			}
		}
	}
}

// reached is the newest offset that came of each shard.
func (r *reader) reached() (offsets [broker.Shards]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t, came := range r.came {
		for offset := range came {
			offsets[t.Shard()] = max(offsets[t.Shard()], offset)
		}
	}
	return offsets
}

func TestSettleOfALinkThatNobodyReadsEnds(t *testing.T) {
	l := link(t, open(t, Config{}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.Settle(ctx, &broker.Heads{}); err == nil {
		t.Error("a link without a reader is settled")
	}
	if len(l.marks.passed) != 0 {
		t.Error("its mark is left")
	}
}

func TestReadShardIsExactOrSaysSo(t *testing.T) {
	const topic = broker.Topic("a.b")
	n := topic.Shard()
	b := open(t, Config{HistoryEvents: 5})
	l := link(t, b)
	other := sameShard(topic)
	start := publish(t, b, other, "keeps the head of the stream")
	start.Offset--
	var at []broker.Position
	for i := range 3 {
		at = append(at, publish(t, b, topic, fmt.Sprint(i)), publish(t, b, other, "o"))
	}
	all := broker.Wanted(func(broker.Topic) (uint64, bool) { return 0, true })
	from := func(past uint64) broker.Wanted {
		return func(t broker.Topic) (uint64, bool) { return past, t == topic }
	}
	check := func(name string, after, last broker.Position, wanted broker.Wanted, want string) {
		t.Helper()
		events, whole, err := l.ReadShard(t.Context(), n, after, last, wanted)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := fmt.Sprint(whole)
		for _, ev := range events {
			got += " " + string(ev.Data)
			if ev.Topic != topic && ev.Topic != other || ev.Position.Epoch != start.Epoch {
				t.Errorf("%s: %+v", name, ev)
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	head := at[len(at)-1]
	check("all of it", start, head, all, "true keeps the head of the stream 0 o 1 o 2 o")
	check("of no stream", broker.Position{}, head, from(0), "true 0 1 2")
	check("a part", at[0], at[3], all, "true o 1 o")
	check("none", head, head, all, "true")
	check("of one topic", start, head, from(0), "true 0 1 2")
	check("past an offset", start, head, from(at[2].Offset), "true 2")
	check("another epoch", broker.Position{Epoch: 1}, head, all, "false")
	check("to another epoch", start, broker.Position{Epoch: 1, Offset: 1}, all, "false")
	for i := 3; i < 7; i++ { // 0 and 1 are dropped by number, of the other topic nothing
		head = publish(t, b, topic, fmt.Sprint(i))
	}
	check("what was dropped", start, head, from(0), "false 2 3 4 5 6")
	check("perhaps past what was dropped", start, head, from(at[2].Offset), "false 2 3 4 5 6")
	check("past what was dropped", start, head, from(at[4].Offset), "true 3 4 5 6")
	check("of nobody that was dropped", start, head, func(t broker.Topic) (uint64, bool) { return 0, t == other }, "true keeps the head of the stream o o o")
	for range 2 {
		head = publish(t, b, other, "drops the head")
	}
	check("after what the stream begins with", start, head, from(at[4].Offset), "false 3 4 5 6")
}
