package loop

import "time"

const (
	// tick is the wheel's resolution: a deadline is never early, and late by a tick at most if it is a whole
	// number of them away, else by less than two.
	tick = 100 * time.Millisecond
	// wheelSlots spans 51.2 s; later deadlines go round again.
	wheelSlots = 512
)

// wheel is a hashed timing wheel (Varghese and Lauck, 1987, scheme 6): each conn of the loop
// sits in the slot of its deadline, in a list through the conns themselves, so that arming
// and disarming is O(1) without allocation.
type wheel struct {
	now   uint32 // ticks since the start
	slots [wheelSlots]*conn
}

// ticksOf is d in ticks, rounded up, at least 1.
func ticksOf(d time.Duration) uint32 {
	return uint32(max(1, (d+tick-1)/tick)) //nolint:gosec // Config bounds every duration
}

// arm sets c's deadline to d from now, replacing the one it had.
func (w *wheel) arm(c *conn, d time.Duration) {
	w.disarm(c)
	c.deadline = w.now + ticksOf(d) + 1 // some of the tick that runs is over
	w.insert(c)
}

func (w *wheel) insert(c *conn) {
	head := &w.slots[c.deadline%wheelSlots]
	c.next = *head
	if c.next != nil {
		c.next.prev = c
	}
	*head = c
	c.armed = true
}

func (w *wheel) disarm(c *conn) {
	if !c.armed {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		w.slots[c.deadline%wheelSlots] = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next, c.armed = nil, nil, false
}

// advance moves on by one tick and calls expired for each conn whose deadline has come, no
// longer armed. expired may arm and disarm any conn.
func (w *wheel) advance(expired func(*conn)) {
	w.now++
	var due []*conn
	for c := w.slots[w.now%wheelSlots]; c != nil; c = c.next {
		if int32(w.now-c.deadline) >= 0 { //nolint:gosec // wraps on purpose
			due = append(due, c)
		}
	}
	for _, c := range due {
		if c.armed && int32(w.now-c.deadline) >= 0 { //nolint:gosec // wraps on purpose
			w.disarm(c)
			expired(c)
		}
	}
}

// pick returns armed conns for which want holds, at most limit.
func (w *wheel) pick(limit int, want func(*conn) bool) []*conn {
	picked := make([]*conn, 0, limit)
	for _, c := range w.slots {
		for ; c != nil; c = c.next {
			if len(picked) == limit {
				return picked
			}
			if want(c) {
				picked = append(picked, c)
			}
		}
	}
	return picked
}
