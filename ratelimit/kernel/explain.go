package kernel

import (
	"net/netip"
	"strconv"
	"time"

	"weir/bpf/xdp"
)

// Explanation says what holds for a client: an address, or an identity.
type Explanation struct {
	Client string `json:"client"`
	Mode   string `json:"mode"`
	Class  string `json:"class"`
	// Listed is the prefix of the policy that it is in, if any.
	Listed  string `json:"listed,omitempty"`
	Allowed bool   `json:"allowed,omitempty"`
	Denied  bool   `json:"denied,omitempty"`
	// Proved says that it has a slot: it has completed a handshake, or its class asks for none.
	Proved bool `json:"proved"`
	// Slots are what it is charged to: its client, and the wider prefixes.
	Slots []SlotState `json:"slots,omitempty"`
	// Escalated says that it is cut below its quotas for a time.
	Escalated *EscalationState `json:"escalated,omitempty"`
	// Bound are connections that are charged to identities, at most 20: of an identity its own, of an address those
	// that come from it. BoundAll is how many there are.
	Bound    []BoundConn `json:"bound,omitempty"`
	BoundAll int         `json:"bound_all,omitempty"`
	// Text is all of it in a sentence.
	Text string `json:"text"`
}

// EscalationState is how a client is cut.
type EscalationState struct {
	// Policy is the name of what it kept exceeding.
	Policy    string `json:"policy"`
	SinceAgo  string `json:"since_ago"`
	EndsIn    string `json:"ends_in"`
	Dropped   uint64 `json:"dropped"`
	Refused   uint64 `json:"refused_new"` // of those, new connections
	AllowsNew bool   `json:"allows_new,omitempty"`
}

// BoundConn is a connection that is charged to an identity.
type BoundConn struct {
	Remote string `json:"remote"`
	Local  string `json:"local"`
	// Identity is its name's first 16 bytes.
	Identity string `json:"identity"`
	Class    string `json:"class"`
}

// SlotState is a client's state in the table.
type SlotState struct {
	// Prefix is the client's, or the name of an identity.
	Prefix      string       `json:"prefix"`
	Packets     uint64       `json:"packets"`
	Dropped     uint64       `json:"dropped"`
	Spared      uint64       `json:"spared,omitempty"` // of those, passed in mode shadow
	LastReason  string       `json:"last_reason,omitempty"`
	LastMeans   string       `json:"last_reason_means,omitempty"`
	Connections int          `json:"connections"`
	HalfOpen    int          `json:"half_open"`
	SeenAgo     string       `json:"seen_ago"`
	Quotas      []QuotaState `json:"quotas,omitempty"`
}

// QuotaState is what of a quota is left.
type QuotaState struct {
	Name string `json:"name"`
	Rate string `json:"rate"`
	Left uint64 `json:"left"`
	// NextIn is when the next one passes: 0s if it would now.
	NextIn string `json:"next_in,omitempty"`
}

// concurrent is the name of the quota that has no rate.
const concurrent = "concurrent"

// Explain says what holds for an address at now, nanoseconds of CLOCK_MONOTONIC ([xdp.Now]).
func (a *Agent) Explain(addr netip.Addr, now uint64) Explanation {
	addr = addr.Unmap()
	p, _ := a.Policy()
	class := p.ClassOf(addr)
	e := Explanation{Client: addr.String(), Mode: a.prog.Mode().String(), Class: class.Name}
	if entry, found := p.Find(addr); found {
		e.Listed, e.Allowed, e.Denied = entry.Prefix.String(), entry.Allow, entry.Deny
	}
	compiled, _ := class.compile() // what holds was compiled before: nothing is wrong with it
	for _, c := range a.prog.Find(addr) {
		quotas, level := class.Client, compiled.Client
		if isAggregate(c.Prefix, class.Aggregate) {
			quotas, level = class.Aggregate, compiled.Aggregate
		}
		e.Slots = append(e.Slots, slotState(c, quotas, level, now))
	}
	e.Proved = len(e.Slots) > 0
	e.told(a, p, Client{Prefix: netip.PrefixFrom(addr, addr.BitLen())}, a.prog.ClientOf(addr), now)
	e.Text = e.sentence()
	return e
}

