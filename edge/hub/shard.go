package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/broker"
)

// runTime and slicesPerRun bound one [Shard.Run], so that the loop's reads and accepts get their turn
// between runs. The latter is for writes that cost so little that nothing is won by looking sooner.
const (
	runTime      = time.Millisecond
	slicesPerRun = 256
)

// observeWrites bounds the writes of a batch that are observed at once, with the age which its events
// have at the last of them.
const observeWrites = 256

// Conn is what the hub needs of a subscriber's conn. All methods are called on the conn's
// loop, and may close the conn.
type Conn interface {
	// Deliver writes frames, which carry the given number of events (0 for a control). The
	// bytes are lent until Deliver returns.
	Deliver(frames []byte, events int)
	// Blocked reports whether bytes of the conn wait for the kernel to take them. Then the hub
	// delivers nothing but the rest of what it began.
	Blocked() bool
	// Fell says that a subscription of the conn fell behind; Skipped that it was not sent so many
	// events for that.
	Fell()
	Skipped(events uint64)
	// Opened says that the topic of s is live, so that [Shard.Start] may be called, or why it
	// could not be opened. It is called at most once, never from within Subscribe.
	Opened(s *Sub, err error)
}

// Shard is one loop's subscribers. Its methods are called on that loop alone.
type Shard struct {
	hub     *Hub
	wake    func()
	clock   func() int64
	observe func(int64, uint64)

	topics map[broker.Pattern]*topic
	turns  turns
	idle   []*topic // without subscribers since topic.idleSince
	subs   int

	behind  fifo[*Sub] // whose conns were blocked
	stalled []*Sub     // ... for long
	rising  int        // of those behind, how many are to be looked at
	// postponed are those that the broker could not answer.
	postponed []*Sub
	joined    []byte // what a subscriber is sent that catches up
	skipped   uint64

	frozen    bool
	scheduled atomic.Bool // Run runs, or will
	arrived   atomic.Bool // the inbox is not empty
	stalls    atomic.Uint64

	inboxMu sync.Mutex
	room    sync.Cond
	inbox   []item
	spare   []item
	closed  bool
}

// item is one entry of a shard's inbox: a message, or the answer to what the shard asked.
type item struct {
	msg      *Message
	at       uint64         // msg's offset in topic
	topic    broker.Pattern // msg's, or opened at head, or not: err
	head     broker.Position
	backlog  []placed // what came since
	err      error
	sub      *Sub             // its recovery
	recovery *broker.Recovery // nil if the broker could not tell
}

// push adds to the inbox and wakes the loop. A message waits for room; an answer does not.
func (s *Shard) push(it item) {
	s.inboxMu.Lock()
	if it.msg != nil && len(s.inbox) >= s.hub.cfg.InboxEvents && !s.closed {
		s.stalls.Add(1)
		for len(s.inbox) >= s.hub.cfg.InboxEvents && !s.closed {
			s.room.Wait()
		}
	}
	if s.closed {
		s.inboxMu.Unlock()
		return
	}
	s.inbox = append(s.inbox, it)
	s.arrived.Store(true)
	s.inboxMu.Unlock()
	s.wakeUp()
}

// wakeUp posts at most one wake until the next Run begins.
func (s *Shard) wakeUp() {
	if !s.scheduled.Swap(true) {
		s.wake()
	}
}

// release ends the shard: a waiting push returns.
func (s *Shard) release() {
	s.inboxMu.Lock()
	defer s.inboxMu.Unlock()
	s.closed = true
	s.room.Broadcast()
}

// Run takes what has come and sweeps, a slice of one topic at a time, and no longer than about a
// millisecond. Before each slice it looks at what else has come, so that no topic waits for a sweep of
// another, see [turns]. It reports whether work is left: then the loop must call Run again after its
// other work, and is not woken for it.
func (s *Shard) Run() (more bool) {
	if s.frozen {
		return false
	}
	s.scheduled.Store(true) // what comes meanwhile is seen here
	start := s.clock()
	for range slicesPerRun {
		if s.arrived.Load() {
			s.takeAll()
		}
		s.rise()
		if t := s.turns.next(); t != nil {
			s.turn(t)
		}
		switch {
		case s.turns.empty() && s.rising == 0:
			if !s.rest() {
				return false
			}
		case s.clock()-start >= int64(runTime):
			return true
		}
	}
	return true
}

// rest has the next push wake the loop. It reports whether one came before it could know.
func (s *Shard) rest() (more bool) {
	s.scheduled.Store(false)
	return s.arrived.Load() && !s.scheduled.Swap(true)
}

