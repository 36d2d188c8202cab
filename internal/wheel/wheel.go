// Package wheel is a hashed timing wheel (Varghese and Lauck, 1987, scheme 6) for what lives on an event loop: arming and
// disarming are O(1) and allocate nothing, as what has a deadline sits in the slot of it, in a list through itself. The edge's
// conns have a wheel of their own (edge/loop): with a Timer each they would be of the next class of sizes.
package wheel

import "time"

const (
	// Tick is the resolution: a deadline is never early, and late by a tick at most if it is a whole number of them
	// away, else by less than two.
	Tick = 100 * time.Millisecond
	// slots span 51.2 s; later deadlines go round again.
	slots = 512
)

// Timed is what has a deadline: a pointer, or an interface that is one.
type Timed[P any] interface {
	comparable
	// Timer is its own, the same each time.
	Timer() *Timer[P]
}

// Timer is the part of a P that a wheel needs. The zero value is not armed.
type Timer[P any] struct {
	prev, next P
	deadline   uint32
	armed      bool
}

// Wheel has the deadlines of a loop. The zero value is ready.
type Wheel[P Timed[P]] struct {
	now   uint32 // ticks since the start
	slots [slots]P
}

// ticksOf is d in ticks, rounded up, at least 1.
func ticksOf(d time.Duration) uint32 {
	return uint32(max(1, (d+Tick-1)/Tick)) //nolint:gosec // who calls bounds every duration
}

// Arm sets p's deadline to d from now, replacing the one it had.
func (w *Wheel[P]) Arm(p P, d time.Duration) {
	w.Disarm(p)
	t := p.Timer()
	t.deadline = w.now + ticksOf(d) + 1 // some of the tick that runs is over
	head := &w.slots[t.deadline%slots]
	var none P
	if t.next = *head; t.next != none {
		t.next.Timer().prev = p
	}
	*head = p
	t.armed = true
}

// Disarm has p not expire.
func (w *Wheel[P]) Disarm(p P) {
	t := p.Timer()
	if !t.armed {
		return
	}
	var none P
	if t.prev != none {
		t.prev.Timer().next = t.next
	} else {
		w.slots[t.deadline%slots] = t.next
	}
	if t.next != none {
		t.next.Timer().prev = t.prev
	}
	t.prev, t.next, t.armed = none, none, false
}

// due reports whether an armed deadline has come.
func (w *Wheel[P]) due(t *Timer[P]) bool {
	return t.armed && int32(w.now-t.deadline) >= 0 //nolint:gosec // wraps on purpose
}

// Advance moves on by one tick and calls expired for each whose deadline has come, no longer armed. expired may arm and
// disarm any.
func (w *Wheel[P]) Advance(expired func(P)) {
	w.now++
	var none P
	var due []P
	for p := w.slots[w.now%slots]; p != none; p = p.Timer().next {
		if w.due(p.Timer()) {
			due = append(due, p)
		}
	}
	for _, p := range due {
		if w.due(p.Timer()) {
			w.Disarm(p)
			expired(p)
		}
	}
}
