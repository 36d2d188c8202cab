package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
)

// ClientName says which client: a prefix as wide as a slot ([Program.ClientOf]), or an identity.
type ClientName struct {
	Prefix   netip.Prefix
	Identity string // 1 to 128 bytes; empty: it is the prefix
}

// String is the prefix, or the identity's name.
func (c ClientName) String() string {
	if c.Identity != "" {
		return c.Identity
	}
	return c.Prefix.String()
}

// Escalation is a client cut below its quotas for a time.
type Escalation struct {
	Client ClientName
	// Policy is the name of what it kept exceeding, at most 32 bytes, the rest is cut.
	Policy string
	// UntilNanos is when it ends by itself, SinceNanos when it began: nanoseconds of CLOCK_MONOTONIC.
	UntilNanos, SinceNanos uint64
	// Packets may pass meanwhile, and are charged to the client's own quotas then. The zero value is none.
	Packets Quota
	// AllowNew lets it open new connections, as far as Packets goes.
	AllowNew bool
	// Dropped are the packets dropped for it so far, in [ModeShadow] those that would be; Refused of them
	// were new connections.
	Dropped, Refused uint64
	// Key is that of the client's slot, see [Client.Key].
	Key uint64
}

// ClientOf is the client that an address is, where nothing else is known of it: its slot's prefix.
func (p *Program) ClientOf(a netip.Addr) ClientName {
	a = a.Unmap().WithZone("")
	at, err := a.Prefix(p.width(a))
	if err != nil { // the zero Addr
		return ClientName{}
	}
	return ClientName{Prefix: at}
}

func (p *Program) width(a netip.Addr) int {
	if a.Is4() {
		return p.cfg.IPv4PrefixBits
	}
	return p.cfg.IPv6PrefixBits
}

// Key is that of a client's slot. The error says which prefix is a client, if this one is none.
func (p *Program) Key(c ClientName) (uint64, error) {
	if c.Identity != "" {
		if len(c.Identity) > maxIdentity {
			return 0, fmt.Errorf("client %.20s…: an identity of %d bytes: want %d at most", c.Identity, len(c.Identity), maxIdentity)
		}
		if c.Prefix.IsValid() {
			return 0, fmt.Errorf("client %s: it is both an identity and %v: want one", c.Identity, c.Prefix)
		}
		return p.identityKey(c.Identity), nil
	}
	if !c.Prefix.IsValid() {
		return 0, errors.New("client: want a prefix such as 192.0.2.7/32, or an identity")
	}
	if is := p.ClientOf(c.Prefix.Addr()); is.Prefix != c.Prefix {
		return 0, fmt.Errorf("client %v: clients of this table are as wide as %v: name that, or set another width (xdp.ipv4_prefix, xdp.ipv6_prefix)", c.Prefix, is.Prefix)
	}
	return addrKey(p.seed, c.Prefix.Addr().As16(), c.Prefix.Bits()), nil
}

// Escalate cuts a client until a time. Of an identity only packets of bound connections are its own; a new
// connection of it is not told from another's before it is bound. Of a prefix all packets are but those of
// bound connections, so whoever has an identity behind it keeps its connections. What the operator's lists say
// of the address comes first. Escalated already, a client keeps what was counted, what it owes, and since when.
// An error that wraps [ErrFull] says that there is no room.
func (p *Program) Escalate(e Escalation) error {
	key, err := p.Key(e.Client)
	if err == nil {
		err = e.Packets.validate("Packets")
	}
	if err != nil {
		return fmt.Errorf("escalate: %w", err)
	}
	p.escalating.Lock()
	defer p.escalating.Unlock()
	p.use.RLock()
	defer p.use.RUnlock()
	if p.gone {
		return fmt.Errorf("escalate %v: xdp_weir: %w", e.Client, os.ErrClosed)
	}
	var w weirEscalation
	err = p.objs.Escalations.Lookup(&key, &w)
	is := err == nil
	if !is && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("escalate %v: %w", e.Client, err)
	}
	if !is || w.Until <= e.SinceNanos {
		w = weirEscalation{Since: e.SinceNanos}
	}
	w.set(e)
	err = p.objs.Escalations.Put(&key, &w)
	if err != nil && errors.Is(fullError(err, ""), ErrFull) {
		if _, err = p.expire(e.SinceNanos); err == nil {
			err = p.objs.Escalations.Put(&key, &w)
		}
	}
	if err != nil {
		p.escalationsRefused.Add(1)
		return fmt.Errorf("escalate %v: %w", e.Client, fullError(err, "raise xdp.escalations"))
	}
	if !is {
		p.escalated.Add(1)
	}
	return p.tell(policyEscalated)
}

