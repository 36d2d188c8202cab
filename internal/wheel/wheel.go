// Package wheel is a hashed timing wheel (Varghese and Lauck, 1987, scheme 6) for what lives on an event loop: arming and
// disarming are O(1) and allocate nothing, as timers sit in a list through themselves.
package wheel

import "time"

const (
	// Tick is the resolution: a deadline is never early, and late by a tick at most if it is a whole number of them
	// away, else by less than two.
	Tick = 100 * time.Millisecond
	// slots span 51.2 s; later deadlines go round again.
	slots = 512
)

// Timer is a deadline of what it is part of. Set Of before it is armed.
type Timer[T any] struct {
	Of         T
	prev, next *Timer[T]
	deadline   uint32
	armed      bool
}

// Armed reports whether the timer is to expire.
func (t *Timer[T]) Armed() bool { return t.armed }

// Wheel has the timers of a loop. The zero value is ready.
type Wheel[T any] struct {
	now   uint32 // ticks since the start
	slots [slots]*Timer[T]
}

// Now is how many ticks the wheel has advanced.
func (w *Wheel[T]) Now() uint32 { return w.now }

// TicksOf is d in ticks, rounded up, at least 1.
func TicksOf(d time.Duration) uint32 {
	return uint32(max(1, (d+Tick-1)/Tick)) //nolint:gosec // who calls bounds every duration
}

// Arm sets t's deadline to d from now, replacing the one it had.
func (w *Wheel[T]) Arm(t *Timer[T], d time.Duration) {
	deadline := w.now + TicksOf(d) + 1 // some of the tick that runs is over
	if t.armed {
		if t.deadline == deadline {
			return
		}
		w.Disarm(t)
	}
	t.deadline = deadline
	head := &w.slots[deadline%slots]
	t.next = *head
	if t.next != nil {
		t.next.prev = t
	}
	*head = t
	t.armed = true
}

// Disarm has t not expire.
func (w *Wheel[T]) Disarm(t *Timer[T]) {
	if !t.armed {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.deadline%slots] = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next, t.armed = nil, nil, false
}

// Advance moves on by one tick and calls expired for what each timer is of whose deadline has come, no longer armed. expired may
// arm and disarm any timer.
func (w *Wheel[T]) Advance(expired func(T)) {
	w.now++
	var due []*Timer[T]
	for t := w.slots[w.now%slots]; t != nil; t = t.next {
		if int32(w.now-t.deadline) >= 0 { //nolint:gosec // wraps on purpose
			due = append(due, t)
		}
	}
	for _, t := range due {
		if t.armed && int32(w.now-t.deadline) >= 0 { //nolint:gosec // wraps on purpose
			w.Disarm(t)
			expired(t.Of)
		}
	}
}
