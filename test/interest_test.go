package test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"weir/broker"
	"weir/broker/bus"
	"weir/broker/region"
)

// orders is a sink that keeps each topic's payloads in the order in which they came.
type orders struct {
	mu     sync.Mutex
	got    map[broker.Topic][]string
	resets int
}

func (o *orders) Deliver(batch []*broker.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ev := range batch {
		o.got[ev.Topic] = append(o.got[ev.Topic], string(ev.Data))
	}
}

func (o *orders) Reset(broker.Pattern, broker.Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resets++
}

func (o *orders) of(t broker.Topic) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got[t])
}

// TestEachEventIsHandedOnOnceHoweverItCame has topics that stay, while patterns that cover them and
// thousands of others come and go: whatever their events come by, each is handed on once, in order.
func TestEachEventIsHandedOnOnceHoweverItCame(t *testing.T) {
	out := &orders{got: map[broker.Topic][]string{}}
	b, node := runNode(t, bus.Config{}, func(l *bus.Link) region.Source { return l }, out)
	ctx := t.Context()
	subscribe := func(p broker.Pattern) {
		if _, err := node.Subscribe(ctx, p); err != nil {
			t.Error(err)
		}
	}
	stay := []broker.Topic{"stay.a", "stay.b", "stay.c"}
	for _, topic := range stay {
		subscribe(broker.Pattern(topic))
	}
	stop := make(chan struct{})
	var flow sync.WaitGroup
	want := make([][]string, len(stay))
	flow.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			i := n % len(stay)
			want[i] = append(want[i], fmt.Sprint(n))
			if _, err := b.Publish(ctx, stay[i], fmt.Append(nil, n), bus.PublishOptions{}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	flow.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				p := []broker.Pattern{"stay.*", "stay.>", ">", "*.a"}[i%4]
				subscribe(p)
				<-time.After(2 * time.Millisecond)
				node.Unsubscribe(p)
			}
		}
	})
	// All in the shard of one that stays: it is subscribed to as a whole.
	var crowd []broker.Pattern
	for i := 0; len(crowd) < 2000; i++ {
		if topic := broker.Topic(fmt.Sprint("crowd.", i)); topic.Shard() == stay[0].Shard() {
			crowd = append(crowd, broker.Pattern(topic))
		}
	}
	for _, p := range crowd {
		subscribe(p)
	}
	for _, p := range crowd {
		node.Unsubscribe(p)
	}
	close(stop)
	flow.Wait()
	for i, topic := range stay {
		deadline := time.Now().Add(patience)
		for got := out.of(topic); !slices.Equal(got, want[i]); got = out.of(topic) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: got %d events, %d were published; the last: %v, %v", topic, len(got), len(want[i]), got[max(0, len(got)-3):], want[i][max(0, len(want[i])-3):])
			}
			<-time.After(time.Millisecond)
		}
	}
	if out.resets > 0 {
		t.Errorf("%d resets, though nothing was lost", out.resets)
	}
}
