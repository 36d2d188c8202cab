package hub

import "container/list"

// latest is the newest message of each key of a topic, oldest first.
type latest struct {
	byKey map[string]*list.Element // of *Message
	order list.List
	// floor is the offset up to which a key may have been forgotten.
	floor uint64
}

func (l *latest) reset(floor uint64) { *l = latest{floor: floor} }

// put makes m the newest of its key. Past the number of keys the one that was quiet the longest is
// forgotten.
func (l *latest) put(m *Message, maxKeys int) {
	if e := l.byKey[m.Event.Key]; e != nil {
		e.Value = m
		l.order.MoveToBack(e)
		return
	}
	if l.byKey == nil {
		l.byKey = map[string]*list.Element{}
	}
	l.byKey[m.Event.Key] = l.order.PushBack(m)
	if len(l.byKey) <= maxKeys {
		return
	}
	e := l.order.Front()
	m = l.order.Remove(e).(*Message) //nolint:forcetypeassert // put alone adds
	l.floor = m.Event.Position.Offset
	delete(l.byKey, m.Event.Key)
}

// after is the newest of each key that had an event past offset, oldest first; ok is false if one
// of those was forgotten.
func (l *latest) after(offset uint64) (msgs []*Message, ok bool) {
	if offset < l.floor {
		return nil, false
	}
	e, n := l.order.Back(), 0
	for ; e != nil && offsetOf(e) > offset; e = e.Prev() {
		n++
	}
	msgs = make([]*Message, n)
	for e = l.order.Back(); n > 0; e = e.Prev() {
		n--
		msgs[n] = e.Value.(*Message) //nolint:forcetypeassert // put alone adds
	}
	return msgs, true
}

func offsetOf(e *list.Element) uint64 {
	return e.Value.(*Message).Event.Position.Offset //nolint:forcetypeassert // put alone adds
}
