package traceload

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of events.
const (
	// Accepts are conns over loopback, opened, accepted and reset.
	Accepts = "accepts"
	// Messages are bytes written to conns over loopback, each read and answered by the next.
	Messages = "messages"
	// Wakeups are threads that wake each other through pipes.
	Wakeups = "wakeups"
	// Datagrams are packets over loopback, each received in a soft interrupt of its own.
	Datagrams = "datagrams"
	// Polls are those of event loops that always have an event.
	Polls = "polls"
	// Collections are of the process's own garbage, each asked for. They are made by one thread.
	Collections = "collections"
	// Frames are runs of XDP programs, in network namespaces made for them: of the program that
	// makes a frame, and of the one that it comes to. It needs root.
	Frames = "frames"
)

// Kinds are all of them.
func Kinds() []string {
	return []string{Accepts, Messages, Wakeups, Datagrams, Polls, Collections, Frames}
}

// Config is what a process is told, the first line of its input.
type Config struct {
	Kind string `json:"kind"`
	// Threads make the events, each on a CPU of its own while there are enough. 1 to 64. Frames
	// are made by one.
	Threads int `json:"threads"`
	// Conns are those of Messages of each thread. 1 to 10000.
	Conns int `json:"conns"`
	// Prefix is that of the namespaces' names, of Frames.
	Prefix string `json:"prefix,omitempty"`
}

// Bounds of Config and Turn.
const (
	MaxThreads   = 64
	MaxConns     = 10_000
	MaxPerSecond = 20_000_000
	MaxDuration  = 10 * time.Minute
)

// Validate says what is wrong, joined; nil if nothing is.
func (c Config) Validate() error {
	var errs []error
	check := func(fine bool, name string, value any, want string) {
		if !fine {
			errs = append(errs, fmt.Errorf("%s is %v: want %s", name, value, want))
		}
	}
	check(slices.Contains(Kinds(), c.Kind), "kind", c.Kind, "one of "+strings.Join(Kinds(), ", "))
	check(c.Threads >= 1 && c.Threads <= MaxThreads, "threads", c.Threads, fmt.Sprintf("1 to %d", MaxThreads))
	check(c.Kind != Messages || c.Conns >= 1 && c.Conns <= MaxConns, "conns", c.Conns, fmt.Sprintf("1 to %d", MaxConns))
	check(c.Kind != Collections || c.Threads == 1, "threads", c.Threads, "1 for collections, of which there is one at a time")
	check(c.Kind != Frames || c.Prefix != "", "prefix", c.Prefix, "that of the namespaces' names")
	return errors.Join(errs...)
}

// Turn is a line of its input: make events for so long.
type Turn struct {
	// PerSecond is how many are due, of all threads together; 0 is as fast as it goes.
	PerSecond float64       `json:"per_second"`
	Duration  time.Duration `json:"duration"`
}

// Validate says what is wrong; nil if nothing is.
func (t Turn) Validate() error {
	if t.PerSecond < 0 || t.PerSecond > MaxPerSecond || t.Duration <= 0 || t.Duration > MaxDuration {
		return fmt.Errorf("a turn of %v at %v events/s: want up to %v, and 0 to %d", t.Duration, t.PerSecond, MaxDuration, MaxPerSecond)
	}
	return nil
}

// Report is a line of its output: one when it is ready, and one after each turn.
type Report struct {
	Events  uint64  `json:"events"`
	Seconds float64 `json:"seconds"`
	// CPUSeconds are the process's own, user and system, with the soft interrupts that it was in for.
	CPUSeconds float64 `json:"cpu_seconds"`
	Error      string  `json:"error,omitempty"`
}
