package bus

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"weir/broker"
)

// topicsOf are n topics of a shard, made by a format of one number.
func topicsOf(shard int, format string, n int) (topics []broker.Topic) {
	for i := 0; len(topics) < n; i++ {
		if t := broker.Topic(fmt.Sprintf(format, i)); t.Shard() == shard {
			topics = append(topics, t)
		}
	}
	return topics
}

// reader runs a link and counts how often each event came.
type reader struct {
	*Link
	t    *testing.T
	mu   sync.Mutex
	came map[broker.Topic]map[uint64]int
	loss int
}

// read runs l, whose interest is looked at every few milliseconds.
func read(t *testing.T, l *Link) *reader {
	t.Helper()
	l.tick, l.retireAfter = 2*time.Millisecond, 20*time.Millisecond
	r := &reader{Link: l, t: t, came: map[broker.Topic]map[uint64]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx, r.take, r.lost)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func (r *reader) take(batch []*broker.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range batch {
		if r.came[ev.Topic] == nil {
			r.came[ev.Topic] = map[uint64]int{}
		}
		r.came[ev.Topic][ev.Position.Offset]++
	}
}

func (r *reader) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loss++
}

func (r *reader) times(t broker.Topic, p broker.Position) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.came[t][p.Offset]
}

func (r *reader) until(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not within 20 s; %d, %d and %d subscriptions", what, r.held(kindTopic), r.held(kindShard), r.held(kindPattern))
		}
	}
}

func (r *reader) held(k kind) int64 { return r.bus.counts.subscriptions[k].Load() }

func (r *reader) add(p broker.Pattern) {
	r.t.Helper()
	if err := r.Add(r.t.Context(), p); err != nil {
		r.t.Error(err)
	}
}

// gets publishes to a topic and waits until it came.
func (r *reader) gets(t broker.Topic) {
	r.t.Helper()
	p := publish(r.t, r.bus, t, "x")
	r.until(string(t), func() bool { return r.times(t, p) > 0 })
}

func TestManyTopicsOfAShardAreOneSubscription(t *testing.T) {
	r := read(t, link(t, open(t, Config{})))
	topics := topicsOf(7, "many.%d", 2*shardTopics)
	for i, topic := range topics {
		r.add(broker.Pattern(topic))
		if i < shardTopics && (r.held(kindShard) != 0 || r.held(kindTopic) != int64(i+1)) {
			t.Fatalf("%d topics are %d subscriptions, and %d to shards", i+1, r.held(kindTopic), r.held(kindShard))
		}
	}
	r.until("the shard as a whole", func() bool { return r.held(kindShard) == 1 && r.held(kindTopic) == 0 })
	other := topicsOf(7, "other.%d", 1)[0]
	at := publish(t, r.bus, other, "of the shard, not wanted")
	for _, topic := range topics {
		r.gets(topic)
	}
	if r.times(other, at) != 0 || r.bus.counts.unwanted.Load() == 0 {
		t.Errorf("what nobody wants came %d times, %d were left out", r.times(other, at), r.bus.counts.unwanted.Load())
	}
	for _, topic := range topics[calmTopics:] {
		r.Remove(broker.Pattern(topic))
	}
	r.until("by topic again", func() bool { return r.held(kindShard) == 0 && r.held(kindTopic) == calmTopics })
	r.gets(topics[0])
	for _, topic := range topics[:calmTopics] {
		r.Remove(broker.Pattern(topic))
	}
	if r.held(kindTopic) != 0 {
		t.Errorf("%d subscriptions to no topic", r.held(kindTopic))
	}
	if c := &r.bus.counts; c.switches[kindShard].Load() != 1 || c.switches[kindTopic].Load() != 1 {
		t.Errorf("switched %d times to the shard and %d times back", c.switches[kindShard].Load(), c.switches[kindTopic].Load())
	}
}

