package wheel

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

type node struct{ timer Timer[*node] }

func (n *node) Timer() *Timer[*node] { return &n.timer }

// TestDeadlinesAreNeverEarlyAndLateByATick: near and many turns away, armed at any moment, armed anew and
// disarmed, while the count of ticks wraps around.
func TestDeadlinesAreNeverEarlyAndLateByATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // the same at each run
		w := &Wheel[*node]{now: math.MaxUint32 - 700}
		due := map[*node]time.Time{}
		arm := func(c *node) {
			d := time.Duration(1+r.IntN(3*slots)) * Tick
			if r.IntN(2) == 0 {
				d = time.Duration(1+r.IntN(20)) * Tick
			}
			w.Arm(c, d)
			due[c] = time.Now().Add(d)
		}
		conns := make([]*node, 300)
		for i := range conns {
			conns[i] = &node{}
		}
		ticks := time.NewTicker(Tick)
		defer ticks.Stop()
		expired := 0
		for range 4 * slots {
			<-ticks.C
			w.Advance(func(c *node) {
				late := time.Since(due[c])
				if due[c].IsZero() || late < 0 || late > Tick {
					t.Fatalf("a deadline is late by %v", late)
				}
				expired++
				delete(due, c)
				arm(c)
			})
			time.Sleep(time.Duration(r.Int64N(int64(Tick))))
			for range 3 {
				c := conns[r.IntN(len(conns))]
				switch r.IntN(8) {
				case 0:
					w.Disarm(c)
					delete(due, c)
				case 1:
					w.Hold(c)
					delete(due, c)
				default:
					arm(c)
				}
			}
		}
		for c, at := range due {
			if c.timer.armed && time.Since(at) > Tick {
				t.Fatalf("a deadline is overdue by %v", time.Since(at))
			}
		}
		if expired < 1000 || w.now > 1<<31 {
			t.Errorf("%d deadlines have come, the tick is %d", expired, w.now)
		}
	})
}

// TestWhatIsHeldIsForgottenAfterATurn: it is not kept for longer than it may be armed again.
func TestWhatIsHeldIsForgottenAfterATurn(t *testing.T) {
	t.Parallel()
	w := &Wheel[*node]{}
	n := &node{}
	w.Arm(n, 3*slots*Tick)
	w.Hold(n)
	for range slots {
		w.Advance(func(*node) { t.Fatal("what is held has expired") })
	}
	if n.timer.linked {
		t.Error("what was held is in its slot after a turn")
	}
}
