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
	at         uint32 // whose slot it is in, if linked
	linked     bool
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

// Arm sets p's deadline to d from now, replacing the one it had. One that is in a slot which is looked at before that stays
// there until then: what is armed again and again, each time for later, is not moved each time.
func (w *Wheel[P]) Arm(p P, d time.Duration) {
	t := p.Timer()
	t.deadline, t.armed = w.now+ticksOf(d)+1, true // some of the tick that runs is over
	if t.linked && !isBefore(t.deadline, t.at) {
		return
	}
	w.unlink(t)
	w.link(p, t)
}

// Hold has p not expire until it is armed again. It stays in its slot until that is looked at, for at most a turn: for what will be
// armed again soon. What ends is to be disarmed.
func (w *Wheel[P]) Hold(p P) { p.Timer().armed = false }

// Disarm has p not expire, and forgets it.
func (w *Wheel[P]) Disarm(p P) {
	t := p.Timer()
	t.armed = false
	w.unlink(t)
}

func (w *Wheel[P]) link(p P, t *Timer[P]) {
	var none P
	t.at, t.linked = t.deadline, true
	head := &w.slots[t.at%slots]
	if t.next = *head; t.next != none {
		t.next.Timer().prev = p
	}
	*head = p
}

func (w *Wheel[P]) unlink(t *Timer[P]) {
	if !t.linked {
		return
	}
	var none P
	if t.prev != none {
		t.prev.Timer().next = t.next
	} else {
		w.slots[t.at%slots] = t.next
	}
	if t.next != none {
		t.next.Timer().prev = t.prev
	}
	t.prev, t.next, t.linked = none, none, false
}

// isBefore reports whether tick a is before b; they wrap.
func isBefore(a, b uint32) bool { return int32(a-b) < 0 } //nolint:gosec // wraps on purpose

// due reports whether an armed deadline has come.
func (w *Wheel[P]) due(t *Timer[P]) bool { return t.armed && !isBefore(w.now, t.deadline) }

// Advance moves on by one tick and calls expired for each whose deadline has come, no longer armed. expired may arm and
// disarm any.
func (w *Wheel[P]) Advance(expired func(P)) {
	w.now++
	var none P
	var due []P
	for p := w.slots[w.now%slots]; p != none; {
		t := p.Timer()
		next := t.next
		switch {
		case w.due(t):
			due = append(due, p)
		case !t.armed:
			w.unlink(t)
		case t.at == w.now: // it was armed for later
			w.unlink(t)
			w.link(p, t)
		}
		p = next
	}
	for _, p := range due {
		if w.due(p.Timer()) {
			w.Disarm(p)
			expired(p)
		}
	}
}