// ExplainIdentity is [Agent.Explain] of an identity: what it is charged to is one slot, whatever addresses its
// connections come from.
func (a *Agent) ExplainIdentity(identity string, now uint64) Explanation {
	p, _ := a.Policy()
	e := Explanation{Client: identity, Mode: a.prog.Mode().String(), Class: Default}
	c, found := a.prog.FindIdentity(identity)
	if found {
		e.Class = p.Name(c.Class)
	}
	e.told(a, p, Client{Identity: identity}, Client{Identity: identity}, now)
	if len(e.Bound) > 0 { // the slot's may be one of the policy before, until its next packet
		e.Class = e.Bound[0].Class
	}
	e.Proved = found || e.BoundAll > 0
	if found {
		class := p.named(e.Class)
		compiled, _ := class.compile() // what holds was compiled before: nothing is wrong with it
		s := slotState(c, class.Client, compiled.Client, now)
		s.Prefix = identity
		e.Slots = []SlotState{s}
	}
	e.Text = e.sentence()
	return e
}

// mostBound is how many connections an explanation has.
const mostBound = 20

// told adds what the program was told of a client beside the policy: of whom connections are bound, and who is
// escalated.
func (e *Explanation) told(a *Agent, p Policy, bound, escalated Client, now uint64) {
	some, all, err := a.prog.Bound(bound, mostBound)
	if err != nil { // it is closed
		return
	}
	e.BoundAll = all
	for _, b := range some {
		e.Bound = append(e.Bound, BoundConn{b.Remote.String(), b.Local.String(), b.Name, p.Name(b.Class)})
	}
	if x, is := a.prog.Escalation(escalated, now); is {
		e.Escalated = &EscalationState{
			Policy: x.Policy, SinceAgo: nanos(now - min(x.SinceNanos, now)), EndsIn: nanos(x.UntilNanos - now),
			Dropped: x.Dropped, Refused: x.Refused, AllowsNew: x.AllowNew,
		}
	}
}

// nanos is a time in words, to the millisecond.
func nanos(n uint64) string { return time.Duration(n).Round(time.Millisecond).String() } //nolint:gosec // years at most

func isAggregate(p netip.Prefix, q Quotas) bool {
	if p.Addr().Is4() {
		return q.IPv4Bits != 0 && p.Bits() == q.IPv4Bits
	}
	return q.IPv6Bits != 0 && p.Bits() == q.IPv6Bits
}

func slotState(c xdp.Client, q Quotas, l xdp.Level, now uint64) SlotState {
	s := SlotState{
		Prefix: c.Prefix.String(), Packets: c.Packets, Dropped: c.Dropped, Spared: c.Spared,
		Connections: c.Connections, HalfOpen: c.HalfOpen,
		SeenAgo: nanos(now - min(c.SeenNanos, now)),
	}
	if c.Dropped > 0 {
		s.LastReason, s.LastMeans = c.Reason.String(), c.Reason.Means()
	}
	add := func(name, rate string, left uint64, wait time.Duration) {
		s.Quotas = append(s.Quotas, QuotaState{name, rate, left, wait.String()})
	}
	if l.Packets.Interval != 0 {
		left, wait := l.Packets.Left(c.PacketTAT, now)
		add("packets", q.Packets.String(), left, wait)
	}
	if l.Bytes.Mult != 0 {
		left, wait := l.Bytes.Left(c.ByteTAT, now)
		add("bytes", q.Bytes.String(), left, wait)
	}
	if l.Connections.Interval != 0 {
		left, wait := l.Connections.Left(c.ConnectionTAT, now)
		add("connections", q.Connections.String(), left, wait)
	}
	if l.Concurrent != 0 {
		left := int(l.Concurrent) - c.Connections - c.HalfOpen
		s.Quotas = append(s.Quotas, QuotaState{Name: concurrent, Rate: strconv.Itoa(int(l.Concurrent)), Left: uint64(max(left, 0))}) //nolint:gosec // not negative
	}
	return s
}

func (e Explanation) sentence() string {
	switch {
	case e.Mode == xdp.ModeOff.String():
		return "the mode is off: all packets pass"
	case e.Allowed:
		return "no quota holds for it: " + e.Listed + " is allowed"
	case e.Denied:
		return "nothing of it passes: " + e.Listed + " is denied"
	case e.Escalated != nil:
		return "it is cut for " + e.Escalated.EndsIn + " more, as it kept exceeding policy " + e.Escalated.Policy + ": then it comes back by itself"
	case !e.Proved:
		return "it has no slot: it has not completed a handshake lately, or owes nothing; its packets are charged to class " + e.Class + "'s budget of unproved sources"
	}
	if len(e.Slots) == 0 {
		return "its next packet passes: it owes nothing"
	}
	s := e.Slots[0]
	for _, q := range s.Quotas {
		if q.Left == 0 && q.Name != concurrent {
			return "its next packet passes in " + q.NextIn + ": it has used up its " + q.Name + " (" + q.Rate + ")"
		}
		if q.Left == 0 {
			return "its next connection passes when one of its connections has ended"
		}
	}
	return "its next packet passes"
}
