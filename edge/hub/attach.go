package hub

import "weir/broker"

// maxResumeTries bounds how often one subscriber is sent to the broker while the topic runs
// ahead of it; after that it is told recovered=false.
const maxResumeTries = 4

// subState is where a subscriber stands.
//
//	opening ──Start──► live                       no since: from now on
//	   │                 ▲
//	   └──Start──► resuming ──► late              since: the ring or the broker fills the gap;
//	                     └───────┘                late if that went past what this loop swept
//
//	live | resuming ──► behind ──► resuming | live   the conn has bytes outstanding, or the broker
//	                                                 cannot answer now: see behind.go
type subState uint8

const (
	subOpening subState = iota
	subResuming
	subLate
	subLive
	subBehind
	subClosed
)

// Sub is one conn's subscription of one topic. It belongs to the conn's loop.
type Sub struct {
	conn  Conn
	topic *topic
	// since is what the subscriber has: the Position it asked to go on from, later that of
	// the last event written to it. Unused once live.
	since broker.Position
	// count is that of the topic's messages up to since, if counted: of a subscriber that is behind.
	count   uint64
	slot    int32
	variant Variant
	state   subState
	told    bool // whether it knows its place
	counted bool
	tries   uint8
}

// Topic is the topic, or pattern, of the subscription. Any goroutine.
func (s *Sub) Topic() broker.Pattern { return s.topic.name }

// Start begins delivery to a subscriber whose topic is open: it is told its place, is sent
// what it missed if it asked, and then every event. It may close the conn.
func (s *Shard) Start(sub *Sub) {
	if sub.state != subOpening {
		return
	}
	if sub.since.IsZero() {
		if s.tell(sub, Control{Position: sub.topic.position()}) {
			sub.topic.attach(sub)
		}
		return
	}
	s.catchUp(sub)
}

// catchUp brings sub from sub.since to where the topic was swept, by the ring if it reaches
// back so far, else through the broker, whose answer comes to recovered. No broker has what a
// pattern's ring does not.
func (s *Shard) catchUp(sub *Sub) {
	t := sub.topic
	if sub.since.Epoch == t.epoch && sub.since.Offset <= t.swept {
		if msgs, ok := t.ring.after(sub.since.Offset); ok {
			if !s.tell(sub, Control{Position: sub.since, Resumed: true, Recovered: true}) {
				return
			}
			left, alive := s.replay(sub, msgs)
			sub.standsBefore(left)
			if alive && left == 0 {
				t.attach(sub)
			}
			return
		}
	}
	if t.wild {
		s.giveUp(sub)
		return
	}
	if sub.told && sub.since.Epoch == t.epoch && sub.since.Offset > t.swept {
		s.waitLate(sub) // where another process left it: that one was ahead of this
		return
	}
	sub.state = subResuming
	sub.tries++
	switch {
	case sub.tries > maxResumeTries:
		s.giveUp(sub)
	case s.hub.postResume(resume{shard: s, sub: sub, after: sub.since}) != nil:
		s.postpone(sub)
	}
}

// waitLate leaves sub, which stands ahead of what was swept, until the topic has come there.
func (s *Shard) waitLate(sub *Sub) {
	sub.state = subLate
	sub.topic.late = append(sub.topic.late, sub)
}

// recovered takes the broker's answer to a resume; nil if it has none now.
func (s *Shard) recovered(sub *Sub, rec *broker.Recovery) {
	if sub.state != subResuming {
		return
	}
	if rec == nil {
		s.postpone(sub)
		return
	}
	t := sub.topic
	sub.counted = false
	if sub.told && sub.conn.Blocked() { // by another of its topics: it asks again
		s.fall(sub)
		return
	}
	if !rec.Recovered || rec.Head.Epoch != t.epoch {
		s.giveUp(sub)
		return
	}
	if !s.tell(sub, Control{Position: sub.since, Resumed: true, Recovered: true}) {
		return
	}
	msgs := make([]placed, len(rec.Events))
	for i, ev := range rec.Events {
		msgs[i] = placed{&Message{Event: ev}, ev.Position.Offset}
	}
	left, alive := s.replay(sub, msgs)
	if !alive || left > 0 {
		return
	}
	sub.since = rec.Head
	if rec.More {
		sub.tries = 0 // it came nearer
		if sub.conn.Blocked() {
			s.fall(sub)
			return
		}
	} else if rec.Head.Offset > t.swept {
		s.waitLate(sub)
		return
	}
	s.catchUp(sub)
}

// settleLate brings those up to the new batch that stood ahead of the last: each has a part
// of this batch already, and gets the rest.
func (s *Shard) settleLate(t *topic) {
	if len(t.late) == 0 {
		return
	}
	late := t.late
	t.late = nil
	for _, sub := range late {
		switch {
		case sub.state != subLate:
		case sub.since.Epoch == t.epoch && sub.since.Offset > t.swept:
			t.late = append(t.late, sub)
		default:
			s.catchUp(sub)
		}
	}
}

// giveUp tells sub that a hole cannot be excluded, and goes on live.
func (s *Shard) giveUp(sub *Sub) {
	p := sub.topic.position()
	if sub.told {
		// It was told recovered=true before: a reset takes that back.
		sub.conn.Deliver(AppendControl(nil, sub.variant, Control{Topic: sub.topic.name, Position: p}), 0)
		if sub.state == subClosed {
			return
		}
	} else if !s.tell(sub, Control{Position: p, Resumed: true}) {
		return
	}
	sub.topic.attach(sub)
}

// tell sends a subscriber its place, once. It reports whether the conn still lives.
func (s *Shard) tell(sub *Sub, c Control) bool {
	if sub.told {
		return true
	}
	sub.told = true
	c.Topic, c.Subscribed = sub.topic.name, true
	if b := AppendControl(nil, sub.variant, c); len(b) > 0 {
		sub.conn.Deliver(b, 0)
	}
	return sub.state != subClosed
}

// replay writes msgs to sub, a batch's bytes at a time, and moves sub.since with them. If the conn
// is blocked before the last one sub falls behind: left is how many are not written. alive is false
// if the conn was closed.
func (s *Shard) replay(sub *Sub, msgs []placed) (left int, alive bool) {
	for len(msgs) > 0 {
		b, n := s.joined[:0], 0
		for n < len(msgs) && (n == 0 || len(b)+len(msgs[n].Event.Data) <= s.hub.cfg.BatchBytes) {
			b = append(b, msgs[n].Frame(sub.variant)...)
			n++
		}
		sub.conn.Deliver(b, n)
		if s.joined = b; cap(b) > maxJoinedKeep {
			s.joined = nil
		}
		if sub.state == subClosed {
			return len(msgs) - n, false
		}
		sub.since = broker.Position{Epoch: sub.topic.epoch, Offset: msgs[n-1].at}
		if msgs = msgs[n:]; len(msgs) > 0 && sub.conn.Blocked() {
			s.fall(sub)
			return len(msgs), true
		}
	}
	return 0, true
}
