package steer

import (
	"fmt"

	"weir/bpf/rights"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Steer is the program and who listens where. Its methods are called by one goroutine at a time.
type Steer struct {
	objs   steerObjects
	width  int
	counts []uint32
}

// New loads the program for CPUs numbered below cpus, each with at most width listeners. The error wraps
// [ErrNotPermitted] or [ErrKernel].
func New(cpus, width int) (*Steer, error) {
	if cpus < 1 || width < 1 {
		return nil, fmt.Errorf("steer to %d CPUs with %d listeners each: want at least 1 and 1", cpus, width)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("load steer: %w: run as root: %w", ErrNotPermitted, err)
	}
	spec, err := loadSteer()
	if err != nil {
		return nil, fmt.Errorf("read steer's object: %w", err)
	}
	spec.Maps["listeners"].MaxEntries = uint32(cpus * width)           //nolint:gosec // as many as CPUs
	spec.Maps["counts"].MaxEntries = uint32(cpus)                      //nolint:gosec // as many as CPUs
	if err := spec.Variables["width"].Set(uint32(width)); err != nil { //nolint:gosec // as many as CPUs
		return nil, fmt.Errorf("set steer's width: %w", err)
	}
	s := &Steer{width: width, counts: make([]uint32, cpus)}
	err = spec.LoadAndAssign(&s.objs, nil)
	switch {
	case err == nil:
		return s, nil
	case rights.Refused(err):
		return nil, fmt.Errorf("load steer: %w: run as root, or with CAP_BPF and CAP_NET_ADMIN: %w", ErrNotPermitted, err)
	default:
		return nil, fmt.Errorf("load steer: %w: use Linux 4.19 or newer: %w", ErrKernel, err)
	}
}

// Place makes a listening socket the k-th of a CPU. It must have SO_REUSEPORT. The descriptor
// stays the caller's, and may be closed: the socket's own process keeps it.
func (s *Steer) Place(cpu, k, listener int) error {
	if cpu < 0 || cpu >= len(s.counts) || k < 0 || k >= s.width {
		return fmt.Errorf("place listener %d of CPU %d: there are %d CPUs of %d each", k, cpu, len(s.counts), s.width)
	}
	at := uint32(cpu*s.width + k)                                                         //nolint:gosec // bounded above
	if err := s.objs.Listeners.Update(at, uint64(listener), ebpf.UpdateAny); err != nil { //nolint:gosec // a descriptor
		return fmt.Errorf("place listener %d of CPU %d: %w", k, cpu, err)
	}
	if s.counts[cpu] > uint32(k) { //nolint:gosec // bounded above
		return nil
	}
	s.counts[cpu] = uint32(k) + 1                                                            //nolint:gosec // bounded above
	if err := s.objs.Counts.Update(uint32(cpu), s.counts[cpu], ebpf.UpdateAny); err != nil { //nolint:gosec // bounded above
		return fmt.Errorf("count the listeners of CPU %d: %w", cpu, err)
	}
	return nil
}

// Attach has the program asked for all listeners of the port that the given one listens on.
func (s *Steer) Attach(listener int) error {
	err := unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF, s.objs.Steer.FD())
	if err != nil {
		return fmt.Errorf("attach steer to a listener: %w", err)
	}
	return nil
}

// Close gives up what New took. A program that is attached stays so as long as one of its listeners does.
func (s *Steer) Close() error { return s.objs.Close() }
