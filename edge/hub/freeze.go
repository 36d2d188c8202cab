package hub

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"weir/broker"
)

// A takeover: the shards of the old process freeze, each subscription is given away as the [Place] where
// it stands, and the shards of the new one, frozen too, adopt them. Its hub was told before to
// expect their topics: it keeps the events of each from before any place on, so that all are
// caught up from memory when the shards thaw, whatever came in between.

// Bounds of what is kept of one expected topic. What is dropped is read from the broker instead, by
// each subscriber that needs it.
const (
	maxKeptEvents = 1 << 16
	maxKeptBytes  = 64 << 20
)

// expectWorkers is how many topics are opened at once.
const expectWorkers = 16

// Place is where a subscription stands, for another process to go on from there.
type Place struct {
	Topic   broker.Pattern
	Variant Variant
	// Since is the position of the last event that was written.
	Since broker.Position
	// Told is whether the subscriber knows its place, and that it is subscribed.
	Told bool
	// Live is whether it kept up.
	Live bool
}

// Place is where sub stands now. The shard is frozen, so that it stays there.
func (s *Sub) Place() Place {
	p := Place{Topic: s.topic.name, Variant: s.variant, Since: s.since, Told: s.told}
	if s.state != subLive {
		return p
	}
	t := s.topic
	p.Since, p.Live = t.position(), true
	if t.sweeping && int(s.slot) >= t.cursor && int(s.slot) < t.limit {
		p.Since = t.before
	}
	return p
}

// OpenTopics are the topics open on this node.
func (h *Hub) OpenTopics() []broker.Pattern {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Collect(maps.Keys(h.topics))
}

// Freeze has Run do nothing until Thaw. What comes meanwhile waits in the inbox.
func (s *Shard) Freeze() { s.frozen = true }

// Thaw ends that: the loop is woken.
func (s *Shard) Thaw() {
	s.frozen = false
	s.scheduled.Store(true)
	s.wake()
}

// Adopt is Subscribe for a subscriber that stood at a place in another process.
func (s *Shard) Adopt(c Conn, p Place) (sub *Sub, ready bool, err error) {
	sub, ready, err = s.Subscribe(c, p.Topic, p.Variant, p.Since)
	if sub != nil {
		sub.told = p.Told
	}
	return sub, ready, err
}

// kept are the events of an expected topic or pattern, all after floor.
type kept struct {
	floor broker.Position
	msgs  []placed
	bytes int
}

// add takes the message after which the entry stands at head.
func (k *kept) add(m *Message, head broker.Position) {
	if m.Reset {
		*k = kept{floor: head}
		return
	}
	k.msgs = append(k.msgs, placed{m, head.Offset})
	k.bytes += len(m.Event.Data)
	for len(k.msgs) > maxKeptEvents || k.bytes > maxKeptBytes {
		k.floor = broker.Position{Epoch: head.Epoch, Offset: k.msgs[0].at}
		k.bytes -= len(k.msgs[0].Event.Data)
		k.msgs = k.msgs[1:]
	}
}

// Expect opens topics and keeps their events until [Hub.Settle]. It returns how many could not be
// opened, and why the first of them: their subscribers try themselves.
func (h *Hub) Expect(ctx context.Context, topics []broker.Pattern) (failed int, err error) {
	var mu sync.Mutex
	eachOf(topics, func(t broker.Pattern) {
		if _, e := h.open(ctx, t, &kept{}); e != nil {
			mu.Lock()
			defer mu.Unlock()
			failed++
			if err == nil {
				err = e
			}
		}
	})
	return failed, err
}

// Reach reads the events of expected topics from positions on that lie before what was kept.
func (h *Hub) Reach(ctx context.Context, from map[broker.Pattern]broker.Position) {
	eachOf(slices.Collect(maps.Keys(from)), func(t broker.Pattern) { h.reach(ctx, t, from[t]) })
}

// reach leaves what is kept as it is if the broker does not have the events: each subscriber asks for
// itself then, and is told.
func (h *Hub) reach(ctx context.Context, t broker.Pattern, from broker.Position) {
	e := h.entry(t)
	if e == nil {
		return
	}
	e.mu.Lock()
	var floor broker.Position
	if e.kept != nil {
		floor = e.kept.floor
	}
	e.mu.Unlock()
	var msgs []placed
	at := from
	for at.Epoch == floor.Epoch && at.Offset < floor.Offset {
		ctx, cancel := context.WithTimeout(ctx, h.cfg.OpenTimeout)
		rec, err := h.src.Recover(ctx, broker.Topic(t), at, h.cfg.RecoverEvents)
		cancel()
		if err != nil || !rec.Recovered || rec.Head.Epoch != at.Epoch || len(msgs) > maxKeptEvents {
			return
		}
		for _, ev := range rec.Events {
			if ev.Position.Offset <= floor.Offset {
				msgs = append(msgs, placed{&Message{Event: ev, deflates: &h.deflates}, ev.Position.Offset})
			}
		}
		if at = rec.Head; !rec.More {
			break
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kept != nil && e.kept.floor == floor && from.Epoch == floor.Epoch && from.Offset < floor.Offset {
		e.kept.floor, e.kept.msgs = from, append(msgs, e.kept.msgs...)
	}
}

// Settle waits until all that was adopted has been told where its topic stands, or ctx ends, and ends
// what Expect began: topics that nobody adopted are closed.
func (h *Hub) Settle(ctx context.Context) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for h.posted.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
	h.mu.RLock()
	var unused []broker.Pattern
	for t, e := range h.topics {
		e.mu.Lock()
		if len(e.shards) == 0 && !e.opening {
			unused = append(unused, t)
		}
		e.kept = nil
		e.mu.Unlock()
	}
	h.mu.RUnlock()
	for _, t := range unused {
		_ = h.post(interest{topic: t}) // with a full queue it stays open, without a subscriber
	}
}

// eachOf calls f for each of list, some at once.
func eachOf[T any](list []T, f func(T)) {
	var wg sync.WaitGroup
	next := make(chan T)
	for range min(expectWorkers, len(list)) {
		wg.Go(func() {
			for one := range next {
				f(one)
			}
		})
	}
	for _, one := range list {
		next <- one
	}
	close(next)
	wg.Wait()
}
