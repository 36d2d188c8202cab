//go:build linux

package latency

import (
	"math"
	"testing"
	"time"

	"weir/bpf/bpftest"
)

// events are so many that a share of them can stand for all.
const events = 4007

// loads make events of each tracer that can follow a share of them.
func loads(t *testing.T) map[string]func(t *testing.T) {
	t.Helper()
	messages := func(t *testing.T) {
		t.Helper()
		client, server, _ := pair(t)
		buffer := make([]byte, 64)
		for range events / 2 {
			write(t, client, buffer)
			read(t, server, buffer)
			write(t, server, buffer)
			read(t, client, buffer)
		}
	}
	return map[string]func(t *testing.T){
		Accept: func(t *testing.T) {
			t.Helper()
			l, _ := listen(t)
			for range events {
				c := dial(t, l)
				_ = c.SetLinger(0) // or all ports would be waiting
				_ = accept(t, l).Close()
				_ = c.Close()
			}
		},
		Read:  messages,
		Write: messages,
		Runq: func(*testing.T) {
			withThread(func(wake func()) {
				for range events {
					wake()
				}
			})
		},
		Softirq: func(t *testing.T) {
			t.Helper()
			inSoftirq(t, 0, func(send func()) {
				for range events {
					send()
				}
			})
		},
		Stall: func(t *testing.T) {
			t.Helper()
			onLoop(t, func(l *eventLoop) {
				for range events {
					l.poll()
				}
			})
		},
	}
}

// What a tracer counts that follows one in eight events is what one counts that follows all, as well as chance has it: by
// five standard deviations of the estimate.
func TestBPFSampledEventsStandForAll(t *testing.T) {
	const every = 8
	all := loads(t)
	for _, about := range Tracers() {
		if about.Samples != (all[about.Name] != nil) {
			t.Errorf("%s: it samples: %v, and there is a load: %v", about.Name, about.Samples, all[about.Name] != nil)
		}
		if !about.Samples || !bpftest.Since(t, about.Since) {
			continue
		}
		t.Run(about.Name, func(t *testing.T) {
			cfg := Config{}
			if about.PIDs {
				cfg.PIDs = us()
			}
			exact, sampled := trace(t, about.Name, cfg), trace(t, about.Name, cfg)
			if err := sampled.coll.Variables[varSampleEvery].Set(uint32(every)); err != nil {
				t.Fatal(err)
			}
			beforeWant, beforeGot := snapshot(t, exact), snapshot(t, sampled) // others of the host have their softirqs
			all[about.Name](t)
			want, got := snapshot(t, exact), snapshot(t, sampled)
			want.Sub(beforeWant)
			got.Sub(beforeGot)
			for i := range want.Histograms {
				w, g := &want.Histograms[i], &got.Histograms[i]
				if w.Count < events*3/4 {
					t.Errorf("%s: only %d are counted", w.Name, w.Count)
				}
				if off := math.Abs(float64(g.Count) - float64(w.Count)); off > 5*math.Sqrt((every-1)*float64(w.Count)) {
					t.Errorf("%s: by one in %d they are %d: want about %d", w.Name, every, g.Count, w.Count)
				}
				// Others of the host, and the poller of Go's runtime, may have begun before one in so many was followed.
				if isOurs := about.Name == Accept || about.Name == Read || about.Name == Write; isOurs && g.Count%every != 0 {
					t.Errorf("%s: by one in %d they are %d of %d", w.Name, every, g.Count, w.Count)
				}
				if a, b := g.Quantile(0.5), w.Quantile(0.5); max(a-b, b-a) > 1 {
					t.Errorf("%s: half of them take up to %v, want %v", w.Name, BoundOf(a), BoundOf(b))
				}
			}
			for i, c := range want.Counters { // nothing stands for those
				if g := got.Counters[i].Count; math.Abs(float64(g)-float64(c.Count)) > events/20 {
					t.Errorf("%s: %d, want %d", c.Name, g, c.Count)
				}
			}
		})
	}
}

// A tracer that takes more than its budget follows fewer events, and counts no less.
func TestBPFBudgetIsKept(t *testing.T) {
	tracer := trace(t, Softirq, Config{Cost: true, Budget: MinBudget})
	inSoftirq(t, 0, func(send func()) {
		until(t, "it follows fewer", func() bool {
			for range 1000 {
				send()
			}
			c, err := tracer.Cost()
			return err != nil || c.SampleEvery > 1
		})
		cost, err := tracer.Cost()
		if err != nil || cost.Runs == 0 || cost.Time <= 0 || cost.Time > cost.Open {
			t.Errorf("%+v, %v", cost, err)
		}
		before := snapshot(t, tracer)
		var every uint32
		if err := tracer.coll.Variables[varSampleEvery].Get(&every); err != nil || int(every) < cost.SampleEvery {
			t.Errorf("the kernel follows one in %d, %v", every, err)
		}
		const all = 16 * events
		for range all {
			send()
		}
		after := snapshot(t, tracer)
		after.Sub(before)
		if h := &after.Histograms[1]; float64(h.Count) < all-5*math.Sqrt((MaxSampleEvery-1)*all) { // the host may have others
			t.Errorf("of %d events it counts %d", all, h.Count)
		}
	})
}

// Of what is stalled for the threshold none is left out, however few are followed.
func TestBPFSampledStallsAreAllTold(t *testing.T) {
	const threshold, long, stalls = 12 * time.Millisecond, 24 * time.Millisecond, 10
	tracer := trace(t, Stall, Config{PIDs: us(), Threshold: threshold})
	if err := tracer.coll.Variables[varSampleEvery].Set(uint32(MaxSampleEvery)); err != nil {
		t.Fatal(err)
	}
	for range stalls {
		stall := stallOnce(t, tracer, func() error { return sleepInCallback(long) })
		if stall.Busy < long || stall.Cause != Blocked || stall.Place != OffCPU || len(stall.Kernel) == 0 || len(stall.User) == 0 {
			t.Errorf("it is %+v: want %v or more", stall, long)
		}
	}
	if c := snapshot(t, tracer).Counters[0]; c.Count < stalls {
		t.Errorf("%s: %d, want %d", c.Name, c.Count, stalls)
	}
}
