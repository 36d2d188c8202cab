package latency

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"time"
)

// usage is how often a program ran, and what that took. Where it was not timed both are estimates.
type usage struct {
	runs, ns float64
}

func (u usage) plus(other usage, times float64) usage {
	return usage{u.runs + times*other.runs, u.ns + times*other.ns}
}

// meter sums up what programs take. The kernel times their runs while the meter is on; while it is off it
// takes them to go on as they did when it was on last.
type meter struct {
	// read says what the kernel has counted of each program, by ID.
	read func() (map[uint32]usage, error)
	// enable has the kernel time all BPF programs of the host until it is closed.
	enable func() (io.Closer, error)
	// clock is what is counted of a run though it is the timing's, ns: there is none of it while the
	// meter is off.
	clock float64

	total  map[uint32]usage
	timed  usage // of all programs, by the kernel alone
	at     time.Time
	stats  io.Closer        // nil: it is off
	base   map[uint32]usage // at the time, while it is on
	turned struct {         // on, as it was then
		at    time.Time
		total map[uint32]usage
	}
	rates map[uint32]usage // a ns, while it is off
}

// on begins to time.
func (m *meter) on(now time.Time) (err error) {
	if m.stats != nil {
		return nil
	}
	if err := m.settle(now); err != nil {
		return err
	}
	if m.stats, err = m.enable(); err != nil {
		return err
	}
	if m.base, err = m.read(); err != nil {
		return err
	}
	if m.total == nil {
		m.total = map[uint32]usage{}
	}
	maps.DeleteFunc(m.total, func(id uint32, _ usage) bool {
		_, isThere := m.base[id]
		return !isThere
	})
	for id := range m.base {
		if _, ok := m.total[id]; !ok {
			m.total[id] = usage{} // it has not run yet
		}
	}
	m.mark(now)
	return nil
}

// mark begins the time that the rates are of.
func (m *meter) mark(now time.Time) {
	m.turned.at, m.turned.total = now, maps.Clone(m.total)
}

// settle takes in what happened up to now.
func (m *meter) settle(now time.Time) error {
	if m.stats == nil {
		for id, rate := range m.rates {
			m.total[id] = m.total[id].plus(rate, float64(now.Sub(m.at)))
		}
		m.at = now
		return nil
	}
	seen, err := m.read()
	if err != nil {
		return err
	}
	for id, u := range seen {
		took := u.plus(m.base[id], -1)
		m.total[id] = m.total[id].plus(took, 1)
		m.timed = m.timed.plus(took, 1)
	}
	m.at, m.base = now, seen
	return nil
}

// since is what all programs took a ns since they were marked, without the timing itself. The meter
// is on, and settled.
func (m *meter) since() (all usage) {
	m.rates = map[uint32]usage{}
	for id, u := range m.total {
		took := u.plus(m.turned.total[id], -1)
		took.ns = max(took.ns-took.runs*m.clock, 0)
		m.rates[id] = usage{}.plus(took, 1/max(float64(m.at.Sub(m.turned.at)), 1))
		all = all.plus(m.rates[id], 1)
	}
	return all
}

// off ends the timing. Idempotent.
func (m *meter) off(now time.Time) error {
	if m == nil || m.stats == nil {
		return nil
	}
	err := m.settle(now)
	if err == nil {
		m.since()
	}
	err = errors.Join(err, m.stats.Close())
	m.stats = nil
	if err != nil {
		return fmt.Errorf("end the timing of programs: %w", err)
	}
	return nil
}

// all is what all programs took together. The meter is settled.
func (m *meter) all() (sum usage) {
	for _, u := range m.total {
		sum = sum.plus(u, 1)
	}
	return sum
}
