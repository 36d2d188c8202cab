package upstream

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelServer is a server as the documentation has it, one step at a time.
type modelServer struct {
	address  string
	inFlight int
	failures int
	ejected  bool
	halfOpen bool
	until    time.Time
	since    time.Time
	strange  int // in flight when it became half-open
	trialAt  time.Time
	count    int
	up       bool
	checked  bool
	streak   int
	leftAt   time.Time
}

func (m *modelServer) bad() bool { return !m.up || m.ejected || m.halfOpen }

func (m *modelServer) state() State {
	switch {
	case !m.up:
		return Down
	case m.ejected:
		return Ejected
	case m.halfOpen:
		return HalfOpen
	}
	return Up
}

// request is one in flight.
type request struct {
	server *Server
	of     *modelServer
	at     time.Time
}

// model is a pool and what it has to be.
type model struct {
	pool     *Pool
	cfg      Config
	now      time.Time
	members  []*modelServer
	leaving  []*modelServer
	requests []request
}

func newModel(t *rapid.T) *model {
	m := &model{now: epoch, cfg: Config{
		Servers:      servers(rapid.IntRange(1, 12).Draw(t, "servers")),
		Balance:      rapid.SampledFrom([]Balance{LeastRequest, RoundRobin, Hash}).Draw(t, "balance"),
		MaxConns:     rapid.IntRange(0, 4).Draw(t, "MaxConns"),
		PanicPercent: rapid.SampledFrom([]int{30, 50, 100}).Draw(t, "PanicPercent"),
		Health:       Health{Interval: time.Second, Rise: rapid.IntRange(1, 3).Draw(t, "Rise"), Fall: rapid.IntRange(1, 3).Draw(t, "Fall")},
		Ejection: Ejection{
			ConsecutiveGateway: rapid.IntRange(1, 3).Draw(t, "Consecutive"), Interval: time.Hour, StdevFactor: -1,
			Base: 10 * time.Second, Max: 25 * time.Second, MaxPercent: rapid.SampledFrom([]int{10, 30, 100}).Draw(t, "MaxPercent"),
		},
	}}
	var err error
	if m.pool, err = New(m.cfg, seeded(), m.now); err != nil {
		t.Fatal(err)
	}
	for _, s := range m.cfg.Servers {
		m.members = append(m.members, &modelServer{address: s.Address, up: true})
	}
	return m
}

func (m *model) gone() (n int) {
	for _, s := range m.members {
		if s.ejected || s.halfOpen {
			n++
		}
	}
	return n
}

func (m *model) mayEject() int {
	if len(m.members) < 2 {
		return 0
	}
	return max(1, len(m.members)*m.cfg.Ejection.MaxPercent/100)
}

func (m *model) panicking() bool {
	n := 0
	for _, s := range m.members {
		if s.bad() {
			n++
		}
	}
	return n*100 > m.cfg.PanicPercent*len(m.members)
}

// may reports whether a server may have a request.
func (m *model) may(s *modelServer) bool {
	if m.cfg.MaxConns > 0 && s.inFlight >= m.cfg.MaxConns {
		return false
	}
	if m.panicking() {
		return true
	}
	return s.up && !s.ejected && (!s.halfOpen || !m.now.Before(s.trialAt))
}

func (m *model) eject(s *modelServer) {
	s.count = min(s.count+1, 3)
	s.until = m.now.Add(min(time.Duration(s.count)*10*time.Second, 25*time.Second))
	s.ejected, s.halfOpen, s.failures = true, false, 0
}

func (m *model) find(t *rapid.T, address string) *modelServer {
	for _, s := range m.members {
		if s.address == address {
			return s
		}
	}
	t.Fatalf("%s is none of the servers", address)
	return nil
}

func (m *model) pick(t *rapid.T) {
	var tried Tried
	var avoid []*modelServer
	for range rapid.IntRange(1, 3).Draw(t, "attempts") {
		fresh := slices.ContainsFunc(m.members, func(s *modelServer) bool { return m.may(s) && !slices.Contains(avoid, s) })
		any := slices.ContainsFunc(m.members, m.may)
		full := m.cfg.MaxConns > 0 && slices.ContainsFunc(m.members, func(s *modelServer) bool {
			return s.inFlight >= m.cfg.MaxConns && (m.panicking() || s.up && !s.ejected)
		})
		server, err := m.pool.Pick(m.now, rapid.Uint64().Draw(t, "key"), &tried)
		if err != nil {
			want := ErrNone
			if full {
				want = ErrFull
			}
			if any || !errors.Is(err, want) {
				t.Fatalf("refused by %v, want %v; a server may: %v", err, want, any)
			}
			return
		}
		s := m.find(t, server.address)
		if !m.may(s) {
			t.Fatalf("%+v may not have a request", *s)
		}
		if fresh && slices.Contains(avoid, s) {
			t.Fatalf("%s again", s.address)
		}
		if s.halfOpen && !m.panicking() {
			s.trialAt = m.now.Add(10 * time.Second)
		}
		s.inFlight++
		if s.inFlight != server.InFlight() {
			t.Fatalf("%s has %d in flight, not %d", s.address, s.inFlight, server.InFlight())
		}
		avoid = append(avoid, s)
		m.requests = append(m.requests, request{server, s, m.now})
	}
}