func TestTopicsThatComeAndGoAreOneSubscription(t *testing.T) {
	l := link(t, open(t, Config{}))
	topic := broker.Pattern(topicsOf(7, "churn.%d", 1)[0])
	for range shardChanges {
		if err := l.Add(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		l.Remove(topic)
	}
	if held := &l.bus.counts.subscriptions; held[kindShard].Load() != 1 {
		t.Fatalf("%d changes, and %d subscriptions to shards", 2*shardChanges, held[kindShard].Load())
	}
	r := read(t, l)
	r.until("calm", func() bool { return r.held(kindShard) == 0 })
}

func TestPatternTakesThePlaceOfItsTopics(t *testing.T) {
	r := read(t, link(t, open(t, Config{})))
	few, many := topicsOf(7, "p.%d", 10), topicsOf(8, "p.%d", shardTopics+1)
	for _, topic := range few {
		r.add(broker.Pattern(topic))
	}
	r.add("p.*")
	for _, topic := range many {
		r.add(broker.Pattern(topic))
	}
	r.add("q")
	r.until("the pattern alone", func() bool { return r.held(kindTopic) == 1 && r.held(kindPattern) == 1 && r.held(kindShard) == 0 })
	r.gets(few[0])
	r.gets("p.new")
	r.Remove("p.*")
	r.until("by topic, and a shard", func() bool {
		return r.held(kindTopic) == int64(len(few))+1 && r.held(kindPattern) == 0 && r.held(kindShard) == 1
	})
	for _, topic := range append(few, many...) {
		r.gets(topic)
	}
	r.Close()
	if r.held(kindTopic)+r.held(kindShard)+r.held(kindPattern) != 0 {
		t.Error("a closed link has subscriptions")
	}
}

// TestNothingIsLostWhileInterestSwitches has topics of two shards and patterns come and go, so that the
// link goes to whole shards and back all the time. There is no repair here: each event that was
// published between a topic's Add and its Remove must come by the link.
func TestNothingIsLostWhileInterestSwitches(t *testing.T) {
	r := read(t, link(t, open(t, Config{HistoryEvents: 10})))
	const workers, perWorker, rounds = 6, 40, 8
	steady := append(topicsOf(7, "s.%d", 5), topicsOf(8, "s.%d", 5)...)
	for _, topic := range steady {
		r.add(broker.Pattern(topic))
	}
	var wg, flow sync.WaitGroup
	stop := make(chan struct{})
	sent := make([][]broker.Position, len(steady))
	flow.Go(func() {
		for i := 0; ; i = (i + 1) % len(steady) {
			select {
			case <-stop:
				return
			default:
				sent[i] = append(sent[i], publish(t, r.bus, steady[i], "x"))
			}
		}
	})
	flow.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				p := []broker.Pattern{"s.*", "c0.*", "*.*"}[i%3]
				r.add(p)
				<-time.After(time.Millisecond)
				r.Remove(p)
			}
		}
	})
	for range rounds {
		for w := range workers {
			topics := topicsOf(7+w%2, fmt.Sprintf("c%d.%%d", w), perWorker)
			wg.Go(func() {
				for _, topic := range topics {
					r.add(broker.Pattern(topic))
				}
				for _, topic := range topics {
					r.gets(topic)
				}
				for _, topic := range topics {
					r.Remove(broker.Pattern(topic))
				}
			})
		}
		wg.Wait()
		r.until("calm", func() bool { return r.held(kindShard) == 0 })
	}
	close(stop)
	flow.Wait()
	events := 0
	for i, topic := range steady {
		for _, p := range sent[i] {
			r.until(string(topic), func() bool { return r.times(topic, p) > 0 })
			events++
		}
	}
	if c := &r.bus.counts; c.switches[kindShard].Load() < rounds || c.switches[kindTopic].Load() < rounds || r.loss > 1 { // one is told as the session begins
		t.Errorf("switched %d times to a shard and %d times back, %d losses were told, want 1", c.switches[kindShard].Load(), c.switches[kindTopic].Load(), r.loss)
	}
	t.Logf("%d events of topics that stayed, %d switches to a shard, %d back", events, r.bus.counts.switches[kindShard].Load(), r.bus.counts.switches[kindTopic].Load())
}
