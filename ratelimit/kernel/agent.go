package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/bpf/xdp"
	"weir/ratelimit"
)

// Errors of this package, to be tested for with [errors.Is].
var (
	// ErrCuts: a policy would cut off somebody who is protected.
	ErrCuts = errors.New("it would cut off")
	// ErrNothingToConfirm: no policy waits for confirmation.
	ErrNothingToConfirm = errors.New("no policy waits to be confirmed")
)

// Program is the part of xdp.Program that an Agent uses.
type Program interface {
	Replace(p xdp.Policy) error
	Switch(p xdp.Policy, m xdp.Mode) error
	Mode() xdp.Mode
	Listeners() ([]xdp.Listener, error)
	Stamp(listeners []xdp.Listener) (int, error)
	Attach() (xdp.AttachMode, error)
	Attached() (bool, error)
	Find(a netip.Addr) []xdp.Client
	Bind(local, remote netip.AddrPort, identity, class string) error
	Unbind(local, remote netip.AddrPort) error
	Bound(of xdp.ClientName, most int) (some []xdp.Binding, all int, err error)
	ClientOf(a netip.Addr) xdp.ClientName
	FindIdentity(identity string) (xdp.Client, bool)
	Escalate(e xdp.Escalation) error
	Relieve(c xdp.ClientName) (was bool, err error)
	Escalation(c xdp.ClientName, now uint64) (xdp.Escalation, bool)
	Escalations(now uint64) ([]xdp.Escalation, error)
	Sweep(now uint64) (ended int, err error)
}

// Peer is somebody that no policy may cut off.
type Peer struct {
	Addr netip.Addr
	// Why says who it is: "the operator's SSH".
	Why string
}

// Change is a policy to apply.
type Change struct {
	Policy Policy
	// Mode is set with it; nil leaves it.
	Mode *xdp.Mode
	// Confirm is how long the change holds unless [Agent.Confirm] is called; 0: it stays.
	Confirm time.Duration
	// Force applies it though it cuts off a Peer.
	Force bool
	// Peers are protected beside those of the Agent's own.
	Peers []Peer
}

// Agent keeps a policy in the kernel. Make it with [NewAgent]. Its methods may be called from any
// goroutine.
type Agent struct {
	prog  Program
	log   *slog.Logger
	peers func() []Peer

	protected protected

	mu      sync.Mutex
	policy  Policy
	waiting *waiting
	changed chan struct{} // a change waits for confirmation, or no longer does
	refresh chan struct{} // there are listeners that there were not
}

// waiting is what to go back to unless somebody confirms.
type waiting struct {
	policy   Policy
	mode     xdp.Mode
	deadline time.Time
}

// NewAgent applies a first policy and mode, forced: who starts weir by a configuration means it.
// peers, which may be nil, says at each later change whom it may not cut off.
func NewAgent(prog Program, first Policy, m xdp.Mode, peers func() []Peer, log *slog.Logger) (*Agent, error) {
	if peers == nil {
		peers = func() []Peer { return nil }
	}
	a := &Agent{prog: prog, log: log, peers: peers, changed: make(chan struct{}, 1), refresh: make(chan struct{}, 1)}
	if _, err := a.Apply(Change{Policy: first, Mode: &m, Force: true}); err != nil {
		return nil, err
	}
	return a, nil
}

// Policy is the one that holds; until is when it is put back, the zero Time if it stays.
func (a *Agent) Policy() (p Policy, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting != nil {
		until = a.waiting.deadline
	}
	return a.policy.clone(), until
}

func (p Policy) clone() Policy {
	return Policy{Classes: slices.Clone(p.Classes), Entries: slices.Clone(p.Entries), Pass: slices.Clone(p.Pass)}
}

// Apply makes a policy hold, whole or not at all. An error leaves all as it was; one that wraps
// [ErrCuts] names whom it would cut off. Applied while another waits for confirmation, it is what
// held before that which comes back.
func (a *Agent) Apply(c Change) (until time.Time, err error) {
	compiled, err := Compile(c.Policy)
	if err != nil {
		return time.Time{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !c.Force {
		if err := cuts(c.Policy, append(a.peers(), c.Peers...)); err != nil {
			return time.Time{}, err
		}
	}
	back := a.waiting
	if back == nil {
		back = &waiting{policy: a.policy, mode: a.prog.Mode()}
	}
	if err := a.hold(c.Policy.clone(), compiled, c.Mode); err != nil {
		return time.Time{}, err
	}
	a.waiting = nil
	if c.Confirm > 0 {
		back.deadline = time.Now().Add(c.Confirm)
		a.waiting, until = back, back.deadline
	}
	a.wake()
	return until, nil
}

// hold makes a policy hold, and a mode unless it is nil. a.mu is held.
func (a *Agent) hold(p Policy, compiled xdp.Policy, m *xdp.Mode) error {
	var err error
	if m != nil {
		err = a.prog.Switch(compiled, *m)
	} else {
		err = a.prog.Replace(compiled)
	}
	if err == nil {
		a.policy = p
	}
	return err
}

// Refresh has Run look at who listens at once: call it when a listener was opened.
func (a *Agent) Refresh() {
	select {
	case a.refresh <- struct{}{}:
	default:
	}
}

func (a *Agent) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Confirm has the policy that waits for it stay.
func (a *Agent) Confirm() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		return ErrNothingToConfirm
	}
	a.waiting = nil
	a.wake()
	return nil
}

