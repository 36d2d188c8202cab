package hub

// ring is a topic's recent messages, for subscribers that resume from not far back.
type ring struct {
	floor uint64 // the offset right before the oldest message: a resume may start here
	msgs  []placed
	start int // of the oldest in msgs
	bytes int
}

func (r *ring) reset(floor uint64) { *r = ring{floor: floor} }

func (r *ring) push(m placed, maxEvents, maxBytes int) {
	r.msgs = append(r.msgs, m)
	r.bytes += len(m.Event.Data)
	for r.start < len(r.msgs) && (len(r.msgs)-r.start > maxEvents || r.bytes > maxBytes) {
		r.floor = r.msgs[r.start].at
		r.bytes -= len(r.msgs[r.start].Event.Data)
		r.msgs[r.start] = placed{}
		r.start++
	}
	// What is left moves to the front once as many were dropped, which is a step a message.
	if r.start > len(r.msgs)/2 {
		n := copy(r.msgs, r.msgs[r.start:])
		clear(r.msgs[n:])
		r.msgs, r.start = r.msgs[:n], 0
	}
}

// after is the ring's messages past offset; ok is false if the ring does not reach so far
// back.
func (r *ring) after(offset uint64) (msgs []placed, ok bool) {
	if offset < r.floor {
		return nil, false
	}
	i := len(r.msgs)
	for i > r.start && r.msgs[i-1].at > offset {
		i--
	}
	return r.msgs[i:], true
}
