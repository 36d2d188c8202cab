package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"weir/broker"
)

// How patterns go over in a takeover. Where a subscriber of a pattern stands is a place in the order in which
// its own process got the events, which another one does not know. So the giver records: from a moment on,
// every event that is delivered to a pattern, and, of each topic, the last of them. Where the shards stood
// then is read after that, and the takeover waits until all up to there has been delivered. What the
// giver sends is the [Orders]: what came last in each pattern's order, as far as one of the subscribers has
// not got it; how far each topic was; where the shards stood. The taker goes on with those orders: first
// what it was sent; then what the shards have stored since, without what was recorded; then what has come to
// it live after that.

// maxRecorded bounds the topics of a recording.
const maxRecorded = 1 << 16

// recordPoll is how often it is tried to stop delivery for a moment.
const recordPoll = time.Millisecond

var (
	// errManyTopics says that a recording has ended early.
	errManyTopics = errors.New("patterns had events of more than 65,536 topics meanwhile")
	// errOpenedSince says that the first pattern was about to open when a recording began without any.
	errOpenedSince = errors.New("patterns have opened since what they get was to be recorded")
)

// recording is what was delivered to patterns since it began. A nil one is none.
type recording struct {
	// mu is held while an event is delivered to the patterns that stand for it, and guards what follows.
	mu        sync.Mutex
	last      map[broker.Topic]broker.Position
	many      bool          // more topics than last may have
	heads     *broker.Heads // all up to there has been delivered
	err       error         // else, why that is not known; nil, too, if there were no patterns
	over      bool
	postponed []interest // new patterns, to be opened when it is over
}

// Orders are the orders of patterns, on their way to another process.
type Orders struct {
	// Heads are where the shards stood; all up to there has been delivered.
	Heads broker.Heads
	// Last is, of each topic that had an event since, the last that was delivered.
	Last map[broker.Topic]broker.Position
	// Events are those of Patterns. They are sent apart, and so is their number.
	Events []*broker.Event
	// Patterns are those that had subscribers.
	Patterns []PatternOrder
}

// PatternOrder is the end of the order of a pattern.
type PatternOrder struct {
	Name broker.Pattern
	// Floor is the place before the first of Events, which are indices of [Orders.Events].
	Floor  broker.Position
	Events []int
}

// Record begins to record for [Hub.Orders], until [Hub.EndRecord], and returns when all that was stored
// before has been delivered, or it cannot be known. New patterns are opened after that.
func (h *Hub) Record(ctx context.Context) {
	rec := &recording{last: make(map[broker.Topic]broker.Position)}
	h.recording.Store(rec)
	rec.mu.Lock()
	for _, e := range h.wild() {
		e.mu.Lock()
		e.kept = &kept{floor: e.head}
		e.mu.Unlock()
	}
	rec.mu.Unlock()
	if h.patterns.Len() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.OpenTimeout)
	defer cancel()
	heads, err := h.src.Heads(ctx)
	if err == nil {
		err = h.src.Settle(ctx, heads)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.heads, rec.err = heads, err
}

// EndRecord ends what Record began. What was postponed is opened.
func (h *Hub) EndRecord() {
	rec := h.recording.Swap(nil)
	if rec == nil {
		return
	}
	rec.mu.Lock()
	rec.over = true
	postponed := rec.postponed
	rec.mu.Unlock()
	for _, e := range h.wild() {
		e.mu.Lock()
		e.kept = nil
		e.mu.Unlock()
	}
	for _, c := range postponed {
		if err := h.post(c); err != nil {
			c.shard.push(item{topic: c.topic, err: err})
		}
	}
}

// wild are the entries of patterns.
func (h *Hub) wild() (es []*entry) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for name, e := range h.topics {
		if name.Wild() {
			es = append(es, e)
		}
	}
	return es
}

