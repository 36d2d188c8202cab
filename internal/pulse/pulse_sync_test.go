package pulse

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hist"
)

// fake is an event loop: a goroutine with a queue of tasks.
type fake struct{ tasks chan func() }

func newFake(t *testing.T) *fake {
	t.Helper()
	l := &fake{make(chan func(), 64)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for f := range l.tasks {
			f()
		}
	}()
	t.Cleanup(func() { close(l.tasks); <-ended })
	return l
}

func (l *fake) ask(f func()) error { l.tasks <- f; return nil }

// busy has the loop take so long for a task.
func (l *fake) busy(d time.Duration) { l.tasks <- func() { time.Sleep(d) } }

var errEnded = errors.New("ended")

func ended(func()) error { return errEnded }

func TestLoopsThatAnswerAreAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake(t), newFake(t)
		b.busy(time.Second)
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		if err := Alive(ctx, []Ask{a.ask, ended, b.ask}, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestALoopThatDoesNotAnswerIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake(t), newFake(t)
		b.busy(3 * time.Second)
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		err := Alive(ctx, []Ask{a.ask, b.ask}, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 of 2 event loops") {
			t.Errorf("%v", err)
		}
	})
}

func TestNobodyWaitsForLoopsThatStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake(t)
		a.busy(time.Hour)
		stopped := make(chan struct{})
		close(stopped)
		if err := Alive(t.Context(), []Ask{a.ask}, stopped); err != nil {
			t.Error(err)
		}
	})
}

// TestLagIsHowLateTurnsAreTaken has a loop busy for 2 s while it is asked each 100 ms.
func TestLagIsHowLateTurnsAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFake(t)
		lag := NewLag(time.Now())
		var lates []time.Duration
		ask := func() {
			t.Helper()
			if err := lag.Ask(time.Now(), l.ask, func(late time.Duration) { lates = append(lates, late) }); err != nil {
				t.Fatal(err)
			}
		}
		if s := lag.Stalled(time.Now()); s != 0 {
			t.Errorf("%v before it was asked", s)
		}
		ask()
		synctest.Wait()
		if s := lag.Stalled(time.Now()); s != 0 {
			t.Errorf("%v, though it has answered", s)
		}
		l.busy(2 * time.Second)
		for i := range 19 {
			time.Sleep(100 * time.Millisecond)
			if s, want := lag.Stalled(time.Now()), time.Duration(i)*100*time.Millisecond; s != want {
				t.Errorf("stalled for %v, want %v", s, want)
			}
			ask()
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if s := lag.Stalled(time.Now()); s != 0 {
			t.Errorf("%v, though it has answered", s)
		}
		if len(lates) != 20 || lates[0] != 0 || lates[1] != 1900*time.Millisecond || lates[19] != 100*time.Millisecond {
			t.Errorf("late by %v", lates)
		}
		var s hist.Snapshot
		lag.SnapshotInto(&s)
		if s.Count() != 20 || s.Sum() != uint64(19*time.Second) {
			t.Errorf("%d values, %d ns", s.Count(), s.Sum())
		}
	})
}

func TestALoopThatHasEndedIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lag := NewLag(time.Now())
		if err := lag.Ask(time.Now().Add(time.Second), ended, func(time.Duration) { t.Error("it was called") }); !errors.Is(err, errEnded) {
			t.Errorf("%v", err)
		}
		if s := lag.Stalled(time.Now().Add(time.Minute)); s != 0 {
			t.Errorf("stalled for %v", s)
		}
	})
}
