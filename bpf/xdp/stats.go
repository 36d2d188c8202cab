package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Count is packets and bytes.
type Count struct{ Packets, Bytes uint64 }

// Stats are the program's counters since it was loaded, summed over CPUs.
type Stats struct {
	// Passed, Dropped and Answered are indexed by Reason. In ModeShadow what would be dropped or
	// answered is in Passed, under its reason.
	Passed, Dropped, Answered [reasonCount]Count
	// NotSampled are the refused packets of each reason that no sample was made of, while
	// somebody listened.
	NotSampled [reasonCount]uint64
	// SlotsTaken is how often a client got a slot, SlotsLost how often there was no room for
	// one, ConnsLost the connections that could not be counted.
	SlotsTaken, SlotsLost, ConnsLost uint64
	// Bindings are the connections now that are charged to an identity, BindingsRefused those that could not
	// be, for want of room.
	Bindings, BindingsRefused uint64
	// Escalations are the clients that are escalated, those among them whose time is over and that were not
	// swept yet; EscalationsRefused those that could not be, for want of room.
	Escalations, EscalationsRefused uint64
	// Sieges is how often SYNs began to be answered with cookies; SiegeUntil is when that ends
	// or ended, nanoseconds of CLOCK_MONOTONIC.
	Sieges, SiegeUntil uint64
}

const (
	actionCount = int(weirActionACTION_MAX)
	maxReasons  = 64 // MAX_REASONS of abi.h: a test holds it to that
)

// Stats reads the counters.
func (p *Program) Stats() (Stats, error) {
	var s Stats
	err := p.StatsInto(&s)
	return s, err
}

// StatsInto is [Program.Stats] into memory that the caller reuses.
func (p *Program) StatsInto(s *Stats) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("read the counters"); err != nil {
		return err
	}
	*s = Stats{}
	if err := p.readStats(s); err != nil {
		return fmt.Errorf("read the counters of xdp_weir: %w", err)
	}
	return nil
}

func (p *Program) readStats(s *Stats) error {
	counters, err := readAll[weirCounter](p.objs.VerdictStats)
	if err != nil {
		return err
	}
	for action, sums := range []*[reasonCount]Count{&s.Passed, &s.Dropped, &s.Answered} {
		for r := range sums {
			for _, c := range counters[action*maxReasons+r] {
				sums[r].Packets += c.Packets
				sums[r].Bytes += c.Bytes
			}
		}
	}
	sampling, err := readAll[weirSampling](p.objs.Sampled)
	if err != nil {
		return err
	}
	for r := range s.NotSampled {
		for _, c := range sampling[r] {
			s.NotSampled[r] += c.Total
		}
	}
	events, err := readAll[uint64](p.objs.Events)
	if err != nil {
		return err
	}
	for event, sum := range map[weirEvent]*uint64{weirEventEVENT_TAKEN: &s.SlotsTaken, weirEventEVENT_SLOT_LOST: &s.SlotsLost, weirEventEVENT_CONN_LOST: &s.ConnsLost} {
		for _, n := range events[event] {
			*sum += n
		}
	}
	gone := int64(0)
	for _, n := range events[weirEventEVENT_UNBOUND] {
		gone += int64(n) //nolint:gosec // a count
	}
	s.Bindings = uint64(max(p.bound.Load()-(gone-p.unbound), 0)) //nolint:gosec // not negative
	s.Escalations = uint64(max(p.escalated.Load(), 0))           //nolint:gosec // not negative
	s.BindingsRefused, s.EscalationsRefused = p.bindsRefused.Load(), p.escalationsRefused.Load()
	var siege weirSiege
	if err := p.objs.Sieges.Lookup(uint32(0), &siege); err != nil {
		return err
	}
	s.Sieges, s.SiegeUntil = siege.Entered, siege.Until
	return nil
}

// readAll reads a per-CPU array by one system call: a value for each CPU, by entry.
func readAll[T any](m *ebpf.Map) ([][]T, error) {
	n, cpus := int(m.MaxEntries()), possibleCPUs()
	keys, values := make([]uint32, n), make([]T, n*cpus)
	var cursor ebpf.MapBatchCursor
	read, err := m.BatchLookup(&cursor, keys, values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // which says that it was the last batch
		return nil, err
	}
	if read != n {
		return nil, fmt.Errorf("%d of %d entries were read", read, n)
	}
	all := make([][]T, n)
	for i := range all {
		all[keys[i]] = values[i*cpus:][:cpus]
	}
	return all, nil
}
