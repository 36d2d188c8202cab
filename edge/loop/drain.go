package loop

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// leastAcceptRate is the conns a second that are taken for granted when a drain is planned: an edge
// whose clients came one by one was not measured.
const leastAcceptRate = 1000

// reconnectSpread bounds the delay that a client is told to wait with its next connection.
const reconnectSpread = time.Second

// acceptMeter keeps the most conns that were accepted in any second.
type acceptMeter struct {
	ticks int
	last  uint64
	most  atomic.Uint64
}

// tick takes the number of conns accepted ever; it is called every tick, by one goroutine.
func (m *acceptMeter) tick(accepted uint64) {
	if m.ticks++; m.ticks < int(time.Second/tick) {
		return
	}
	m.ticks = 0
	if n := accepted - m.last; n > m.most.Load() {
		m.most.Store(n)
	}
	m.last = accepted
}

// drainWindow is the time over which conns are closed: they come back no faster than at the most that
// an edge was seen to accept, but it is no longer than most.
func drainWindow(conns int, acceptRate uint64, most time.Duration) time.Duration {
	seconds := float64(conns) / float64(max(acceptRate, leastAcceptRate))
	return min(time.Duration(seconds*float64(time.Second)), most)
}

// drain closes all conns over the window and waits for the last one's end.
func (s *Server) drain() {
	rate := s.accepts.most.Load()
	window := drainWindow(s.Conns(), rate, s.cfg.DrainTimeout)
	s.log.Info("draining", "conns", s.Conns(), "window", window, "accepted_per_second_at_most", rate)
	s.each(func(l *loop) {
		l.draining = true
		l.drainTicks = int(window / tick) // the first share leaves with the next tick
	})
	deadline := time.After(window + closeLinger + 10*tick)
	t := time.NewTicker(tick)
	defer t.Stop()
	for s.conns.Load() > 0 {
		select {
		case <-deadline:
			s.log.Warn("conns left at the end of the drain", "conns", s.conns.Load())
			return
		case <-t.C:
		}
	}
}

// drain closes this tick's share of the conns, so that all are closed within the window.
func (l *loop) drain() {
	share := l.conns - l.closing
	if l.drainTicks > 1 {
		share = (share + l.drainTicks - 1) / l.drainTicks
		l.drainTicks--
	}
	for _, c := range l.wheel.pick(share, func(c *conn) bool { return c.state < stateClosing }) {
		after := rand.N(reconnectSpread).Milliseconds() //nolint:gosec // spread needs no secrecy
		switch c.state {
		case stateProxy:
			c.abort(ReasonDraining)
		case stateHead, stateOpening:
			c.respondError(ReasonDraining, errDraining)
		case stateStream:
			c.write(fmt.Appendf(nil, "retry: %d\nevent: reconnect\ndata: {\"after_ms\":%d%s}\n\n", after, after, l.drainTo()))
			c.finish(ReasonDraining)
		default:
			c.closeWith(ReasonDraining, closeServiceRestart, l.drainText(after))
		}
	}
}

// drainTo is ,"url":"…" if clients are sent somewhere else.
func (l *loop) drainTo() []byte {
	if l.cfg.DrainTo == "" {
		return nil
	}
	return append([]byte(`,"url":`), quoteJSON(l.cfg.DrainTo)...)
}

// drainText is the reason of the close frame, of at most 123 bytes (RFC 6455 section 5.5.1).
func (l *loop) drainText(after int64) string {
	text := fmt.Sprintf("the edge is shutting down: connect again in %d ms", after)
	if l.cfg.DrainTo != "" {
		text = fmt.Sprintf("connect again in %d ms at %s", after, l.cfg.DrainTo)
	}
	return text
}
