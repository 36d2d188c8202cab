package hub

import (
	"weir/broker"
)

// noSlot is the slot of a subscriber that is not in its topic's slice.
const noSlot = -1

// maxJoinedKeep bounds the joined frames a topic keeps for its next batch, bytes per variant.
const maxJoinedKeep = 256 << 10

// topic is one loop's view of a topic.
type topic struct {
	name  broker.Topic
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

	pending []*Message
	queued  bool // in Shard.active

	sweeping      bool
	cursor, limit int
	batch         []*Message
	joined        [variants][]byte
	isJoined      [variants]bool

	ring   ring
	latest latest // in ModeLatest
}

func newTopic(name broker.Topic, mode Mode) *topic { return &topic{name: name, mode: mode} }

func (t *topic) open(head broker.Position) {
	t.live = true
	t.epoch = head.Epoch
	t.last, t.swept = head.Offset, head.Offset
	t.ring.reset(head.Offset)
	t.latest.reset(head.Offset)
}

// keep takes in messages that nobody is owed a sweep of: whoever stands before them is caught up.
func (t *topic) keep(msgs []*Message) {
	for _, m := range msgs {
		t.count++
		t.ring.push(m, len(msgs), maxKeptBytes)
		t.last, t.swept = m.Event.Position.Offset, m.Event.Position.Offset
	}
	t.latest.reset(t.swept)
}

func (t *topic) position() broker.Position {
	return broker.Position{Epoch: t.epoch, Offset: t.swept}
}

// accept queues m unless the topic has it already.
func (t *topic) accept(m *Message) bool {
	p := m.Event.Position
	if !m.Reset && p.Epoch == t.epoch && p.Offset <= t.last {
		return false
	}
	t.last = p.Offset
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
			t.ring.reset(m.Event.Position.Offset)
			t.latest.reset(m.Event.Position.Offset)
		} else {
			t.count++
			t.ring.push(m, cfg.RingEvents, cfg.RingBytes)
			if t.mode == ModeLatest {
				t.latest.put(m, cfg.LatestKeys)
			}
		}
		t.swept = m.Event.Position.Offset
	}
	t.sweeping = n > 0
	t.cursor, t.limit = 0, len(t.subs)
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

// ring is a topic's recent messages, for subscribers that resume from not far back.
type ring struct {
	floor uint64 // the offset right before the oldest message: a resume may start here
	msgs  []*Message
	bytes int
}

func (r *ring) reset(floor uint64) { *r = ring{floor: floor} }

func (r *ring) push(m *Message, maxEvents, maxBytes int) {
	r.msgs = append(r.msgs, m)
	r.bytes += len(m.Event.Data)
	drop := 0
	for drop < len(r.msgs) && (len(r.msgs)-drop > maxEvents || r.bytes > maxBytes) {
		r.floor = r.msgs[drop].Event.Position.Offset
		r.bytes -= len(r.msgs[drop].Event.Data)
		drop++
	}
	if drop > 0 {
		n := copy(r.msgs, r.msgs[drop:])
		clear(r.msgs[n:])
		r.msgs = r.msgs[:n]
	}
}

// after is the ring's messages past offset; ok is false if the ring does not reach so far
// back.
func (r *ring) after(offset uint64) (msgs []*Message, ok bool) {
	if offset < r.floor {
		return nil, false
	}
	i := len(r.msgs)
	for i > 0 && r.msgs[i-1].Event.Position.Offset > offset {
		i--
	}
	return r.msgs[i:], true
}