func (m *model) done(t *rapid.T) {
	if len(m.requests) == 0 {
		t.Skip("none in flight")
	}
	i := rapid.IntRange(0, len(m.requests)-1).Draw(t, "request")
	r := m.requests[i]
	m.requests = slices.Delete(m.requests, i, i+1)
	o := rapid.SampledFrom([]Outcome{OK, Status5xx, GatewayError, ConnectFailed, TimedOut, Broken, Broken, Canceled}).Draw(t, "outcome")
	r.server.Done(m.now, o, m.now.Sub(r.at))
	s := r.of
	s.inFlight--
	member := slices.Contains(m.members, s)
	gateway := o != OK && o != Status5xx && o != Canceled
	switch {
	case s.ejected:
	case s.halfOpen:
		if r.at.Before(s.since) && s.strange > 0 {
			s.strange--
			return
		}
		switch {
		case o == Canceled:
			s.trialAt = time.Time{}
		case o == OK || !member:
			s.halfOpen, s.failures = false, 0
		default:
			m.eject(s)
		}
	case gateway:
		s.failures++
		if s.failures%m.cfg.Ejection.ConsecutiveGateway == 0 && member && m.gone() < m.mayEject() {
			m.eject(s)
		}
	case o != Canceled:
		s.failures = 0
	}
}

func (m *model) check(t *rapid.T) {
	i := rapid.IntRange(0, len(m.members)-1).Draw(t, "server")
	s, ok := m.members[i], rapid.Bool().Draw(t, "healthy")
	var err error
	if !ok {
		err = errCheck
	}
	m.pool.checked(m.pool.members()[i], m.pool.at(m.now), err)
	if s.up == ok {
		s.streak, s.checked = 0, true
		return
	}
	s.streak++
	need := m.cfg.Health.Fall
	if ok {
		need = m.cfg.Health.Rise
	}
	if !s.checked || s.streak >= need {
		s.up, s.streak = ok, 0
	}
	s.checked = true
}

func (m *model) update(t *rapid.T) {
	m.leaving = slices.DeleteFunc(m.leaving, func(s *modelServer) bool {
		return s.inFlight == 0 && m.now.Sub(s.leftAt) >= time.Second
	})
	before := m.members
	m.cfg.MaxConns = rapid.IntRange(0, 4).Draw(t, "MaxConns")
	m.cfg.Servers, m.members = nil, nil
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 13), 1, 12, rapid.ID[int]).Draw(t, "servers") {
		address := fmt.Sprintf("192.0.2.%d:80", i)
		m.cfg.Servers = append(m.cfg.Servers, ServerConfig{Address: address})
		same := func(s *modelServer) bool { return s.address == address }
		if j := slices.IndexFunc(before, same); j >= 0 {
			m.members = append(m.members, before[j])
		} else if j := slices.IndexFunc(m.leaving, same); j >= 0 {
			s := m.leaving[j]
			s.up, s.checked, s.streak = true, false, 0
			m.members = append(m.members, s)
			m.leaving = slices.Delete(m.leaving, j, j+1)
		} else {
			m.members = append(m.members, &modelServer{address: address, up: true})
		}
	}
	for _, s := range before {
		if !slices.Contains(m.members, s) {
			s.leftAt = m.now
			m.leaving = append(m.leaving, s)
		}
	}
	for m.gone() > m.mayEject() {
		var first *modelServer
		for _, s := range m.members {
			if (s.ejected || s.halfOpen) && (first == nil || s.until.Before(first.until)) {
				first = s
			}
		}
		first.ejected, first.halfOpen, first.failures = false, false, 0
	}
	if err := m.pool.Update(m.cfg, m.now); err != nil {
		t.Fatal(err)
	}
}

// compare brings both to now, and finds where they differ.
func (m *model) compare(t *rapid.T) {
	for _, s := range m.members {
		if s.ejected && !m.now.Before(s.until) {
			s.ejected, s.halfOpen, s.since, s.strange, s.trialAt = false, true, m.now, s.inFlight, time.Time{}
		}
	}
	status := m.pool.Status(m.now)
	for i, s := range m.members {
		st := status[i]
		if st.Address != s.address || st.State != s.state() || st.InFlight != s.inFlight {
			t.Fatalf("it is %+v, want %v, %+v", st, s.state(), *s)
		}
		if st.State == Ejected && !st.EjectedUntil.Equal(s.until) {
			t.Fatalf("%s is ejected until %v, want %v", s.address, st.EjectedUntil, s.until)
		}
	}
	if c := m.pool.Counters(); c.Panicking != m.panicking() {
		t.Fatalf("panic is %v", c.Panicking)
	}
	if m.gone() > m.mayEject() {
		t.Fatalf("%d are ejected", m.gone())
	}
	held := 0
	for _, st := range status {
		held += st.InFlight
	}
	if held != len(m.requests) {
		t.Fatalf("%d in flight, want %d", held, len(m.requests))
	}
}

// TestAPoolIsAsDocumented holds a pool to the model through any order of picks, outcomes, checks, times and updates.
func TestAPoolIsAsDocumented(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"pick":      m.pick,
			"pick more": m.pick,
			"done":      m.done,
			"done more": m.done,
			"check":     m.check,
			"update":    m.update,
			"wait": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 12_000).Draw(t, "ms")) * time.Millisecond)
			},
			"": m.compare,
		})
	})
}
