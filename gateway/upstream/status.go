package upstream

import "time"

// State is what a server is.
type State uint8

// The states.
const (
	// Up: it gets requests.
	Up State = iota
	// Down: the checks say so.
	Down
	// Ejected: until ServerStatus.EjectedUntil.
	Ejected
	// HalfOpen: its ejection is over; it gets one request, whose end decides.
	HalfOpen
	// Draining: it was removed, and finishes what it has.
	Draining
	states
)

func (s State) String() string {
	return [...]string{"up", "down", "ejected", "half-open", "draining"}[s]
}

// States are all of them, for metrics.
func States() []State { return []State{Up, Down, Ejected, HalfOpen, Draining} }

// ServerStatus is what there is to say of a server.
type ServerStatus struct {
	// Name is its Address in the Config, Address where it is.
	Name, Address string
	Weight        int
	State         State
	// EjectedUntil is set in state Ejected.
	EjectedUntil time.Time
	// Warming says that its weight rises still.
	Warming  bool
	InFlight int
	// Outcomes are its requests that have ended, by [Outcome].
	Outcomes [outcomes]uint64
	// Ejections is how often it was ejected.
	Ejections uint64
	// Latency is the moving average of its answers, by an eighth each; 0 before the first.
	Latency time.Duration
	// LastCheck is why the last check failed; empty if it did not, or there was none.
	LastCheck string
}

// Status is the servers in the order of the Config, then those that drain, at now.
func (p *Pool) Status(now time.Time) []ServerStatus {
	at := p.at(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	if at >= p.due.Load() {
		p.advance(at)
	}
	all := make([]ServerStatus, 0, len(p.servers)+len(p.leaving))
	for _, s := range p.servers {
		all = append(all, p.status(s))
	}
	for _, s := range p.leaving {
		st := p.status(s)
		st.State, st.EjectedUntil, st.Warming = Draining, time.Time{}, false
		all = append(all, st)
	}
	return all
}

func (p *Pool) status(s *Server) ServerStatus {
	c := &s.control
	st := ServerStatus{
		Name: s.Name(), Address: s.address, Weight: c.weight, InFlight: s.InFlight(), Ejections: c.ejections,
		Latency: time.Duration(s.latency.Load()), LastCheck: c.lastCheck, Warming: c.warmFrom != warm,
	}
	switch phase := s.phase.Load(); {
	case !p.isUp(s):
		st.State = Down
	case phase == ejected:
		st.State = Ejected
		st.EjectedUntil = p.epoch.Add(time.Duration(c.until))
	case phase == halfOpen:
		st.State = HalfOpen
	}
	for o := range outcomes {
		st.Outcomes[o] = s.outcomes[o].Load()
	}
	return st
}

// Counters count what a pool did, since it was made; they survive Update.
type Counters struct {
	// Requests is how many were given a server, retries included. None and Full are those that were not.
	Requests, None, Full uint64
	// InPanic is how many of Requests were in panic, Panics how often it began, Panicking whether it is.
	InPanic, Panics uint64
	Panicking       bool
	// Retries and RetriesRefused are the answers of MayRetry.
	Retries, RetriesRefused uint64
	// Ejections; and those that did not come to be since enough servers were ejected.
	Ejections, EjectionsRefused uint64
	// ChecksFailed and ResolveFailures are of checks and names.
	ChecksFailed, ResolveFailures uint64
	// Surplus is how many addresses are not used, since there are MaxServers.
	Surplus int
}

// Counters are the pool's.
func (p *Pool) Counters() Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counters
	c.Requests, c.None, c.Full = p.requests(), p.none.Load(), p.full.Load()
	c.InPanic, c.Panicking = p.inPanic.Load(), p.set.Load().panicking
	return c
}
