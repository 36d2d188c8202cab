package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"weir/broker"
)

// errHole says that events of patterns could be missing.
var errHole = errors.New("events of patterns may be missing: their streams do not keep them so long")

// Inherit has patterns that were opened by [Hub.Expect], and have no subscriber yet, go on with the orders
// that they had in another process. It returns how many do; the subscribers of the others are told that
// events may be missing. The error is why.
func (h *Hub) Inherit(ctx context.Context, o *Orders) (inherited int, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.OpenTimeout)
	defer cancel()
	heads, err := h.src.Heads(ctx)
	if err != nil {
		return 0, fmt.Errorf("go on with patterns: %w", err)
	}
	missed, err := h.missed(ctx, o, heads)
	if err != nil {
		return 0, fmt.Errorf("go on with patterns: %w", err)
	}
	in := inheritance{heads: heads, missed: missed, reached: map[broker.Topic]uint64{}, from: &o.Heads}
	for t, at := range o.Last {
		in.reached[t] = at.Offset
	}
	for _, m := range missed {
		in.reached[m.Event.Topic] = m.Event.Position.Offset
	}
	for _, ev := range o.Events {
		in.sent = append(in.sent, &Message{Event: ev, deflates: &h.deflates})
	}
	for i := range o.Patterns {
		if e := h.entry(o.Patterns[i].Name); e != nil && e.inherit(&o.Patterns[i], &in) {
			inherited++
		}
	}
	if inherited < len(o.Patterns) {
		err = errHole
	}
	return inherited, err
}

// missed are the events of patterns that the shards have up to heads and the other process did not.
func (h *Hub) missed(ctx context.Context, o *Orders, heads *broker.Heads) ([]*Message, error) {
	wanted := func(t broker.Topic) (past uint64, ok bool) {
		return o.Last[t].Offset, len(h.patterns.Match(t)) > 0
	}
	var mu sync.Mutex
	var missed []*Message
	var failed error
	var grown []int
	for n := range heads {
		if heads[n] == o.Heads[n] {
			continue
		}
		if !o.Heads[n].IsZero() && heads[n].Epoch != o.Heads[n].Epoch {
			return nil, errHole
		}
		grown = append(grown, n)
	}
	eachOf(grown, func(n int) {
		events, whole, err := h.src.ReadShard(ctx, n, o.Heads[n], heads[n], wanted)
		if err == nil && !whole {
			err = errHole
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed = err
		}
		for _, ev := range events {
			missed = append(missed, &Message{Event: ev, deflates: &h.deflates})
		}
	})
	return missed, failed
}

// inheritance is what the patterns of a takeover have in common.
type inheritance struct {
	from, heads *broker.Heads // between which missed were read
	sent        []*Message    // those of Orders.Events
	missed      []*Message
	reached     map[broker.Topic]uint64 // past from, up to where nothing of a topic is missing
}

// inherit puts the order that p had before the events that came here. It reports false, and leaves it, if
// one could be missing in between.
func (e *entry) inherit(p *PatternOrder, in *inheritance) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kept == nil || len(e.shards) > 0 || e.kept.floor.Offset > 0 {
		return false
	}
	k := &kept{floor: p.Floor}
	head := p.Floor
	add := func(m *Message) {
		head.Offset++
		k.add(m, head)
	}
	for _, i := range p.Events {
		if i < 0 || i >= len(in.sent) {
			return false
		}
		add(in.sent[i])
	}
	for _, m := range in.missed {
		if e.name.Matches(m.Event.Topic) {
			add(m)
		}
	}
	begun := map[broker.Topic]bool{}
	for _, m := range e.kept.msgs {
		ev := m.Event
		if reaches(in.heads, ev) {
			continue
		}
		if !begun[ev.Topic] && !in.precedes(ev) {
			return false
		}
		begun[ev.Topic] = true
		add(m.Message)
	}
	e.kept, e.head, e.inherited = k, head, in.heads
	return true
}

// precedes reports whether nothing is missing before ev, which is past in.heads and the first of its topic.
func (in *inheritance) precedes(ev *broker.Event) bool {
	n := ev.Topic.Shard()
	return ev.Prev <= max(in.from[n].Offset, in.reached[ev.Topic]) &&
		(in.heads[n].IsZero() || in.heads[n].Epoch == ev.Position.Epoch)
}

// reaches reports whether ev was stored when the shards stood at heads.
func reaches(heads *broker.Heads, ev *broker.Event) bool {
	head := &heads[ev.Topic.Shard()]
	return head.Epoch == ev.Position.Epoch && ev.Position.Offset <= head.Offset
}
