package hub

import (
	"sync/atomic"

	"weir/edge/ws"
)

// Deflated is v for a subscriber that agreed on permessage-deflate; v itself if it is no WebSocket
// encoding.
func (v Variant) Deflated() Variant {
	switch v {
	case RawWS:
		return DeflatedRawWS
	case ResumedRawWS:
		return DeflatedResumedRawWS
	case JSONWS:
		return DeflatedJSONWS
	default:
		return v
	}
}

// plain is v without compression.
func (v Variant) plain() Variant {
	switch v {
	case DeflatedRawWS:
		return RawWS
	case DeflatedResumedRawWS:
		return ResumedRawWS
	case DeflatedJSONWS:
		return JSONWS
	default:
		return v
	}
}

// DeflateStats count what compression did, over all shards: each encoding of an event once,
// however many conns it is sent to.
type DeflateStats struct {
	// Events are those that were compressed, SavedBytes what that made of them smaller.
	Events, SavedBytes uint64
}

// deflates are the counters behind DeflateStats.
type deflates struct{ events, savedBytes atomic.Uint64 }

// Deflated are the hub's counters of compression. Any goroutine.
func (h *Hub) Deflated() DeflateStats {
	return DeflateStats{Events: h.deflates.events.Load(), SavedBytes: h.deflates.savedBytes.Load()}
}

// deflated is m encoded for a compressed variant. All loops want it at the same moment, and one of
// them makes it: the others wait for no longer than it would have taken them. What does not become
// smaller is the plain frame itself.
func (m *Message) deflated(v Variant) []byte {
	plain := m.Frame(v.plain())
	if m.deflates == nil || m.Reset || len(plain) == 0 {
		return plain
	}
	m.deflating.Lock()
	defer m.deflating.Unlock()
	if f := m.frames[v].Load(); f != nil {
		return *f
	}
	h, n, err := ws.ParseHeader(plain)
	if err != nil { // we made it
		panic(err)
	}
	f, ok := ws.AppendDeflated(nil, h.OpCode, plain[n:])
	if ok {
		m.deflates.events.Add(1)
		m.deflates.savedBytes.Add(uint64(len(plain) - len(f))) //nolint:gosec // it is smaller
	} else {
		f = plain
	}
	m.frames[v].Store(&f) // before another loop asks for it
	return f
}
