package hub

import (
	"weir/broker"
)

// noSlot is the slot of a subscriber that is not in its topic's slice.
const noSlot = -1

// maxJoinedKeep bounds the joined frames a topic keeps for its next batch, bytes per variant.
const maxJoinedKeep = 256 << 10

// placed is a message at its offset in a topic: its event's own, or, of a pattern's, the node's count
// of those that matched.
type placed struct {
	*Message
	at uint64
}

// topic is one loop's view of a topic, or of a pattern: to that, all that matches is one topic.
type topic struct {
	name  broker.Pattern
	wild  bool // the name is a pattern
	mode  Mode
	live  bool
	epoch broker.Epoch
	// last is the offset of the newest message accepted, swept that of the newest formed
	// into a batch: where every subscriber in subs stands once the sweep has passed it.
	last, swept uint64
	// count is the number of messages formed into batches; before and countBefore are where the
	// topic stood, and count, before the batch that is swept.
	count, countBefore uint64
	before             broker.Position
	// refs counts the subscribers in any state.
	refs      int
	idleSince int64

	// subs are the subscribers that get every batch. While sweeping, one that leaves is
	// replaced by nil, so that the cursor stays right; holes counts those.
	subs  []*Sub
	holes int
	// waiting are those that wait for the topic to open; late those that stand ahead of
	// swept, having recovered events which this loop has yet to sweep.
	waiting, late []*Sub

	pending []placed
	queued  bool   // in Shard.turns
	waits   uint64 // ... since so many were added

	sweeping      bool
	cursor, limit int
	unobserved    int // writes of the batch
	batch         []placed
	joined        [variants][]byte
	isJoined      [variants]bool

	ring   ring
	latest latest // in ModeLatest
}

func newTopic(name broker.Pattern, mode Mode) *topic {
	return &topic{name: name, wild: name.Wild(), mode: mode}
}

func (t *topic) open(head broker.Position) {
	t.live = true
	t.epoch = head.Epoch
	t.last, t.swept = head.Offset, head.Offset
	t.ring.reset(head.Offset)
	t.latest.reset(head.Offset)
}

// adopt takes in messages that nobody is owed a sweep of: whoever stands before them is caught up.
func (t *topic) adopt(msgs []placed) {
	for _, m := range msgs {
		t.count++
		t.ring.push(m, len(msgs), maxKeptBytes)
		t.last, t.swept = m.at, m.at
	}
	t.latest.reset(t.swept)
}

func (t *topic) position() broker.Position {
	return broker.Position{Epoch: t.epoch, Offset: t.swept}
}

// accept queues m unless the topic has it already.
func (t *topic) accept(m placed) bool {
	if !m.Reset && (t.wild || m.Event.Position.Epoch == t.epoch) && m.at <= t.last {
		return false
	}
	t.last = m.at
	t.pending = append(t.pending, m)
	return true
}

// form takes the next batch off pending: messages up to the bound in bytes; a reset is a
// batch by itself.
func (t *topic) form(cfg Config) {
	n, size := 0, 0
	for _, m := range t.pending {
		if n > 0 && (m.Reset || size+len(m.Event.Data) > cfg.BatchBytes) {
			break
		}
		size += len(m.Event.Data)
		n++
		if m.Reset {
			break
		}
	}
	t.batch = append(t.batch[:0], t.pending[:n]...)
	rest := copy(t.pending, t.pending[n:])
	clear(t.pending[rest:])
	t.pending = t.pending[:rest]
	for v := range t.joined {
		t.isJoined[v] = false
	}
	t.before, t.countBefore = t.position(), t.count
	for _, m := range t.batch {
		if m.Reset {
			t.epoch = m.Event.Position.Epoch
			t.ring.reset(m.at)
			t.latest.reset(m.at)
		} else {
			t.count++
			t.keep(m, cfg)
		}
		t.swept = m.at
	}
	t.sweeping = n > 0
	t.cursor, t.limit = 0, len(t.subs)
}

// keep has m there for those that fall behind. A pattern's have nothing but that.
func (t *topic) keep(m placed, cfg Config) {
	if t.wild {
		t.ring.push(m, cfg.PatternRingEvents, cfg.PatternRingBytes)
	} else {
		t.ring.push(m, cfg.RingEvents, cfg.RingBytes)
	}
	if t.mode == ModeLatest {
		t.latest.put(m, cfg.LatestKeys)
	}
}

// frames is the batch in one run of frames for v.
func (t *topic) frames(v Variant) []byte {
	if len(t.batch) == 1 {
		return t.batch[0].Frame(v)
	}
	if !t.isJoined[v] {
		b := t.joined[v][:0]
		if cap(b) > maxJoinedKeep {
			b = nil
		}
		for _, m := range t.batch {
			b = append(b, m.Frame(v)...)
		}
		t.joined[v], t.isJoined[v] = b, true
	}
	return t.joined[v]
}

// sweep writes the batch to the next conns, at most budget of them, and returns to how many.
// A conn that fails is closed within Deliver, which replaces it by nil in subs; one that has not
// drained falls behind.
func (t *topic) sweep(budget int, fall func(*Sub)) (written int) {
	events := len(t.batch)
	for seen := 0; t.cursor < t.limit && seen < budget; seen++ {
		sub := t.subs[t.cursor]
		t.cursor++
		if sub == nil {
			continue
		}
		if sub.conn.Blocked() {
			t.remove(sub)
			sub.since, sub.count, sub.counted = t.before, t.countBefore, true
			fall(sub)
			continue
		}
		if frames := t.frames(sub.variant); len(frames) > 0 {
			sub.conn.Deliver(frames, events)
		}
		written++
	}
	if t.cursor == t.limit {
		t.sweeping = false
		t.compact()
	}
	return written
}

// attach puts sub into the slice: it gets every batch formed from now on.
func (t *topic) attach(sub *Sub) {
	sub.state = subLive
	sub.slot = int32(len(t.subs)) //nolint:gosec // conns per process are far below 2^31
	t.subs = append(t.subs, sub)
}

func (t *topic) remove(sub *Sub) {
	if sub.slot == noSlot {
		t.late = without(t.late, sub)
		t.waiting = without(t.waiting, sub)
		return
	}
	if t.sweeping {
		t.subs[sub.slot] = nil
		t.holes++
	} else {
		t.swapOut(int(sub.slot))
	}
	sub.slot = noSlot
}

// swapOut removes slot i by moving the last subscriber there.
func (t *topic) swapOut(i int) {
	end := len(t.subs) - 1
	if moved := t.subs[end]; i != end {
		t.subs[i] = moved
		moved.slot = int32(i) //nolint:gosec // as in attach
	}
	t.subs[end] = nil
	t.subs = t.subs[:end]
}

// compact closes the holes that a sweep left.
func (t *topic) compact() {
	if t.holes == 0 {
		return
	}
	kept := t.subs[:0]
	for _, sub := range t.subs {
		if sub != nil {
			sub.slot = int32(len(kept)) //nolint:gosec // as in attach
			kept = append(kept, sub)
		}
	}
	clear(t.subs[len(kept):])
	t.subs, t.holes = kept, 0
}

func without(list []*Sub, sub *Sub) []*Sub {
	for i, s := range list {
		if s == sub {
			end := len(list) - 1
			list[i], list[end] = list[end], nil
			return list[:end]
		}
	}
	return list
}
