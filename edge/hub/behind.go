package hub

// A subscriber whose conn still has bytes to be taken by the kernel is written nothing: it falls
// behind, at the position of the last event written to it, and holds no event. Once its conn has
// drained it rises: of a topic in mode log it is brought from there to where the topic was swept as
// one that resumes, of one in mode latest by the newest message of each key. What it is sent on the
// way may block it again, and so leave it behind at a later position.

// patience is how often a subscriber is looked at by [Shard.Drain] before it is left to
// [Shard.DrainAll]: who stalls for seconds is not worth a look every few milliseconds.
const patience = 32

// risesPerSlice bounds the subscribers that are looked at before each slice of a sweep, so that other
// work goes on: one that rises may be written a batch.
const risesPerSlice = 16

// fall leaves sub behind at sub.since.
func (s *Shard) fall(sub *Sub) {
	sub.state, sub.tries = subBehind, 0
	s.behind.push(sub)
	sub.conn.Fell()
}

// postpone leaves sub where it stands until the next Tick, when it asks the broker again: that it
// cannot answer now is no hole.
func (s *Shard) postpone(sub *Sub) {
	sub.state = subBehind
	s.postponed = append(s.postponed, sub)
}

// retry has those postponed looked at by the next [Shard.DrainAll].
func (s *Shard) retry() {
	s.stalled = append(s.stalled, s.postponed...)
	clear(s.postponed)
	s.postponed = s.postponed[:0]
}

// Behind is the number of subscriptions whose conns were blocked when they were last looked at, or
// that wait for the broker to answer.
func (s *Shard) Behind() int { return s.behind.len() + len(s.stalled) + len(s.postponed) }

// EachBehind calls f for the conn of each of them, those that have been behind the longest first. f must
// not close any.
func (s *Shard) EachBehind(f func(Conn)) {
	for _, list := range [][]*Sub{s.stalled, s.behind.all()} {
		for _, sub := range list {
			if sub.state == subBehind {
				f(sub.conn)
			}
		}
	}
}

// Fallen reports whether some of those have not been behind for long: then [Shard.Drain] is to be
// called within milliseconds.
func (s *Shard) Fallen() bool { return s.behind.len() > 0 }

// Drain has the next calls of [Shard.Run] look once at each subscriber that fell behind not long
// ago, whether its conn has drained. It reports whether there is any: then Run must be called.
func (s *Shard) Drain() bool {
	s.rising = s.behind.len()
	return s.rising > 0
}

// DrainAll is Drain for all that are behind. To be called some times a second.
func (s *Shard) DrainAll() bool {
	s.behind.push(s.stalled...)
	clear(s.stalled)
	s.stalled = s.stalled[:0]
	return s.Drain()
}

// rise looks at some of those behind. Its conns' methods may close them, and they may fall again.
func (s *Shard) rise() {
	n := min(s.rising, risesPerSlice, s.behind.len())
	s.rising -= n
	for range n {
		switch sub := s.behind.pop(); {
		case sub.state != subBehind:
		case !sub.conn.Blocked():
			sub.tries = 0
			s.riseOne(sub)
		case sub.tries < patience:
			sub.tries++
			s.behind.push(sub)
		default:
			s.stalled = append(s.stalled, sub)
		}
	}
}

// riseOne brings sub to where the topic was swept: in ModeLatest by the newest message of each key, if
// it is known which and how many others there were; else as one that resumes.
func (s *Shard) riseOne(sub *Sub) {
	t := sub.topic
	if t.mode == ModeLatest && sub.counted && sub.since.Epoch == t.epoch {
		if msgs, ok := t.latest.after(sub.since.Offset); ok {
			s.riseLatest(sub, msgs)
			return
		}
	}
	s.catchUp(sub)
}

// riseLatest sends sub the newest messages of their keys, after a word of how many others there were.
func (s *Shard) riseLatest(sub *Sub, msgs []placed) {
	t := sub.topic
	if skipped := t.count - sub.count - uint64(len(msgs)); skipped > 0 {
		s.skipped += skipped
		sub.conn.Skipped(skipped)
		c := Control{Topic: t.name, Position: sub.since, Skipped: skipped}
		sub.conn.Deliver(AppendControl(nil, sub.variant, c), 0)
	}
	if sub.state == subClosed {
		return
	}
	left, alive := s.replay(sub, msgs)
	sub.standsBefore(left)
	if alive && left == 0 {
		t.attach(sub)
	}
}

// standsBefore notes that sub has all of the topic's messages but the last few.
func (sub *Sub) standsBefore(left int) {
	sub.count, sub.counted = sub.topic.count-uint64(left), true //nolint:gosec // a length
}

// Skipped is how many events subscribers of topics in mode latest were not sent, for they did not
// keep up.
func (s *Shard) Skipped() uint64 { return s.skipped }
