package hub

import (
	"container/list"

	"weir/broker"
)

// latest is the newest message of each key of a topic, oldest first.
type latest struct {
	byKey map[latestKey]*list.Element // of *placed
	order list.List
	// floor is the offset up to which a key may have been forgotten.
	floor uint64
}

// latestKey is a key and, as a pattern has many, its topic.
type latestKey struct {
	topic broker.Topic
	key   string
}

func keyOf(m *Message) latestKey { return latestKey{m.Event.Topic, m.Event.Key} }

func (l *latest) reset(floor uint64) { *l = latest{floor: floor} }

// put makes m the newest of its key. Past the number of keys the one that was quiet the longest is
// forgotten.
func (l *latest) put(m placed, maxKeys int) {
	key := keyOf(m.Message)
	if e := l.byKey[key]; e != nil {
		*placedOf(e) = m
		l.order.MoveToBack(e)
		return
	}
	if l.byKey == nil {
		l.byKey = map[latestKey]*list.Element{}
	}
	l.byKey[key] = l.order.PushBack(&m)
	if len(l.byKey) <= maxKeys {
		return
	}
	e := l.order.Front()
	l.floor = placedOf(e).at
	delete(l.byKey, keyOf(placedOf(e).Message))
	l.order.Remove(e)
}

// after is the newest of each key that had an event past offset, oldest first; ok is false if one
// of those was forgotten.
func (l *latest) after(offset uint64) (msgs []placed, ok bool) {
	if offset < l.floor {
		return nil, false
	}
	e, n := l.order.Back(), 0
	for ; e != nil && placedOf(e).at > offset; e = e.Prev() {
		n++
	}
	msgs = make([]placed, n)
	for e = l.order.Back(); n > 0; e = e.Prev() {
		n--
		msgs[n] = *placedOf(e)
	}
	return msgs, true
}

func placedOf(e *list.Element) *placed {
	return e.Value.(*placed) //nolint:forcetypeassert // put alone adds
}
