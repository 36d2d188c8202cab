package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"weir/bpf/xdp"
	"weir/ratelimit"
)

// Client is what a quota charges: a prefix as wide as a slot, which [Agent.ClientOf] says of an address, or an
// identity: the subject of a token, or the name of an API key, never the key itself. At the gateway, the edge and
// the NIC it is the same one.
type Client = xdp.ClientName

// Escalation says how a client is cut below its quotas, and until when.
type Escalation struct {
	// Policy is the name of the policy that it kept exceeding.
	Policy string
	// Until is when it comes back by itself, or For how long it is cut: one of the two.
	Until time.Time
	For   time.Duration
	// Packets may pass meanwhile, so that it can be told why and its connections can end. A zero rate is none at
	// all. PacketBurst is by default a second's.
	Packets     ratelimit.Rate
	PacketBurst uint64
	// AllowNew lets it open new connections, as far as Packets goes.
	AllowNew bool
}

// EscalatedClient is a client that is escalated.
type EscalatedClient struct {
	Client Client
	// Policy is the one that it kept exceeding: its first 32 bytes.
	Policy       string
	Since, Until time.Time
	// Dropped are the packets dropped for it so far, in mode shadow those that would be; Refused of them were
	// new connections.
	Dropped, Refused uint64
	// Key is that of its slot: xdp.Client.Key.
	Key uint64
}

// Bind has the packets of an established connection charged to an identity, under a class of the policy by its
// name, whatever policy holds, and no longer to the remote address. Local and remote are what the kernel's sockets
// have. A new connection cannot be told by its identity, so it is to be called as soon as the token was seen: an
// identity that is escalated is cut from the next packet on. It is for event loops, and allocates nothing. An error
// that wraps xdp.ErrFull says that there is no room: the connection stays its address's, which is counted.
func (a *Agent) Bind(local, remote netip.AddrPort, identity, class string) error {
	return a.prog.Bind(local, remote, identity, class)
}

// Unbind ends that, when the connection does. It is no error if the kernel's side was faster. For event loops, as
// [Agent.Bind].
func (a *Agent) Unbind(local, remote netip.AddrPort) error { return a.prog.Unbind(local, remote) }

// ClientOf is the client that an address is, as long as nothing else is known of it.
func (a *Agent) ClientOf(addr netip.Addr) Client { return a.prog.ClientOf(addr) }

// Escalate cuts a client until a time; called again for one that is cut, it changes how and until when. What it
// wants of the kernel holds without weir: it ends by itself. Of a prefix every packet counts but those of
// connections bound to an identity; of an identity those of its bound connections. Whoever the operator allows is
// not cut, whatever is said here. An error that wraps [ErrCuts] says that the prefix is that of an [Agent]'s peer, one
// that wraps xdp.ErrFull that too many are cut. It may wait for a policy that is being applied: it is not for event
// loops.
func (a *Agent) Escalate(c Client, e Escalation) error {
	lasts := e.For
	if !e.Until.IsZero() {
		if e.For != 0 {
			return fmt.Errorf("escalate %v: until %v, and for %v: want one of the two", c, e.Until, e.For)
		}
		lasts = time.Until(e.Until)
	}
	if lasts <= 0 {
		return fmt.Errorf("escalate %v: for %v: want a time to come", c, lasts)
	}
	var k compiler
	packets := k.quota("packets", e.Packets, e.PacketBurst)
	if err := errors.Join(k.errs...); err != nil {
		return fmt.Errorf("escalate %v: %w", c, err)
	}
	for _, peer := range a.protected.peers(a.peers) {
		if c.Identity == "" && c.Prefix.Contains(peer.Addr.Unmap()) {
			return fmt.Errorf("escalate %v: %w %v (%s)", c, ErrCuts, peer.Addr, peer.Why)
		}
	}
	now := xdp.Now()
	return a.prog.Escalate(xdp.Escalation{
		Client: c, Policy: e.Policy, SinceNanos: now, UntilNanos: now + uint64(lasts), Packets: packets, AllowNew: e.AllowNew,
	})
}

// Relieve ends an escalation before its time, and reports whether there was one.
func (a *Agent) Relieve(c Client) (was bool, err error) { return a.prog.Relieve(c) }

// Escalated are the clients that are cut now, in no order.
func (a *Agent) Escalated() ([]EscalatedClient, error) {
	now, wall := xdp.Now(), time.Now()
	all, err := a.prog.Escalations(now)
	if err != nil {
		return nil, err
	}
	clients := make([]EscalatedClient, len(all))
	for i, e := range all {
		clients[i] = EscalatedClient{
			Client: e.Client, Policy: e.Policy, Since: at(wall, now, e.SinceNanos), Until: at(wall, now, e.UntilNanos),
			Dropped: e.Dropped, Refused: e.Refused, Key: e.Key,
		}
	}
	return clients, nil
}

// at is a time of CLOCK_MONOTONIC, given what time it is by both clocks.
func at(wall time.Time, now, nanos uint64) time.Time {
	return wall.Add(time.Duration(nanos - now)) //nolint:gosec // it may be negative
}

// peersInterval is how long it is known who is connected: to find out reads a line for each socket of the host.
const peersInterval = time.Minute

// protected is who may not be cut off, as of a moment ago.
type protected struct {
	mu   sync.Mutex
	at   time.Time
	list []Peer
}

func (p *protected) peers(find func() []Peer) []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.IsZero() || time.Since(p.at) >= peersInterval {
		p.list, p.at = find(), time.Now()
	}
	return p.list
}

// sweep takes off escalations that are over, and those of who is protected by now.
func (a *Agent) sweep(w *watch) {
	now := xdp.Now()
	_, err := a.prog.Sweep(now)
	if err != nil && !w.sweepErr {
		a.log.Warn("escalations that are over are not taken off: they hold no longer, and take room", "err", err)
	}
	w.sweepErr = err != nil
	if time.Since(w.looked) < peersInterval {
		return
	}
	w.looked = time.Now()
	all, err := a.prog.Escalations(now)
	if err != nil || len(all) == 0 {
		return
	}
	peers := a.protected.peers(a.peers)
	for _, e := range all {
		for _, peer := range peers {
			if e.Client.Identity != "" || !e.Client.Prefix.Contains(peer.Addr.Unmap()) {
				continue
			}
			if was, err := a.prog.Relieve(e.Client); was || err != nil {
				a.log.Warn("a client is no longer cut, as it is protected", "client", e.Client, "why", peer.Why, "err", err)
			}
		}
	}
}
