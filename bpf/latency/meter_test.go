package latency

import (
	"errors"
	"io"
	"maps"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// timing is a kernel that times programs while somebody asks for it.
type timing struct {
	counted map[uint32]usage
	on      int
	fail    error
}

func (k *timing) Close() error { k.on--; return nil }

func (k *timing) meter(clock float64) *meter {
	return &meter{
		read: func() (map[uint32]usage, error) {
			return maps.Clone(k.counted), k.fail
		},
		enable: func() (io.Closer, error) { k.on++; return k, k.fail },
		clock:  clock,
	}
}

// run has a program run so often, of which each takes ns, and the timing clock more.
func (k *timing) run(id uint32, runs, ns, clock float64) {
	if k.on > 0 {
		k.counted[id] = k.counted[id].plus(usage{1, ns + clock}, runs)
	}
}

func TestMeterGoesOnAsItWasWhileItIsOff(t *testing.T) {
	const clock = 50
	k := &timing{counted: map[uint32]usage{7: {1000, 1e6}, 8: {1, 1}}}
	m := k.meter(clock)
	now := time.Now()
	do := func(what func(time.Time) error) {
		t.Helper()
		if err := what(now); err != nil {
			t.Fatal(err)
		}
	}
	k.run(7, 500, 100, clock) // not timed
	do(m.on)
	for range 10 {
		k.run(7, 100, 100, clock)
		now = now.Add(10 * time.Millisecond)
	}
	do(m.off)
	if got, want := m.all(), (usage{1000, 1000 * 150}); got != want {
		t.Errorf("timed it took %v: want %v, none of what was before", got, want)
	}
	now = now.Add(900 * time.Millisecond) // in which it runs as often, untimed
	do(m.settle)
	if got := m.all(); math.Abs(got.runs-10_000) > 1e-6 || math.Abs(got.ns-(1000*150+9000*100)) > 1e-3 {
		t.Errorf("with nine times as much that was not timed it took %v", got)
	}
	delete(k.counted, 8)
	do(m.on)
	k.run(7, 10, 100, clock)
	now = now.Add(time.Millisecond)
	do(m.settle)
	if got := m.all(); math.Abs(got.runs-10_010) > 1e-6 || m.timed.runs != 1010 {
		t.Errorf("%v, of which were timed %v", got, m.timed)
	}
	if _, ok := m.total[8]; ok {
		t.Error("a program that is gone is there")
	}
	if rate := m.since(); math.Abs(rate.ns-1e-3) > 1e-9 { // 10 runs of 100 ns in a millisecond
		t.Errorf("it takes %v of a CPU", rate.ns)
	}
	do(m.off)
	do(m.off)
	if k.on != 0 {
		t.Errorf("the kernel times for %d yet", k.on)
	}
}

func TestMeterSaysWhatItCannotRead(t *testing.T) {
	k := &timing{counted: map[uint32]usage{}}
	m := k.meter(0)
	if err := m.on(time.Now()); err != nil {
		t.Fatal(err)
	}
	k.fail = io.ErrUnexpectedEOF
	if err := m.settle(time.Now()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if err := m.off(time.Now()); !errors.Is(err, io.ErrUnexpectedEOF) || k.on != 0 {
		t.Errorf("%v, and the kernel times for %d yet", err, k.on)
	}
}

func TestSampleEveryKeepsToTheBudget(t *testing.T) {
	for _, c := range []struct {
		every  uint32
		share  float64
		want   uint32
		budget float64
	}{
		{1, 0, 1, 0.04},
		{1, 0.03, 1, 0.04},
		{1, 0.031, 2, 0.04},
		{1, 0.061, 4, 0.04},
		{1, 0.12, 4, 0.04},
		{4, 0.05, 8, 0.04},
		{4, 0.02, 4, 0.04},
		{4, 0.011, 4, 0.04},
		{4, 0.009, 2, 0.04},
		{1, 0.001, 1, 0.04},
		{1, 1e9, MaxSampleEvery, 0.04},
		{MaxSampleEvery, 1, MaxSampleEvery, 0.04},
	} {
		if got := sampleEvery(c.every, c.share, c.budget); got != c.want {
			t.Errorf("one in %d takes %v of %v: then one in %d, want %d", c.every, c.share, c.budget, got, c.want)
		}
	}
}

// A tracer whose runs are few is timed always; one whose timing alone is too much for half a second of each five, from the first look on.
func TestGovernTimesInWindows(t *testing.T) {
	for name, c := range map[string]struct {
		perMillisecond float64
		timed          time.Duration // of ten seconds
	}{
		"few runs":  {10, 10 * time.Second},
		"many runs": {100, 600 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &timing{counted: map[uint32]usage{0: {}}}
				tracer := &Tracer{about: About{Name: "test"}, meter: k.meter(0), clock: statsClock{50, 100}, ended: make(chan struct{}), governed: make(chan struct{}), every: 1}
				if err := tracer.meter.on(time.Now()); err != nil {
					t.Fatal(err)
				}
				go tracer.govern(0.03)
				timed := time.Duration(0)
				for range 10_000 {
					<-time.After(time.Millisecond)
					synctest.Wait()
					tracer.mu.Lock()
					k.run(0, c.perMillisecond, 100, 0)
					if k.on > 0 {
						timed += time.Millisecond
					}
					tracer.mu.Unlock()
				}
				if off := (timed - c.timed).Abs(); off > 50*time.Millisecond {
					t.Errorf("it was timed for %v: want %v", timed, c.timed)
				}
				cost, err := tracer.Cost()
				if want := 10_000 * c.perMillisecond; err != nil || math.Abs(float64(cost.Runs)-want) > want/50 {
					t.Errorf("%d runs, %v: want about %v", cost.Runs, err, want)
				}
				if err := tracer.Close(); err != nil || k.on != 0 {
					t.Errorf("%v, and the kernel times for %d yet", err, k.on)
				}
			})
		})
	}
}

// The switch is the host's: what is always timed for one tracer is timed for all.
func TestTimingIsOfAllTracers(t *testing.T) {
	s := shares{of: map[*Tracer]float64{}}
	a, b := &Tracer{}, &Tracer{}
	if all := s.with(a, 0.001); all != 0.001 {
		t.Errorf("of one it is %v", all)
	}
	if all := s.with(b, 0.002); math.Abs(all-0.003) > 1e-12 {
		t.Errorf("of two it is %v", all)
	}
	if s.without(a); s.with(b, 0.002) != 0.002 {
		t.Error("one that is closed is counted")
	}
}

func TestTicksAreAskedWhereTheyAreShort(t *testing.T) {
	for _, c := range []struct {
		threshold, tick time.Duration
		want            uint64
	}{
		{10 * time.Millisecond, 4 * time.Millisecond, 1},
		{10 * time.Millisecond, time.Millisecond, 5},
		{8 * time.Millisecond, 4 * time.Millisecond, 1},
		{7 * time.Millisecond, 4 * time.Millisecond, 0},
		{0, time.Millisecond, 0},
		{time.Second, 0, 0},
	} {
		if got := fewerTicks(c.threshold, c.tick); got != c.want {
			t.Errorf("threshold %v, tick %v: fewer than %d, want %d", c.threshold, c.tick, got, c.want)
		}
	}
}