// postpone keeps an interest until the recording is over. It reports whether it does.
func (rec *recording) postpone(c interest) bool {
	if rec == nil {
		return false
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.over {
		return false
	}
	rec.postponed = append(rec.postponed, c)
	return true
}

// deliverNext hands on m as the next event of patterns.
func (h *Hub) deliverNext(es []*entry, m *Message) {
	if rec := h.recording.Load(); rec != nil {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		if _, known := rec.last[m.Event.Topic]; known || len(rec.last) < maxRecorded {
			rec.last[m.Event.Topic] = m.Event.Position
		} else {
			rec.many = true
		}
	}
	for _, e := range es {
		e.deliverNext(m)
	}
}

// resetNext tells the subscribers of patterns that events may be missing.
func (h *Hub) resetNext(es ...*entry) {
	if rec := h.recording.Load(); rec != nil {
		rec.mu.Lock()
		defer rec.mu.Unlock()
	}
	for _, e := range es {
		e.reset()
	}
}

// recent are the messages of a pattern that this loop has after a place, none if it does not reach back so
// far, or some are missing since.
func (s *Shard) recent(name broker.Pattern, after uint64) (msgs []placed) {
	t := s.topics[name]
	if t == nil {
		return nil
	}
	msgs, ok := t.ring.after(after)
	if !ok {
		return nil
	}
	msgs = append(slices.Clone(msgs), t.pending...)
	s.inboxMu.Lock()
	defer s.inboxMu.Unlock()
	for i := range s.inbox {
		switch it := &s.inbox[i]; {
		case it.topic != name:
		case it.msg != nil:
			msgs = append(msgs, placed{it.msg, it.at})
		default: // just opened
			msgs = append(msgs, it.backlog...)
		}
	}
	msgs = slices.DeleteFunc(msgs, func(m placed) bool { return m.at <= after })
	if slices.ContainsFunc(msgs, func(m placed) bool { return m.Reset }) {
		return nil
	}
	return msgs
}

// Needs are, for patterns, the least place of a subscriber.
type Needs map[broker.Pattern]broker.Position

// Add takes a subscriber's place into account.
func (n Needs) Add(p Place) {
	if at, known := n[p.Topic]; p.Topic.Wild() && (!known || p.Since.Offset < at.Offset) {
		n[p.Topic] = p.Since
	}
}

// Recent is what one loop has of patterns past what they need; see [Hub.Orders].
type Recent map[broker.Pattern][]placed

// Recent gives what this loop has. The shard is frozen.
func (s *Shard) Recent(needs Needs) Recent {
	r := Recent{}
	for name, at := range needs {
		if msgs := s.recent(name, at.Offset); len(msgs) > 0 {
			r[name] = msgs
		}
	}
	return r
}

// Orders are what another process needs to go on with the patterns that have subscribers, nil if there are
// none. All shards are frozen, and have given what they have.
func (h *Hub) Orders(ctx context.Context, needs Needs, loops []Recent) (*Orders, error) {
	rec := h.recording.Load()
	if rec == nil || len(needs) == 0 {
		return nil, nil //nolint:nilnil // as said
	}
	if err := rec.stop(ctx); err != nil {
		return nil, err
	}
	defer rec.mu.Unlock()
	switch {
	case rec.err != nil:
		return nil, fmt.Errorf("record what patterns get: %w", rec.err)
	case rec.heads == nil:
		return nil, errOpenedSince
	case rec.many:
		return nil, errManyTopics
	}
	o := &Orders{Heads: *rec.heads, Last: maps.Clone(rec.last)}
	index := map[*broker.Event]int{}
	for name, at := range needs {
		e := h.entry(name)
		if e == nil {
			continue
		}
		e.mu.Lock()
		order, ok := e.order(at, loops)
		e.mu.Unlock()
		if !ok {
			continue
		}
		p := PatternOrder{Name: name, Floor: order.floor}
		for _, m := range order.msgs {
			i, known := index[m.Event]
			if !known {
				i = len(o.Events)
				index[m.Event] = i
				o.Events = append(o.Events, m.Event)
			}
			p.Events = append(p.Events, i)
		}
		o.Patterns = append(o.Patterns, p)
	}
	return o, nil
}

// stop locks rec.mu, behind which nothing is delivered to patterns. Whoever has it may wait for a frozen
// loop.
func (rec *recording) stop(ctx context.Context) error {
	for !rec.mu.TryLock() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop delivery to patterns: a loop's inbox is full: %w", ctx.Err())
		case <-time.After(recordPoll):
		}
	}
	return nil
}

// order is what a pattern has after a place, or after a later one, if no loop has all from there to where
// its record begins. e.mu is held.
func (e *entry) order(at broker.Position, loops []Recent) (order kept, ok bool) {
	if e.kept == nil {
		return kept{}, false
	}
	order.floor = e.kept.floor
	for _, l := range loops {
		msgs := l[e.name]
		if at.Epoch != e.head.Epoch || at.Offset >= e.kept.floor.Offset || len(msgs) == 0 || msgs[0].at != at.Offset+1 ||
			msgs[len(msgs)-1].at < e.kept.floor.Offset {
			continue
		}
		order.floor = at
		for _, m := range msgs {
			if m.at <= e.kept.floor.Offset {
				order.msgs = append(order.msgs, m)
			}
		}
		break
	}
	order.msgs = append(order.msgs, e.kept.msgs...)
	if skip := at.Offset - order.floor.Offset; at.Epoch == e.head.Epoch && at.Offset > order.floor.Offset {
		order.floor, order.msgs = at, order.msgs[min(skip, uint64(len(order.msgs))):]
	}
	return order, true
}
