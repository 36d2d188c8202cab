package httpload

// schedule says when requests are due: evenly, from a time on, for so long. Times are nanoseconds
// of one clock.
type schedule struct {
	start     int64
	perSecond float64
	next      uint64 // the number of the next request to send
	all       uint64 // how many there are
}

func newSchedule(start int64, perSecond, seconds float64) schedule {
	return schedule{start: start, perSecond: perSecond, all: uint64(perSecond * seconds)}
}

// at is when the n-th is due.
func (s *schedule) at(n uint64) int64 { return s.start + int64(float64(n)/s.perSecond*1e9) }

// over reports whether all have been sent.
func (s *schedule) over() bool { return s.next >= s.all }

// take is when the next one was due, if it is by now.
func (s *schedule) take(now int64) (due int64, ok bool) {
	if s.over() {
		return 0, false
	}
	if due = s.at(s.next); due > now {
		return 0, false
	}
	s.next++
	return due, true
}

// counted is how many of all were due from a time on.
func (s *schedule) counted(from int64) (n uint64) {
	// The first at or after it, by the same arithmetic as at.
	first := uint64(max(0, float64(from-s.start)/1e9*s.perSecond))
	for first > 0 && s.at(first-1) >= from {
		first--
	}
	for first < s.all && s.at(first) < from {
		first++
	}
	return s.all - min(first, s.all)
}