// Edit applies the policy that change makes of the one that holds.
func (a *Agent) Edit(force bool, peers []Peer, change func(p *Policy) error) error {
	p, _ := a.Policy()
	if err := change(&p); err != nil {
		return err
	}
	_, err := a.Apply(Change{Policy: p, Force: force, Peers: peers})
	return err
}

// List lists a prefix in a policy, in place of what was said of it: in a class, allowed, denied; or
// not at all, if e says neither.
func (p *Policy) List(e Entry) {
	e.Prefix = e.Prefix.Masked()
	p.Entries = slices.DeleteFunc(slices.Clone(p.Entries), func(old Entry) bool { return old.Prefix.Masked() == e.Prefix })
	if e.Allow || e.Deny || e.Class != "" {
		p.Entries = append(p.Entries, e)
	}
}

// Find is the entry of a policy that holds for an address, and whether there is one.
func (p Policy) Find(a netip.Addr) (e Entry, found bool) {
	a = a.Unmap()
	for _, candidate := range p.Entries {
		prefix := candidate.Prefix
		if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		if prefix.Contains(a) && (!found || prefix.Bits() > e.Prefix.Bits()) {
			e, found = candidate, true
			e.Prefix = prefix
		}
	}
	return e, found
}

// ClassOf is the class that a policy gives an address.
func (p Policy) ClassOf(a netip.Addr) Class {
	name := Default
	if e, found := p.Find(a); found && e.Class != "" {
		name = e.Class
	}
	return p.named(name)
}

// named is the class of a name, one without quotas if there is none.
func (p Policy) named(name string) Class {
	for _, c := range p.Classes {
		if c.Name == name {
			return c
		}
	}
	return Class{Name: name}
}

// What an SSH session, or a bus's link, needs at least: below it a policy cuts it off.
const (
	leastPackets = 20
	leastBytes   = 10_000
)

// cuts says whom of the peers a policy cuts off; nil if nobody.
func cuts(p Policy, peers []Peer) error {
	var errs []error
	for _, peer := range peers {
		e, found := p.Find(peer.Addr)
		c := p.ClassOf(peer.Addr)
		how := ""
		switch {
		case found && e.Allow:
		case found && e.Deny:
			how = fmt.Sprintf("%v is denied", e.Prefix)
		case c.Client.Packets.Count > 0 && ratelimit.PerSecond(c.Client.Packets) < leastPackets:
			how = fmt.Sprintf("class %s has %v packets", c.Name, c.Client.Packets)
		case c.Client.Bytes.Bytes > 0 && ratelimit.PerSecond(ratelimit.Rate{Count: c.Client.Bytes.Bytes, Per: c.Client.Bytes.Per}) < leastBytes:
			how = fmt.Sprintf("class %s has %v", c.Name, c.Client.Bytes)
		}
		if how != "" {
			errs = append(errs, fmt.Errorf("%w %v (%s): %s: allow %v, or force it", ErrCuts, peer.Addr, peer.Why, how, peer.Addr))
		}
	}
	return errors.Join(errs...)
}

// Times of Run.
const (
	stampInterval  = 30 * time.Second // listeners forget after two minutes
	attachInterval = time.Second
)

// Run does what has to be done from time to time, until ctx ends: it puts a policy back that nobody
// confirmed, tells listeners to expect cookies, attaches the program when its interface has gone and
// come back, and takes off escalations that are over.
func (a *Agent) Run(ctx context.Context) error {
	stamp, attach := time.NewTicker(stampInterval), time.NewTicker(attachInterval)
	defer stamp.Stop()
	defer attach.Stop()
	back := time.NewTimer(time.Hour)
	defer back.Stop()
	state := watch{attached: true}
	a.stamp(&state)
	for {
		back.Reset(a.remaining())
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		case <-a.refresh:
			a.stamp(&state)
		case <-back.C:
			a.rollBack()
		case <-stamp.C:
			a.stamp(&state)
		case <-attach.C:
			a.attach(&state)
			a.sweep(&state)
		}
	}
}

// remaining is how long the policy that waits may still be confirmed.
func (a *Agent) remaining() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		return time.Hour
	}
	return max(time.Until(a.waiting.deadline), 0)
}

func (a *Agent) rollBack() {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waiting
	if w == nil || time.Now().Before(w.deadline) {
		return
	}
	a.waiting = nil
	compiled, err := Compile(w.policy)
	if err == nil {
		err = a.hold(w.policy, compiled, &w.mode)
	}
	if err != nil {
		a.log.Error("the policy before was not put back", "err", err)
		return
	}
	a.log.Warn("nobody confirmed the policy: the one before holds again")
}

// watch is what Run has seen, so that it says a thing once.
type watch struct {
	attached bool
	stampErr bool
	sweepErr bool
	looked   time.Time // at who is protected
}

func (a *Agent) stamp(w *watch) {
	listeners, err := a.prog.Listeners()
	if err == nil {
		_, err = a.prog.Stamp(listeners)
	}
	if err != nil && !w.stampErr {
		a.log.Warn("listeners are not told to expect cookies: a flood of syns is dropped instead of answered", "err", err)
	}
	w.stampErr = err != nil
}

func (a *Agent) attach(w *watch) {
	attached, err := a.prog.Attached()
	if err == nil && !attached {
		_, err = a.prog.Attach()
		if err == nil {
			a.log.Info("quotas are on the interface again")
			attached = true
		}
	}
	if !attached && w.attached {
		a.log.Warn("no quotas: the interface has gone; they are back when it is", "err", err)
	}
	w.attached = attached
}
