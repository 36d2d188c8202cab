package upstream

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRetriesStayWithinTheirBudgetWhenAllFails(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		percent := rapid.SampledFrom([]int{-1, 1, 20, 100, 300}).Draw(rt, "percent")
		least := rapid.SampledFrom([]int{-1, 1, 10}).Draw(rt, "min/s")
		attempts := rapid.IntRange(2, 10).Draw(rt, "attempts")
		window := rapid.SampledFrom([]time.Duration{time.Second, 1500 * time.Millisecond, 10 * time.Second}).Draw(rt, "window")
		p, err := New(Config{
			Servers: servers(3), Ejection: Ejection{ConsecutiveGateway: -1},
			Retries: Retries{Attempts: attempts, BudgetPercent: percent, MinPerSecond: least, Window: window},
		}, seeded(), epoch)
		if err != nil {
			rt.Fatal(err)
		}
		type moment struct{ at, requests, retries time.Duration }
		var past []moment
		now, requests, retries := epoch, 0, 0
		for range rapid.IntRange(1, 40).Draw(rt, "bursts") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*window)).Draw(rt, "pause")))
			for range rapid.IntRange(1, 60).Draw(rt, "requests") {
				for n := range attempts {
					if n > 0 {
						if !p.MayRetry(now) {
							break
						}
						retries++
					} else {
						requests++
					}
					s, err := p.Pick(now, 0, nil)
					if err != nil {
						rt.Fatal(err)
					}
					s.Done(now, ConnectFailed, 0)
				}
			}
			past = append(past, moment{now.Sub(epoch), time.Duration(requests), time.Duration(retries)})
		}
		// Of any time, the retries are those of the requests in it and a window and its part before, and of the least
		// for each window in it, begun ones included.
		for i := range past {
			for j := range past[:i+1] {
				took := past[i].at - past[j].at
				from := 0
				for from < j && past[from].at < past[j].at-window-window/budgetSamples {
					from++
				}
				first := past[i].requests
				if from > 0 {
					first -= past[from-1].requests
				}
				windows := took/window + 1
				bound := float64(first)*float64(max(percent, 0))/100 + float64(max(least, 0))*window.Seconds()*float64(windows)
				if got := past[i].retries - past[j].retries; float64(got) > bound {
					rt.Fatalf("%d retries in %v, the bound is %.1f", got, took, bound)
				}
			}
		}
		if c := p.Counters(); int(c.Retries) != retries || int(c.Requests) != requests+retries {
			rt.Fatalf("counted %+v; were %d and %d", c, requests, retries)
		}
	})
}

func TestRetriesAreAShareOfRequests(t *testing.T) {
	r := newRig(t, Config{Servers: servers(3), Retries: Retries{MinPerSecond: -1}})
	ask := func() {
		r.pick(nil).Done(r.now, OK, 0)
	}
	retries := func() (n int) {
		for r.MayRetry(r.now) {
			ask()
			n++
		}
		return n
	}
	for range 1000 {
		ask()
	}
	if got := retries(); got != 200 {
		t.Errorf("%d of 1000", got)
	}
	r.now = r.now.Add(5 * time.Second)
	for range 100 {
		ask()
	}
	if got := retries(); got != 20 {
		t.Errorf("%d of 100 more", got)
	}
	// What was, is over after a window.
	r.now = r.now.Add(20 * time.Second)
	for range 100 {
		ask()
	}
	if got := retries(); got != 20 {
		t.Errorf("%d of 100 later", got)
	}
	if c := r.Counters(); c.RetriesRefused != 3 {
		t.Errorf("counted: %+v", c)
	}
}

func TestQuietPoolsHaveALeastOfRetries(t *testing.T) {
	r := newRig(t, Config{Servers: servers(1)})
	n := 0
	for r.MayRetry(r.now) {
		n++
	}
	if n != 100 {
		t.Errorf("%d in a window of 10 s by 10/s", n)
	}
	if one := newRig(t, Config{Servers: servers(1), Retries: Retries{Attempts: 1}}); one.MayRetry(one.now) || one.Attempts() != 1 {
		t.Error("one attempt is no retry")
	}
}