// set writes what is not the program's.
func (w *weirEscalation) set(e Escalation) {
	w.Until, w.Packets, w.Flags, w.Bits = e.UntilNanos, e.Packets.encode(), 0, slotIdentity
	if !e.AllowNew {
		w.Flags |= refusesNew
	}
	w.Policy, w.Name = [policyBytes]byte{}, [maxIdentity]byte{}
	copy(w.Policy[:], e.Policy)
	copy(w.Name[:], e.Client.Identity)
	if e.Client.Identity == "" {
		addr := e.Client.Prefix.Addr().As16()
		copy(w.Name[:], addr[:])
		w.Bits = uint8(e.Client.Prefix.Bits()) //nolint:gosec // 0 to 128
	}
}

func (w *weirEscalation) decode(key uint64) Escalation {
	e := Escalation{
		Policy: text(w.Policy[:]), UntilNanos: w.Until, SinceNanos: w.Since, Packets: Quota{w.Packets.Interval, w.Packets.Limit},
		AllowNew: w.Flags&refusesNew == 0, Dropped: w.Dropped, Refused: w.Refused, Key: key,
	}
	if w.Bits == slotIdentity {
		e.Client.Identity = text(w.Name[:])
	} else {
		e.Client.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(w.Name[:])).Unmap(), int(w.Bits))
	}
	return e
}

// Relieve ends an escalation before its time, and reports whether there was one.
func (p *Program) Relieve(c ClientName) (was bool, err error) {
	key, err := p.Key(c)
	if err != nil {
		return false, fmt.Errorf("relieve: %w", err)
	}
	p.escalating.Lock()
	defer p.escalating.Unlock()
	p.use.RLock()
	defer p.use.RUnlock()
	if p.gone {
		return false, fmt.Errorf("relieve %v: xdp_weir: %w", c, os.ErrClosed)
	}
	err = p.objs.Escalations.Delete(&key)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("relieve %v: %w", c, err)
	}
	p.escalated.Add(-1)
	return true, p.quiet()
}

// Escalations are those that hold at now, nanoseconds of CLOCK_MONOTONIC, in no order.
func (p *Program) Escalations(now uint64) (all []Escalation, err error) {
	p.use.RLock()
	defer p.use.RUnlock()
	if p.gone {
		return nil, fmt.Errorf("read the escalations: xdp_weir: %w", os.ErrClosed)
	}
	err = eachEntry(p.objs.Escalations, func(key *uint64, w *weirEscalation) {
		if w.Until > now {
			all = append(all, w.decode(*key))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the escalations: %w", err)
	}
	return all, nil
}

// Escalation is that of a client which holds at now, if there is one.
func (p *Program) Escalation(c ClientName, now uint64) (e Escalation, is bool) {
	key, err := p.Key(c)
	if err != nil {
		return Escalation{}, false
	}
	p.use.RLock()
	defer p.use.RUnlock()
	var w weirEscalation
	if p.gone || p.objs.Escalations.Lookup(&key, &w) != nil || w.Until <= now {
		return Escalation{}, false
	}
	return w.decode(key), true
}

// Sweep takes off the escalations that are over at now, nanoseconds of CLOCK_MONOTONIC: the program passes
// their clients as it is. It is to be called from time to time; where nothing is bound or escalated any more
// the program looks for nothing from then on.
func (p *Program) Sweep(now uint64) (ended int, err error) {
	p.escalating.Lock()
	defer p.escalating.Unlock()
	p.use.RLock()
	defer p.use.RUnlock()
	if p.gone {
		return 0, fmt.Errorf("take off escalations: xdp_weir: %w", os.ErrClosed)
	}
	if err := p.heed(); err != nil || p.flags.Load() == 0 {
		return 0, err
	}
	if ended, err = p.expire(now); err != nil {
		return ended, fmt.Errorf("take off escalations: %w", err)
	}
	return ended, p.quiet()
}

// expire takes off those that are over. p.escalating is held, so none is renewed meanwhile.
func (p *Program) expire(now uint64) (ended int, err error) {
	var over []uint64
	err = eachEntry(p.objs.Escalations, func(key *uint64, w *weirEscalation) {
		if w.Until <= now {
			over = append(over, *key)
		}
	})
	for i := range over {
		if p.objs.Escalations.Delete(&over[i]) == nil {
			ended++
		}
	}
	p.escalated.Add(int64(-ended))
	return ended, err
}
