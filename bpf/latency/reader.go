package latency

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// Snapshot is what was counted so far.
func (t *Tracer) Snapshot() (*Snapshot, error) {
	s := &Snapshot{}
	return s, t.SnapshotInto(s)
}

// SnapshotInto is [Tracer.Snapshot] into a snapshot that is made anew, in the memory that it has.
func (t *Tracer) SnapshotInto(s *Snapshot) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(); err != nil {
		return err
	}
	s.Tracer, s.Taken = t.about.Name, time.Now()
	s.Histograms, s.Counters = s.Histograms[:0], s.Counters[:0]
	s.Classes, s.Loops, s.Programs = s.Classes[:0], s.Loops[:0], s.Programs[:0]
	err := error(nil)
	switch t.about.Name {
	case RTT:
		s.Classes, s.Walked, err = t.walked.classes(s.Classes, t.walk)
	case XDP:
		err = t.programs(s)
	default:
		if err = t.histograms(s); err == nil {
			err = t.counters(s)
		}
		if err == nil && t.about.Stalls {
			err = t.loops(s)
		}
	}
	if err != nil {
		return fmt.Errorf("trace %s: %w", t.about.Name, err)
	}
	return nil
}

func (t *Tracer) histograms(s *Snapshot) error {
	for i, name := range t.about.Histograms {
		if err := t.coll.Maps[mapHists].Lookup(uint32(i), &t.perCPU); err != nil { //nolint:gosec // a handful
			return fmt.Errorf("read histogram %s: %w", name, err)
		}
		h := Histogram{Name: name}
		for cpu := range t.perCPU {
			h.add(t.perCPU[cpu].Sum, &t.perCPU[cpu].Bucket)
		}
		s.Histograms = append(s.Histograms, h)
	}
	return nil
}

func (t *Tracer) counters(s *Snapshot) error {
	for i, name := range t.about.Counters {
		if err := t.coll.Maps[mapCounts].Lookup(uint32(i), &t.numbers); err != nil { //nolint:gosec // a handful
			return fmt.Errorf("read counter %s: %w", name, err)
		}
		c := Counter{Name: name}
		for _, n := range t.numbers {
			c.Count += n
		}
		s.Counters = append(s.Counters, c)
	}
	return nil
}

// loops adds the loops' own histograms. A loop that got another slot has two, until the first is another's.
func (t *Tracer) loops(s *Snapshot) error {
	var given uint32
	if err := t.coll.Variables[stallVarNextSlot].Get(&given); err != nil {
		return fmt.Errorf("read how many loops there are: %w", err)
	}
	slots := t.coll.Maps[stallMapLoops]
	for slot := range min(given, slots.MaxEntries()) {
		var state stallLoopState
		if err := slots.Lookup(slot, &state); err != nil {
			return fmt.Errorf("read loop %d: %w", slot, err)
		}
		key := Loop{PID: state.Loop.Tgid, Poller: state.Loop.Descriptor, Busy: Histogram{Name: "busy"}}
		if key.PID == 0 { // it is not begun yet
			continue
		}
		i := slices.IndexFunc(s.Loops, func(l Loop) bool { return l.PID == key.PID && l.Poller == key.Poller })
		if i < 0 {
			i = len(s.Loops)
			s.Loops = append(s.Loops, key)
		}
		s.Loops[i].Busy.add(state.Busy.Sum, &state.Busy.Bucket)
	}
	slices.SortFunc(s.Loops, func(a, b Loop) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Poller, b.Poller))
	})
	return nil
}

// add adds what the kernel counted on one CPU.
func (h *Histogram) add(sum uint64, buckets *[Buckets]uint64) {
	h.Sum += time.Duration(sum) //nolint:gosec // below 292 years
	for i, n := range buckets {
		h.Buckets[i] += n
		h.Count += n
	}
}

// programs adds the XDP programs that are in the kernel.
func (t *Tracer) programs(s *Snapshot) error {
	if err := t.meter.settle(s.Taken); err != nil {
		return err
	}
	for id, u := range t.meter.total {
		one, err := programName(ebpf.ProgramID(id))
		if errors.Is(err, os.ErrNotExist) { // it is gone
			continue
		}
		if err != nil {
			return fmt.Errorf("read program %d: %w", id, err)
		}
		s.Programs = append(s.Programs, Program{ID: id, Name: one, Runs: uint64(u.runs), Time: time.Duration(u.ns)})
	}
	slices.SortFunc(s.Programs, func(a, b Program) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

func programName(id ebpf.ProgramID) (name string, err error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

// xdpUsage is what the kernel has counted of each XDP program of the host.
func xdpUsage() (map[uint32]usage, error) {
	all := map[uint32]usage{}
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list the programs: %w", err)
		}
		id = next
		u, isXDP, err := usageOf(id)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it may have gone meanwhile
			return nil, fmt.Errorf("read program %d: %w", id, err)
		}
		if isXDP {
			all[uint32(id)] = u
		}
	}
}

func usageOf(id ebpf.ProgramID) (u usage, isXDP bool, err error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return u, false, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if p.Type() != ebpf.XDP {
		return u, false, nil
	}
	stats, err := p.Stats()
	if err != nil {
		return u, false, err
	}
	return usage{float64(stats.RunCount), float64(stats.Runtime)}, true, nil
}
