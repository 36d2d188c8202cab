package latency

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf"
)

// What a tracer is assumed to take, ns, where it may not know: of each event, and of each that it follows more. It
// is what weir bench trace shows of the dearest of them.
const (
	assumedSeen     = 200
	assumedFollowed = 500
)

// measure begins to take the time of programs: its own, or if it has none those of XDP. The kernel does that for
// CAP_SYS_ADMIN alone; without it what the tracer takes is assumed.
func (t *Tracer) measure(budget float64) error {
	t.meter = &meter{
		read:   t.own,
		enable: func() (io.Closer, error) { return ebpf.EnableStats(statsRunTime) },
	}
	if t.about.Name == XDP || budget > 0 {
		t.clock = measureClock()
	}
	if t.about.Name == XDP {
		t.meter.read = xdpUsage
	} else {
		t.meter.clock = float64(t.clock.Counted)
	}
	err := t.meter.on(time.Now())
	switch {
	case err == nil || !errors.Is(err, os.ErrPermission):
		return err
	case t.about.Name == XDP:
		return fmt.Errorf("trace %s: %w: the kernel times programs for CAP_SYS_ADMIN alone: run it as root of the host: %w", t.about.Name, ErrNotPermitted, err)
	}
	t.assumes, t.clock = true, statsClock{}
	t.meter = &meter{read: t.assumed, enable: func() (io.Closer, error) { return io.NopCloser(nil), nil }}
	return t.meter.on(time.Now())
}

// own is what the kernel has counted of the tracer's programs, which may not be loaded yet.
func (t *Tracer) own() (map[uint32]usage, error) {
	all := usage{}
	if t.coll != nil {
		for name, p := range t.coll.Programs {
			stats, err := p.Stats()
			if err != nil {
				return nil, fmt.Errorf("read what %s took: %w", name, err)
			}
			all = all.plus(usage{float64(stats.RunCount), float64(stats.Runtime)}, 1)
		}
	}
	return map[uint32]usage{0: all}, nil
}

// assumed is what the tracer is taken to have used, by the events that it has counted; none are before it is loaded.
func (t *Tracer) assumed() (map[uint32]usage, error) {
	events := uint64(0)
	if t.coll != nil && len(t.about.Histograms) > 0 {
		var s Snapshot
		if err := t.histograms(&s); err != nil {
			return nil, err
		}
		for i := range s.Histograms {
			events = max(events, s.Histograms[i].Count)
		}
	}
	if more := float64(events) - t.taken.runs; more > 0 {
		t.taken = t.taken.plus(usage{1, assumedSeen + assumedFollowed/float64(t.every)}, more)
	}
	return map[uint32]usage{0: t.taken}, nil
}

// Cost is what the tracer's programs took, zero unless [Config.Cost] is set.
func (t *Tracer) Cost() (Cost, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := Cost{Open: time.Since(t.opened)}
	if err := t.open(); err != nil || t.meter == nil {
		return c, err
	}
	c.SampleEvery, c.Assumed = int(t.every), t.assumes
	if err := t.meter.settle(time.Now()); err != nil {
		return c, fmt.Errorf("trace %s: %w", t.about.Name, err)
	}
	all := t.meter.all()
	if t.about.Name == XDP { // it is no program's, but what those of others take longer
		all = usage{t.meter.timed.runs, t.meter.timed.runs * float64(t.clock.Added)}
	}
	c.Runs, c.Time = uint64(all.runs), time.Duration(all.ns)
	return c, nil
}
