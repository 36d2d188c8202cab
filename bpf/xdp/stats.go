package xdp

import (
	"fmt"
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
	var perCPU []weirCounter
	for action, sums := range []*[reasonCount]Count{&s.Passed, &s.Dropped, &s.Answered} {
		for r := range sums {
			if err := p.objs.VerdictStats.Lookup(uint32(action*maxReasons+r), &perCPU); err != nil { //nolint:gosec // a handful
				return err
			}
			for _, c := range perCPU {
				sums[r].Packets += c.Packets
				sums[r].Bytes += c.Bytes
			}
		}
	}
	var sampling []weirSampling
	for r := range s.NotSampled {
		if err := p.objs.Sampled.Lookup(uint32(r), &sampling); err != nil { //nolint:gosec // a handful
			return err
		}
		for _, c := range sampling {
			s.NotSampled[r] += c.Total
		}
	}
	var events []uint64
	for event, sum := range map[weirEvent]*uint64{weirEventEVENT_TAKEN: &s.SlotsTaken, weirEventEVENT_SLOT_LOST: &s.SlotsLost, weirEventEVENT_CONN_LOST: &s.ConnsLost} {
		if err := p.objs.Events.Lookup(uint32(event), &events); err != nil {
			return err
		}
		for _, n := range events {
			*sum += n
		}
	}
	var siege weirSiege
	if err := p.objs.Sieges.Lookup(uint32(0), &siege); err != nil {
		return err
	}
	s.Sieges, s.SiegeUntil = siege.Entered, siege.Until
	return nil
}
