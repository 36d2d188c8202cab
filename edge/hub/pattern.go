package hub

import (
	"math/rand/v2"

	"weir/broker"
)

// A pattern is to a shard what a topic is. Its events are those of all topics that match, in the order
// in which this node got them, and have two positions: the event's own, which is written to
// subscribers, and its place in that order, which the pattern's entry counts and by which the shards
// know what was swept, what is in the ring, and where a subscriber that fell behind goes on. The epoch
// of the latter is the entry's. A process that takes over goes on with the order, see order.go.

// openPattern starts the order of a pattern's entry.
func (h *Hub) openPattern(e *entry) {
	e.head = broker.Position{Epoch: broker.Epoch(rand.Uint64() | 1)} //nolint:gosec // it is a name, and no secret
	if e.kept != nil {
		e.kept.floor = e.head
	}
	h.patterns.Add(e.name, e)
}

// deliverNext hands on m as the pattern's next event.
func (e *entry) deliverNext(m *Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inherited != nil && reaches(e.inherited, m.Event) {
		return
	}
	e.head.Offset++
	e.push(m)
}

// reset tells the pattern's subscribers that events may be missing. It takes a place of its own, so
// that one which is behind by nothing else is told too.
func (e *entry) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.head.Offset++
	e.push(&Message{Event: &broker.Event{Topic: broker.Topic(e.name), Position: e.head}, Reset: true})
}

// Patterns is the number of patterns open on this node, and how topics were matched against them.
func (h *Hub) Patterns() (open int, matched broker.MatchStats) {
	return h.patterns.Len(), h.patterns.Stats()
}
