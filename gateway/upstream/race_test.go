package upstream

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestManyAtOnceNeverOverfillAServer has picks, outcomes, checks, updates and readers meet, and counts on the side what
// each server has in flight.
func TestManyAtOnceNeverOverfillAServer(t *testing.T) {
	const limit = 3
	cfg := Config{
		Servers: servers(12, 1, 2), MaxConns: limit, SlowStart: time.Millisecond, PanicPercent: 100,
		Health:   Health{Interval: time.Second, Rise: 1, Fall: 1},
		Ejection: Ejection{ConsecutiveGateway: 2, Base: 10 * time.Millisecond, Interval: 100 * time.Millisecond, MaxPercent: 50},
	}
	for b := range balances {
		cfg.Balance = b
		p, err := New(cfg, Env{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var held sync.Map // *Server to *atomic.Int64
		var stop atomic.Bool
		var picked, answered atomic.Int64
		var wg, control sync.WaitGroup
		done := func(s *Server, o Outcome) {
			n, _ := held.Load(s)
			n.(*atomic.Int64).Add(-1)
			s.Done(time.Now(), o, time.Millisecond)
			answered.Add(1)
		}
		for range 8 {
			wg.Go(func() {
				var mine []*Server
				for range 3000 {
					var tried Tried
					for range 3 {
						s, err := p.Pick(time.Now(), rand.Uint64(), &tried) //nolint:gosec // any
						if err != nil {
							if !errors.Is(err, ErrFull) && !errors.Is(err, ErrNone) {
								t.Error(err)
							}
							break
						}
						picked.Add(1)
						n, _ := held.LoadOrStore(s, new(atomic.Int64))
						if got := n.(*atomic.Int64).Add(1); got > limit {
							t.Errorf("%v: %d at %s", b, got, s.Address())
						}
						mine = append(mine, s)
						if !p.MayRetry(time.Now()) {
							break
						}
					}
					for len(mine) > 2 {
						done(mine[0], Outcome(rand.IntN(int(outcomes)))) //nolint:gosec // below outcomes
						mine = mine[1:]
					}
				}
				for _, s := range mine {
					done(s, OK)
				}
			})
		}
		control.Go(func() {
			for i := 0; !stop.Load(); i++ {
				next := cfg
				next.Servers = cfg.Servers[i%4 : 12-i%3]
				if err := p.Update(next, time.Now()); err != nil {
					t.Error(err)
				}
				for j, s := range p.members() {
					var err error
					if (i+j)%3 == 0 {
						err = errCheck
					}
					p.checked(s, p.at(time.Now()), err)
					_, _ = s.Name(), s.Address()
				}
				p.Counters()
				p.Status(time.Now())
			}
		})
		wg.Wait()
		stop.Store(true)
		control.Wait()
		for _, st := range p.Status(time.Now()) {
			if st.InFlight != 0 {
				t.Errorf("%v: %s has %d at the end", b, st.Address, st.InFlight)
			}
		}
		if c := p.Counters(); int64(c.Requests) != picked.Load() || picked.Load() != answered.Load() || picked.Load() == 0 {
			t.Errorf("%v: %d were picked, %d answered, counted %+v", b, picked.Load(), answered.Load(), c)
		}
	}
}