// takeAll empties the inbox.
func (s *Shard) takeAll() {
	s.inboxMu.Lock()
	items := s.inbox
	s.inbox = s.spare[:0]
	s.arrived.Store(false)
	s.room.Broadcast()
	s.inboxMu.Unlock()
	for i := range items {
		s.take(&items[i])
	}
	clear(items)
	s.spare = items[:0]
}

// turn sweeps one slice of t.
func (s *Shard) turn(t *topic) {
	s.slice(t)
	if t.sweeping || len(t.pending) > 0 {
		s.turns.add(t, s.hub.cfg.SliceWrites)
	} else {
		t.queued = false
	}
}

func (s *Shard) take(it *item) {
	switch {
	case it.msg != nil:
		t := s.topics[it.topic]
		if t == nil || !t.live || !t.accept(placed{it.msg, it.at}) {
			return
		}
		if !t.queued {
			t.queued = true
			s.turns.add(t, s.hub.cfg.SliceWrites)
		}
	case it.sub != nil:
		s.recovered(it.sub, it.recovery)
	default:
		s.opened(it)
	}
}

// slice writes the topic's batch to the next conns, making the batch first if none is on its
// way, and observes how old its events were when they were written, not at each slice.
func (s *Shard) slice(t *topic) {
	if !t.sweeping {
		t.form(s.hub.cfg)
		s.settleLate(t)
	}
	t.unobserved += t.sweep(s.hub.cfg.SliceWrites, s.fall)
	if t.unobserved >= observeWrites || t.unobserved > 0 && !t.sweeping {
		now := s.clock()
		for _, m := range t.batch {
			if origin := m.Event.OriginNanos; origin != 0 {
				s.observe(max(now-origin, 0), uint64(t.unobserved)) //nolint:gosec // a count, never negative
			}
		}
		t.unobserved = 0
	}
	if !t.sweeping {
		clear(t.batch)
		t.batch = t.batch[:0]
	}
}

// Subscribe registers c for a topic, or for all that a pattern stands for. If ready the caller goes
// on with [Shard.Start], else it waits for [Conn.Opened]. The zero since asks for what is published
// from now on; another one is told recovered=false if name is a pattern, but for a position that this
// node gave in a control not long ago.
func (s *Shard) Subscribe(c Conn, name broker.Pattern, v Variant, since broker.Position) (sub *Sub, ready bool, err error) {
	t := s.topics[name]
	if t == nil {
		if err := s.hub.post(interest{topic: name, shard: s, add: true}); err != nil {
			return nil, false, err
		}
		t = newTopic(name, modeOf(s.hub.cfg.Modes, name))
		s.topics[name] = t
	}
	sub = &Sub{conn: c, topic: t, since: since, variant: v, slot: noSlot}
	t.refs++
	s.subs++
	if !t.live {
		t.waiting = append(t.waiting, sub)
	}
	return sub, t.live, nil
}

// Unsubscribe ends sub; nothing is written for it any more. Idempotent.
func (s *Shard) Unsubscribe(sub *Sub) {
	if sub.state == subClosed {
		return
	}
	t := sub.topic
	t.remove(sub)
	sub.state = subClosed
	t.refs--
	s.subs--
	if t.refs == 0 && t.live {
		t.idleSince = s.clock()
		s.idle = append(s.idle, t)
	}
}

// opened handles the answer to a topic's first Subscribe.
func (s *Shard) opened(it *item) {
	name, err := it.topic, it.err
	t := s.topics[name]
	if t == nil || t.live {
		return
	}
	waiting := t.waiting
	t.waiting = nil
	if err != nil {
		delete(s.topics, name)
	} else {
		t.open(it.head)
		t.adopt(it.backlog)
	}
	for _, sub := range waiting {
		if sub.state != subClosed {
			sub.conn.Opened(sub, err)
		}
	}
	if err == nil && t.refs == 0 {
		t.idleSince = s.clock()
		s.idle = append(s.idle, t)
	}
}

// Tick closes topics that have had no subscriber for the linger time, and has resumes that the
// broker could not answer tried again. To be called about once a second.
func (s *Shard) Tick() {
	s.retry()
	deadline := s.clock() - int64(s.hub.cfg.Linger)
	kept := s.idle[:0]
	for _, t := range s.idle {
		switch {
		case t.refs > 0 || s.topics[t.name] != t:
		case t.idleSince > deadline || t.queued || s.hub.post(interest{topic: t.name, shard: s}) != nil:
			kept = append(kept, t)
		default:
			t.live = false
			delete(s.topics, t.name)
		}
	}
	clear(s.idle[len(kept):])
	s.idle = kept
}

// Subscriptions is the number of subscriptions of this loop.
func (s *Shard) Subscriptions() int { return s.subs }

// Stalls is how often the broker's reader had to wait for this shard's inbox. Any goroutine.
func (s *Shard) Stalls() uint64 { return s.stalls.Load() }
