package loop

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/edge/hub"
)

// TestDeadlinesAreNeverEarlyAndLateByATick: near and many turns away, armed at any moment, armed anew and
// disarmed, while the count of ticks wraps around.
func TestDeadlinesAreNeverEarlyAndLateByATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // the same at each run
		w := &wheel{now: math.MaxUint32 - 700}
		due := map[*conn]time.Time{}
		arm := func(c *conn) {
			d := time.Duration(1+r.IntN(3*wheelSlots)) * tick
			if r.IntN(2) == 0 {
				d = time.Duration(1+r.IntN(20)) * tick
			}
			w.arm(c, d)
			due[c] = time.Now().Add(d)
		}
		conns := make([]*conn, 300)
		for i := range conns {
			conns[i] = &conn{}
		}
		ticks := time.NewTicker(tick)
		defer ticks.Stop()
		expired := 0
		for range 4 * wheelSlots {
			<-ticks.C
			w.advance(func(c *conn) {
				late := time.Since(due[c])
				if due[c].IsZero() || late < 0 || late > tick {
					t.Fatalf("a deadline is late by %v", late)
				}
				expired++
				delete(due, c)
				arm(c)
			})
			time.Sleep(time.Duration(r.Int64N(int64(tick))))
			for range 3 {
				c := conns[r.IntN(len(conns))]
				if r.IntN(4) == 0 {
					w.disarm(c)
					delete(due, c)
				} else {
					arm(c)
				}
			}
		}
		for c, at := range due {
			if c.armed && time.Since(at) > tick {
				t.Fatalf("a deadline is overdue by %v", time.Since(at))
			}
		}
		if expired < 1000 || w.now > 1<<31 {
			t.Errorf("%d deadlines have come, the tick is %d", expired, w.now)
		}
	})
}

func TestPingAndItsTimeoutComeInTime(t *testing.T) {
	cfg := Config{PingInterval: 25 * time.Second, PongTimeout: 10 * time.Second}
	inBubble(t, cfg, hub.Config{}, func(b *bubble) {
		answers, silent := b.open("/ws/a"), b.open("/ws/a")
		begin := time.Now()
		within := func(what string, at time.Time, low, high time.Duration) {
			t.Helper()
			if d := at.Sub(begin); d < low || d > high+tick {
				t.Errorf("%s after %v, want %v to %v", what, d, low, high)
			}
		}
		for pings := 0; time.Since(begin) < 10*time.Minute; {
			time.Sleep(tick)
			synctest.Wait()
			if wrote, _ := answers.past(); len(wrote) > pings {
				pings = len(wrote)
				time.Sleep(9 * time.Second)
				b.receive(answers, masked(0x8a, ""))
			}
		}
		wrote, closed := silent.past()
		if len(wrote) != 2 || wrote[0].text != string(pingFrame) || wrote[1].text[0] != 0x88 || closed.IsZero() {
			t.Fatalf("%+v, closed at %v", wrote, closed)
		}
		within("the first ping", wrote[0].at, cfg.PingInterval/2, cfg.PingInterval)
		begin = wrote[0].at
		within("the close", wrote[1].at, cfg.PongTimeout, cfg.PongTimeout)
		begin = wrote[1].at
		within("the end", closed, closeLinger, closeLinger)
		wrote, closed = answers.past()
		begin = wrote[0].at
		for _, w := range wrote[1:] {
			within("the next ping", w.at, cfg.PingInterval+9*time.Second, cfg.PingInterval+9*time.Second+2*tick)
			begin = w.at
		}
		if !closed.IsZero() {
			t.Error("who answers is closed")
		}
	})
}

