package latency

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

// Place is where a thread was when its code was looked at.
type Place uint8

// Places of a thread.
const (
	// InPoll: in the next poll. It was in no other place when somebody looked.
	InPoll = Place(stallPlacePLACE_POLL)
	// OffCPU: where it left the CPU.
	OffCPU = Place(stallPlacePLACE_OFF_CPU)
	// OnCPU: where the clock's tick found it.
	OnCPU = Place(stallPlacePLACE_ON_CPU)
)

func (p Place) String() string {
	switch p {
	case OffCPU:
		return "off_cpu"
	case OnCPU:
		return "on_cpu"
	default:
		return "in_poll"
	}
}

// Cause is what took most of a stall's time; of StopTheWorld half of it is enough, since then no goroutine
// runs, wherever its thread is.
type Cause uint8

// Causes of a stall.
const (
	// Callback: the thread ran, its own code or that of system calls.
	Callback = Cause(stallCauseCAUSE_CALLBACK)
	// RunQueue: it could run, and waited for a CPU.
	RunQueue = Cause(stallCauseCAUSE_RUN_QUEUE)
	// Blocked: it slept, in a system call, for a page, or as Go's runtime put the goroutine off it.
	Blocked = Cause(stallCauseCAUSE_BLOCKED)
	// SoftIRQ: softirqs ran on its CPU in its place.
	SoftIRQ = Cause(stallCauseCAUSE_SOFTIRQ)
	// StopTheWorld: Go's runtime had stopped all goroutines.
	StopTheWorld = Cause(stallCauseCAUSE_STOP_THE_WORLD)
)

// Causes are all.
func Causes() []Cause { return []Cause{Callback, RunQueue, Blocked, SoftIRQ, StopTheWorld} }

func (c Cause) String() string {
	return [...]string{"callback", "run_queue", "blocked", "softirq", "stop_the_world"}[min(c, Cause(stallCauseCAUSES)-1)]
}

// StallOf is a loop that did not ask for events for longer than [Config.Threshold].
type StallOf struct {
	// Ended is when it polled, on CLOCK_MONOTONIC; Busy is for how long it had not.
	Ended, Busy time.Duration
	// PID and TID are of the thread that had the events, Poller is the epoll descriptor. Command is the name
	// of the thread that polled next, which in a Go program may be another.
	PID, TID uint32
	Command  string
	Poller   uint32
	// Waited is for how long it waited for a CPU, Slept slept, SoftIRQ was held up by softirqs, and Stopped
	// stood still with the rest of a Go program, whatever its thread did then. Cause is what took the most.
	Waited, Slept, SoftIRQ, Stopped time.Duration
	Cause                           Cause
	// Place is where the code was seen: addresses of the kernel and of the program, innermost first.
	Place        Place
	Kernel, User []uint64
}

// Stalls calls f for each stall that nobody has read yet, and does not wait for more.
func (t *Tracer) Stalls(f func(StallOf)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(); err != nil || t.ring == nil {
		return err
	}
	t.ring.SetDeadline(time.Now())
	var rec ringbuf.Record
	for {
		err := t.ring.ReadInto(&rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("trace %s: read the stalls: %w", t.about.Name, err)
		}
		if raw, ok := decode[stallStall](rec.RawSample); ok {
			f(stallOf(&raw))
		}
	}
}

func stallOf(raw *stallStall) StallOf {
	var command []byte
	for _, c := range raw.Comm {
		command = append(command, byte(c)) //nolint:gosec // C has it signed
	}
	command, _, _ = bytes.Cut(command, []byte{0})
	return StallOf{
		Ended: time.Duration(raw.Ended), Busy: time.Duration(raw.Busy), //nolint:gosec // below 292 years
		PID: raw.Tgid, TID: raw.Tid, Command: string(command), Poller: raw.Descriptor, Place: Place(raw.Place), //nolint:gosec // an enum
		Waited: time.Duration(raw.Waited), Slept: time.Duration(raw.Slept), SoftIRQ: time.Duration(raw.Softirq), Stopped: time.Duration(raw.Stopped), //nolint:gosec // below 292 years
		Cause:  Cause(raw.Cause), //nolint:gosec // an enum
		Kernel: frames(raw.Code.Kernel[:], raw.Code.KernelBytes), User: frames(raw.Code.User[:], raw.Code.UserBytes),
	}
}

// frames is a copy of the addresses that there are.
func frames(all []uint64, bytesOf int32) []uint64 {
	n := min(max(int(bytesOf), 0)/8, len(all))
	return append([]uint64(nil), all[:n]...)
}
