package loop

import (
	"context"
	"maps"
	"slices"
	"time"

	"weir/internal/hist"
	"weir/internal/pulse"
)

// Alive asks each event loop for an answer. The error says how many have given none when ctx ends; nil if the loops have stopped,
// or have not begun.
func (s *Server) Alive(ctx context.Context) error {
	loops := s.allLoops()
	asks := make([]pulse.Ask, len(loops))
	for i, l := range loops {
		asks[i] = l.do
	}
	return pulse.Alive(ctx, asks, s.stopped)
}

// Lag is how late the event loops took their turns, a value for each tick of each; stalled is how long the one that is stuck longest
// has not taken its turn, and still does not.
func (s *Server) Lag(now time.Time) (late hist.Snapshot, stalled time.Duration) {
	var part hist.Snapshot
	for _, l := range s.allLoops() {
		l.lag.SnapshotInto(&part)
		late.Merge(&part)
		stalled = max(stalled, l.lag.Stalled(now))
	}
	return late, stalled
}

// allLoops are those made so far: all, once Run has dropped anchors.
func (s *Server) allLoops() []*loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.loops))
}