// TestDrainSpreadsClosesEvenlyOverItsWindow: also where clients do not close their end when they are told.
func TestDrainSpreadsClosesEvenlyOverItsWindow(t *testing.T) {
	for _, leaves := range []bool{true, false} {
		t.Run(fmt.Sprint("clients leave: ", leaves), func(t *testing.T) {
			inBubble(t, Config{DrainTimeout: 30 * time.Second, PingInterval: time.Hour, MaxConns: 10_000}, hub.Config{}, func(b *bubble) {
				const conns = 3000 // at the least rate: 3 s
				sockets := make([]*fakeSocket, conns)
				for i := range sockets {
					sockets[i] = b.open("/ws/a")
				}
				time.Sleep(2*time.Second + tick/2) // a second has ended in which they came, and a tick is not due
				rate := b.server.accepts.most.Load()
				window := drainWindow(conns, rate, 30*time.Second)
				begin := time.Now()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					b.server.drain()
				}()
				for ran := true; ran; {
					select {
					case <-ended:
						ran = false
					case <-time.After(tick / 2):
					}
					b.do(func() {
						for _, s := range sockets {
							if wrote, closed := s.past(); leaves && len(wrote) > 0 && closed.IsZero() {
								_ = b.el.Close(s)
							}
						}
					})
				}
				perTick := map[int]int{}
				for _, s := range sockets {
					wrote, _ := s.past()
					if len(wrote) != 1 || !strings.Contains(wrote[0].text, "connect again") {
						t.Fatalf("told %+v", wrote)
					}
					perTick[int(wrote[0].at.Sub(begin)/tick)]++
				}
				ticks := int(window / tick)
				for i := range ticks {
					if n, want := perTick[i], conns/ticks; n < want-want/10-1 || n > want+want/10+1 {
						t.Errorf("%d closes in tick %d of %d, want %d", n, i, ticks, want)
					}
				}
				if took := time.Since(begin); took > window+closeLinger+11*tick {
					t.Errorf("the drain took %v, its window is %v", took, window)
				}
			})
		})
	}
}

// latestOf takes what a socket was sent apart: offsets of events, and how many were skipped.
func latestOf(t *testing.T, s *fakeSocket) (offsets []uint64, skipped uint64) {
	t.Helper()
	r := strings.NewReader(s.text())
	for r.Len() > 0 {
		_, text, err := readFrame(r)
		if err != nil {
			t.Fatal(err)
		}
		var p place
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		switch {
		case p.Skipped > 0:
			skipped += p.Skipped
		case !p.Subscribed:
			offsets = append(offsets, p.Offset)
		}
	}
	return offsets, skipped
}

// TestStalledReaderOfTheLatestGetsTheNewestWithinALookOut: after a stall of some milliseconds within a
// look-out, after one of seconds, when it is looked at less often, within a tick.
func TestStalledReaderOfTheLatestGetsTheNewestWithinALookOut(t *testing.T) {
	for _, tt := range []struct {
		stall, most time.Duration
	}{
		{20 * time.Millisecond, lookOut},
		{100 * time.Millisecond, lookOut},
		{5 * time.Second, tick},
		{time.Minute, tick},
	} {
		t.Run(tt.stall.String(), func(t *testing.T) {
			cfg := Config{PingInterval: time.Hour}
			inBubble(t, cfg, hub.Config{Modes: []hub.ModeRule{{Topics: "a", Mode: hub.ModeLatest}}}, func(b *bubble) {
				s := b.open("/ws/a?format=json")
				publish := func(until time.Duration) {
					for begin := time.Now(); time.Since(begin) < until; time.Sleep(time.Millisecond) {
						b.publish("a", "one key", "1")
					}
				}
				publish(50 * time.Millisecond)
				b.take(s, 0) // from now on it takes nothing
				publish(tt.stall)
				wrote, _ := s.past()
				before, behind := len(wrote), 0
				if b.do(func() { behind = b.shard.Behind() }); behind != 1 {
					t.Fatalf("%d subscriptions are behind", behind)
				}
				b.take(s, -1)
				room := time.Now()
				publish(2 * tick)
				if wrote, _ = s.past(); len(wrote) == before {
					t.Fatal("it is sent nothing any more")
				}
				if late := wrote[before].at.Sub(room); late > tt.most {
					t.Errorf("it is sent the newest %v after it had room, want %v", late, tt.most)
				}
				offsets, skipped := latestOf(t, s)
				if uint64(len(offsets))+skipped != b.rig.offset || offsets[len(offsets)-1] != b.rig.offset {
					t.Errorf("%d events, %d skipped of %d; the last is %d", len(offsets), skipped, b.rig.offset, offsets[len(offsets)-1])
				}
				var counted uint64
				b.do(func() { counted, behind = b.shard.Skipped(), b.shard.Behind() })
				if least := uint64((tt.stall - lookOut) / (2 * time.Millisecond)); skipped < least || counted != skipped || behind != 0 {
					t.Errorf("%d skipped, counted %d, %d are behind", skipped, counted, behind)
				}
			})
		})
	}
}
