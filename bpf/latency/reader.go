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
		s.Classes, err = classes(s.Classes, t.walk)
	case XDP:
		s.Programs, err = programs(s.Programs)
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

// loops adds the loops' own histograms, of which some may be forgotten or new meanwhile.
func (t *Tracer) loops(s *Snapshot) error {
	var key stallLoop
	var state stallLoopState
	all := t.coll.Maps[stallMapLoops].Iterate()
	for all.Next(&key, &state) {
		l := Loop{PID: key.Tgid, Poller: key.Descriptor, Busy: Histogram{Name: "busy"}}
		l.Busy.add(state.Busy.Sum, &state.Busy.Bucket)
		s.Loops = append(s.Loops, l)
	}
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read the loops: %w", err)
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
func programs(to []Program) ([]Program, error) {
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return to, fmt.Errorf("list the programs: %w", err)
		}
		id = next
		one, err := xdpProgram(id)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it may have gone meanwhile
			return to, fmt.Errorf("read program %d: %w", id, err)
		}
		if one != nil {
			to = append(to, *one)
		}
	}
	slices.SortFunc(to, func(a, b Program) int { return cmp.Compare(a.ID, b.ID) })
	return to, nil
}

// xdpProgram is nil for a program of another kind.
func xdpProgram(id ebpf.ProgramID) (*Program, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return nil, err
	}
	defer p.Close() //nolint:errcheck // it is only read
	if p.Type() != ebpf.XDP {
		return nil, nil //nolint:nilnil // of another kind
	}
	info, err := p.Info()
	if err != nil {
		return nil, err
	}
	stats, err := p.Stats()
	if err != nil {
		return nil, err
	}
	return &Program{ID: uint32(id), Name: info.Name, Runs: stats.RunCount, Time: stats.Runtime}, nil
}
