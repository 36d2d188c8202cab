package pulse

import (
	"sync/atomic"
	"time"

	"weir/internal/hist"
)

// Lag is how late one event loop takes the turns that it is asked for: with all that it does. One goroutine asks at a time; any
// goroutine may look.
type Lag struct {
	begun time.Time
	late  hist.Histogram
	// Times since begun, in nanoseconds: of the last question, of the last one that was answered, and of the first one after all before
	// it had been. The loop writes answered alone, whoever asks the others.
	asked, answered, first atomic.Int64
}

// NewLag returns one of a loop that has not been asked; now is any time before it is.
func NewLag(now time.Time) *Lag { return &Lag{begun: now} }

// Ask asks the loop for a turn at now, in which f is called on it with how late it is. A loop that takes its turns in the order in
// which it was asked may be asked again before it has answered.
func (g *Lag) Ask(now time.Time, ask Ask, f func(late time.Duration)) error {
	at := max(int64(now.Sub(g.begun)), 1)
	if g.asked.Load() == g.answered.Load() {
		g.first.Store(at)
	}
	g.asked.Store(at)
	err := ask(func() {
		late := time.Since(now)
		g.late.Record(int64(late))
		g.answered.Store(at)
		f(late)
	})
	if err != nil { // nobody waits for a loop that has ended
		g.answered.Store(at)
	}
	return err
}

// Stalled is how long the loop has let wait what it was asked first and has not answered: 0 if it has answered all. It may be too long by the
// time between two questions.
func (g *Lag) Stalled(now time.Time) time.Duration {
	answered := g.answered.Load()
	if g.asked.Load() == answered {
		return 0
	}
	return max(now.Sub(g.begun)-time.Duration(max(g.first.Load(), answered)), 0)
}

// SnapshotInto copies how late it was, a value for each answer.
func (g *Lag) SnapshotInto(s *hist.Snapshot) { g.late.SnapshotInto(s) }
