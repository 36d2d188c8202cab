package loop

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"weir/broker"
	"weir/edge/handover"
)

// A takeover, between the process that serves (the giver) and the one that is to go on (the taker):
//
//	taker                                giver
//	hello ──────────────────────────────►
//	      ◄────────────────────────────── hello, its listeners, its topics
//	opens the topics
//	ready ──────────────────────────────► records what patterns get from here on
//	                                     stops its listeners, freezes its loops
//	      ◄────────────────────────────── conns, some at a time
//	      ◄────────────────────────────── the events that their patterns had last, and the orders of those
//	                                     gives up what only one can have (Hooks.Release)
//	      ◄────────────────────────────── all
//	takes that (Hooks.Acquire), reads what the topics missed
//	prepared ───────────────────────────►
//	      ◄────────────────────────────── commit, and never touches them again
//	serves                                drains what could not be moved, and ends
//	done ───────────────────────────────►
//
// Until commit the giver can go on as if nothing had been, and does so if the taker fails or takes too
// long. Nothing is read from a conn, or written to it, from its freeze until it is served again.
const (
	msgHello handover.Kind = iota + 1
	msgRefused
	msgReady
	msgConns
	msgEvents
	msgOrders
	msgAll
	msgPrepared
	msgCommit
	msgDone
)

// takeoverVersion is that of these messages. A change to what they mean is another one.
const takeoverVersion = 3

const (
	// takeoverPatience bounds the time that a taker may need to open the topics.
	takeoverPatience = time.Minute
	// freezeLimit bounds the time for which nobody serves.
	freezeLimit = 30 * time.Second
	// ordersPatience bounds what the orders of patterns are waited for, of that.
	ordersPatience = 2 * time.Second
	// handedAtOnce is how many conns go with one message.
	handedAtOnce = 128
	// eventsAtOnce bounds the events that go with one message, eventBytesAtOnce their payloads, but for the
	// last one's.
	eventsAtOnce     = 8192
	eventBytesAtOnce = 8 << 20
)

// TakeoverOff is a [Config.Takeover] for none.
const TakeoverOff = "off"

// DefaultTakeover is the path for an edge on a port: in /run/weir for root, else in a directory of the
// user's below that for temporary files.
func DefaultTakeover(port int) string {
	dir := "/run/weir"
	if uid := os.Getuid(); uid != 0 {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("weir-%d", uid))
	}
	return filepath.Join(dir, fmt.Sprintf("edge-%d.sock", port))
}

// takeoverPath is where this server is found, or its predecessor; empty if nowhere.
func (s *Server) takeoverPath() string {
	switch s.cfg.Takeover {
	case TakeoverOff:
		return ""
	case "":
		if addr := s.addr.Load(); addr != nil {
			return DefaultTakeover(addr.Port)
		}
		addr, err := net.ResolveTCPAddr("tcp", s.cfg.Listen)
		if err != nil {
			return ""
		}
		return DefaultTakeover(addr.Port)
	}
	return s.cfg.Takeover
}

// Hooks tie a takeover to what the process has beside its conns. Each may be nil.
type Hooks struct {
	// May says why nothing can be handed over; nil if it can.
	May func() error
	// Release gives up what two processes cannot have at once, such as ports. It is called by a giver
	// that has frozen, and by a taker that fails after Acquire.
	Release func() error
	// Regain undoes Release, in a giver whose taker failed.
	Regain func() error
	// Acquire takes, in a taker, what the giver has released.
	Acquire func(context.Context) error
	// Handed says, in a giver, which process has taken over. That serves already; this one ends after it.
	Handed func(pid int)
}

// SetHooks is called before Run and TakeOver.
func (s *Server) SetHooks(h Hooks) {
	nothing := func() error { return nil }
	for _, f := range []*func() error{&h.May, &h.Release, &h.Regain} {
		if *f == nil {
			*f = nothing
		}
	}
	if h.Acquire == nil {
		h.Acquire = func(context.Context) error { return nil }
	}
	if h.Handed == nil {
		h.Handed = func(int) {}
	}
	s.hooks = h
}

// hello is what each end says first.
type hello struct {
	Version int
	// PID, Address, Conns and Topics are the giver's.
	PID     int
	Address string
	// TLSAddress is set if there is a listener for TLS: its descriptor is the last.
	TLSAddress string
	Conns      int
	Topics     []broker.Pattern
}

// refusal says why it comes to nothing.
type refusal struct{ Why string }
