package upstream

import (
	"sync/atomic"
	"time"
)

// Outcome is how a request at a server ended.
type Outcome uint8

// The outcomes.
const (
	// OK: it was answered, by anything but a 5xx.
	OK Outcome = iota
	// Status5xx: by 500 or above, but for the three below.
	Status5xx
	// GatewayError: by 502, 503 or 504, from a server that has or is a proxy, or is overloaded.
	GatewayError
	// ConnectFailed: no connection.
	ConnectFailed
	// TimedOut: no answer in time.
	TimedOut
	// Broken: the connection ended before the answer did, or what came was no answer.
	Broken
	// Canceled: the client went away, or broke the rules. It says nothing of the server.
	Canceled
	outcomes
)

func (o Outcome) String() string {
	return [...]string{"ok", "5xx", "gateway_error", "connect_failed", "timed_out", "broken", "canceled"}[o]
}

// Failure is the name of an outcome without a whole answer, empty with one.
func (o Outcome) Failure() string {
	if o <= GatewayError {
		return ""
	}
	return o.String()
}

// Outcomes are all of them, for metrics.
func Outcomes() []Outcome {
	return []Outcome{OK, Status5xx, GatewayError, ConnectFailed, TimedOut, Broken, Canceled}
}

// OutcomeOf is that of an answer by its status code.
func OutcomeOf(status int) Outcome {
	switch {
	case status >= 502 && status <= 504:
		return GatewayError
	case status >= 500:
		return Status5xx
	}
	return OK
}

// phase is whether what requests met has a server ejected.
type phase = uint32

const (
	normal phase = iota
	ejected
	// halfOpen: its time is over; the end of one request decides.
	halfOpen
)

// Server is one of a [Pool]'s, by one address. Its methods may be called from any goroutine.
type Server struct {
	pool    *Pool
	address string
	hash    uint64                 // of the address
	name    atomic.Pointer[string] // another one, if another Config has it by another name
	control control

	_        [64]byte // what requests move is on cache lines of its own
	inFlight atomic.Int64
	latency  atomic.Int64 // of answers, nanoseconds, moving average; one of two that end together may be lost
	// failures and gateway count those in a row.
	failures, gateway atomic.Int32
	phase             atomic.Uint32
	// since is when it became half-open, strangers how many requests were in flight then, trialAt when the next
	// trial may begin.
	since, strangers, trialAt atomic.Int64
	outcomes                  [outcomes]atomic.Uint64
	_                         [64]byte
}

// control is what the pool's mutex guards.
type control struct {
	slot      uint8
	weight    int
	leftAt    int64  // when it was removed
	up        bool   // by the checks
	checked   bool   // at least once
	streak    int    // checks in a row against what it is
	lastCheck string // why the last one failed; empty if it did not
	until     int64  // ejected
	count     int    // of ejections, falling again
	ejections uint64 // all
	warmFrom  int64  // slow start; cold if it has none
	// sweptOK and swept are what requests there had been at the last sweep.
	sweptOK, swept uint64
}

// warm is a warmFrom of a server in no slow start.
const warm = -1

// Address is where it is: host:port, the host an address.
func (s *Server) Address() string { return s.address }

// Name is its Address in the Config, which may have a name for a host.
func (s *Server) Name() string { return *s.name.Load() }

// InFlight is how many requests it has.
func (s *Server) InFlight() int { return int(s.inFlight.Load()) }

// Done gives back the slot that [Pool.Pick] took, once, with how the request ended at now, and how long after the Pick
// that was. It panics if there is no slot to give back. It allocates nothing, but for an ejection or the end of one.
func (s *Server) Done(now time.Time, o Outcome, latency time.Duration) {
	at := s.pool.at(now)
	s.outcomes[o].Add(1)
	if o <= GatewayError {
		s.note(int64(max(latency, 0)))
	}
	if s.inFlight.Add(-1) < 0 {
		panic("upstream: a slot is given back that was not taken")
	}
	switch s.phase.Load() {
	case normal:
		s.judge(at, o)
	case halfOpen:
		// What began before the ejection's end is no trial.
		if at-int64(latency) < s.since.Load() && s.strangers.Add(-1) >= 0 {
			return
		}
		if o == Canceled {
			s.trialAt.Store(0)
			return
		}
		s.pool.conclude(s, at, o == OK)
	}
}

// note takes a latency into the average, by an eighth.
func (s *Server) note(latency int64) {
	mean := s.latency.Load()
	if mean == 0 {
		mean = latency
	}
	s.latency.Store(mean + (latency-mean)/8)
}

// judge counts failures in a row, and ejects.
func (s *Server) judge(at int64, o Outcome) {
	switch o {
	case Canceled:
		return
	case OK:
		if s.failures.Load() != 0 {
			s.failures.Store(0)
			s.gateway.Store(0)
		}
		return
	}
	e := &s.pool.set.Load().cfg.Ejection
	failures, gateway := int(s.failures.Add(1)), 0
	if o == Status5xx {
		s.gateway.Store(0)
	} else {
		gateway = int(s.gateway.Add(1))
	}
	if over(failures, e.Consecutive5xx) || over(gateway, e.ConsecutiveGateway) {
		s.pool.eject(s, at)
	}
}

// over reports whether a count has reached a bound once more: what could not be ejected is tried again after as many.
func over(count, bound int) bool { return bound > 0 && count > 0 && count%bound == 0 }

// requests is how many it was given, and of those that ended and say something of it, how many and how many well.
func (s *Server) requests() (given, judged, ok uint64) {
	for o := range outcomes {
		n := s.outcomes[o].Load()
		given += n
		if o != Canceled {
			judged += n
		}
	}
	return given + uint64(max(s.inFlight.Load(), 0)), judged, s.outcomes[OK].Load() //nolint:gosec // not negative
}
