package xdp

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
)

// maxAhead is how far ahead of the clock a quota may let a client be: a year, in ticks. With ten
// years of uptime no sum in the program overflows.
const maxAhead = uint64(365*24*3600*1e9) << 4

// MaxClasses is the number of classes a policy may have.
const MaxClasses = maxClasses

// Quota is so many at a rate, in the program's terms: ratelimit compiles it. The zero value is
// none.
type Quota struct {
	// Interval is the time between two at the rate, Limit how far ahead of the clock one may
	// be: a burst's intervals. Ticks of 1/16 ns; Limit is a year at most.
	Interval, Limit uint64
}

// ByteQuota is so many bytes at a rate: n of them cost n * Mult >> Shift ticks, rounded up. The
// zero value is none.
type ByteQuota struct {
	Mult, Limit uint64
	Shift       uint32
}

// Level is the quotas of all addresses that share a prefix.
type Level struct {
	Packets, Connections Quota // Connections are new ones
	Bytes                ByteQuota
	// Concurrent is the connections at once, 0 for no limit.
	Concurrent uint32
	// IPv4Bits and IPv6Bits are the prefix. For a class's client 0 is what Config gives a slot,
	// and the most there may be; for its aggregate 0 is none for that family.
	IPv4Bits, IPv6Bits int
}

// Class is the quotas of a class of clients. The zero value is none at all.
type Class struct {
	// Name is what bindings know it by. Empty: none is of it.
	Name   string
	Client Level
	// Aggregate is charged beside the client: a wider prefix.
	Aggregate Level
	// What all sources without a slot may send together: those without proof, and those that
	// the table has no room for. SYNs are counted apart; above UnprovedSYNs they are answered
	// with cookies.
	UnprovedPackets Quota
	UnprovedBytes   ByteQuota
	UnprovedSYNs    Quota
	// SlotsForAll gives exact slots without proof.
	SlotsForAll bool
}

// Entry says what holds for a prefix; of several that an address is in, the longest.
type Entry struct {
	Prefix netip.Prefix
	// Class is an index of Policy.Classes.
	Class int
	// Allow: no quota holds. Deny: nothing passes. Not both.
	Allow, Deny bool
}

// Policy is what holds for packets. The zero value is no quota, for anybody.
type Policy struct {
	// Classes are at most MaxClasses; the first one is that of who has no Entry.
	Classes []Class
	Entries []Entry
	// Pass are reasons of the parser that are charged to the first class's budgets instead of
	// dropped. ReasonFragment says that fragments are charged as other packets are.
	Pass []Reason
}

// Validate reports every field that is out of range, joined; nil if all are fine. cfg says which
// prefixes have slots.
func (p Policy) Validate(cfg Config) error {
	cfg = cfg.Defaults()
	var errs []error
	if len(p.Classes) > maxClasses {
		errs = append(errs, &FieldError{"Classes", len(p.Classes), fmt.Sprintf("%d at most", maxClasses)})
	}
	for i, c := range p.Classes {
		for _, err := range c.validate(cfg) {
			if err == nil {
				continue
			}
			errs = append(errs, fmt.Errorf("class %d: %w", i, err))
		}
	}
	_, err := p.listed(cfg)
	errs = append(errs, err)
	for _, r := range p.Pass {
		if !r.Parser() {
			errs = append(errs, &FieldError{"Pass", r, "reasons of the parser"})
		}
	}
	return errors.Join(errs...)
}

// validate is all that is wrong with a class, and nils.
func (c Class) validate(cfg Config) (errs []error) {
	for _, l := range []struct {
		name string
		Level
	}{{"Client", c.Client}, {"Aggregate", c.Aggregate}} {
		errs = append(errs, l.Packets.validate(l.name+".Packets"), l.Connections.validate(l.name+".Connections"), l.Bytes.validate(l.name+".Bytes"))
		if b := l.IPv4Bits; b != 0 && (b < leastIPv4Bits || b > cfg.IPv4PrefixBits) {
			errs = append(errs, &FieldError{l.name + ".IPv4Bits", b, fmt.Sprintf("%d to %d, which have a slot (Config.IPv4PrefixBits)", leastIPv4Bits, cfg.IPv4PrefixBits)})
		}
		if b := l.IPv6Bits; b != 0 && (b < leastIPv6Bits || b > cfg.IPv6PrefixBits) {
			errs = append(errs, &FieldError{l.name + ".IPv6Bits", b, fmt.Sprintf("%d to %d, which have a slot (Config.IPv6PrefixBits)", leastIPv6Bits, cfg.IPv6PrefixBits)})
		}
		if l.Concurrent > heldHalfMask {
			errs = append(errs, &FieldError{l.name + ".Concurrent", l.Concurrent, fmt.Sprintf("%d at most", heldHalfMask)})
		}
	}
	c4, c6 := cmp.Or(c.Client.IPv4Bits, cfg.IPv4PrefixBits), cmp.Or(c.Client.IPv6Bits, cfg.IPv6PrefixBits)
	if a := c.Aggregate.IPv4Bits; a != 0 && a >= c4 {
		errs = append(errs, &FieldError{"Aggregate.IPv4Bits", a, fmt.Sprintf("below the client's %d", c4)})
	}
	if a := c.Aggregate.IPv6Bits; a != 0 && a >= c6 {
		errs = append(errs, &FieldError{"Aggregate.IPv6Bits", a, fmt.Sprintf("below the client's %d", c6)})
	}
	return append(errs, c.UnprovedPackets.validate("UnprovedPackets"), c.UnprovedSYNs.validate("UnprovedSYNs"), c.UnprovedBytes.validate("UnprovedBytes"))
}

func (q Quota) validate(name string) error {
	switch {
	case q.Interval == 0 && q.Limit == 0:
		return nil
	case q.Limit < q.Interval || q.Interval == 0:
		return &FieldError{name, q.Limit, fmt.Sprintf("a limit of one interval, %d, or more: a burst below one never passes", q.Interval)}
	case q.Limit > maxAhead:
		return &FieldError{name, q.Limit, fmt.Sprintf("a limit of %d, a year, at most: lower the burst", maxAhead)}
	}
	return nil
}

func (q ByteQuota) validate(name string) error {
	switch {
	case q == ByteQuota{}:
		return nil
	case q.Mult == 0 || q.Mult >= 1<<43 || q.Shift > 32:
		return &FieldError{name, q.Mult, "a factor of 1 to 2^43 and a shift of at most 32"}
	case q.Limit < 1522*q.Mult>>q.Shift:
		return &FieldError{name, q.Limit, "a burst of 1522 bytes or more: a frame would never pass"}
	case q.Limit > maxAhead:
		return &FieldError{name, q.Limit, fmt.Sprintf("a limit of %d, a year, at most: lower the burst", maxAhead)}
	}
	return nil
}

// listed is an entry's prefix as the lists hold it. An allowed one narrower than a slot is widened
// to it, since a client is listed whole or not at all; a denied one would hit neighbors then.
func (e Entry) listed(cfg Config) (netip.Prefix, error) {
	p := e.Prefix
	if !p.IsValid() {
		return p, fmt.Errorf("list %v: want a prefix such as 192.0.2.0/24", p)
	}
	width := cfg.IPv6PrefixBits
	switch {
	case p.Addr().Is4():
		width = cfg.IPv4PrefixBits
	case p.Addr().Is4In6() && p.Bits() >= 96:
		p, width = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), cfg.IPv4PrefixBits
	}
	if p.Bits() > width && !e.Allow {
		wide := netip.PrefixFrom(p.Addr(), width).Masked()
		return p, fmt.Errorf("list %v: clients of %v are one: list %v, or set narrower prefixes (xdp.ipv4_prefix, xdp.ipv6_prefix)", p, wide, wide)
	}
	return netip.PrefixFrom(p.Addr(), min(p.Bits(), width)).Masked(), nil
}

// listed are the entries by the prefix that the lists hold, or all that is wrong with them.
func (p Policy) listed(cfg Config) (map[netip.Prefix]Entry, error) {
	listed := make(map[netip.Prefix]Entry, len(p.Entries))
	var errs []error
	for _, e := range p.Entries {
		at, err := e.listed(cfg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if e.Class < 0 || e.Class >= max(len(p.Classes), 1) {
			errs = append(errs, fmt.Errorf("list %v: class %d: there are %d", e.Prefix, e.Class, len(p.Classes)))
		}
		if e.Allow && e.Deny {
			errs = append(errs, fmt.Errorf("list %v: it is both allowed and denied: keep one", e.Prefix))
		}
		if old, twice := listed[at]; twice && (old.Class != e.Class || old.Allow != e.Allow || old.Deny != e.Deny) {
			errs = append(errs, fmt.Errorf("list %v: it is listed already as %v, differently: keep one", e.Prefix, old.Prefix))
		}
		listed[at] = e
	}
	return listed, errors.Join(errs...)
}

// clone is p in memory of its own.
func (p Policy) clone() Policy {
	return Policy{Classes: slices.Clone(p.Classes), Entries: slices.Clone(p.Entries), Pass: slices.Clone(p.Pass)}
}

// encode is a class as the program has it. Of a budget the leases of all CPUs are taken off, so
// that what they hold is never above it.
func (c Class) encode(cfg Config, cpus uint64) weirClass {
	w := weirClass{
		Client:          c.Client.encode(),
		Aggregate:       c.Aggregate.encode(),
		UnprovedPackets: c.UnprovedPackets.encode(),
		UnprovedBytes:   c.UnprovedBytes.encode(),
		UnprovedSyns:    c.UnprovedSYNs.encode(),
	}
	w.Client.Ipv4Bits = uint8(cmp.Or(c.Client.IPv4Bits, cfg.IPv4PrefixBits)) //nolint:gosec // validated
	w.Client.Ipv6Bits = uint8(cmp.Or(c.Client.IPv6Bits, cfg.IPv6PrefixBits)) //nolint:gosec // validated
	if c.SlotsForAll {
		w.Flags |= slotsForAll
	}
	if w.Client.Ipv4Bits == uint8(cfg.IPv4PrefixBits) && w.Aggregate.Ipv4Bits == 0 { //nolint:gosec // validated
		w.Flags |= oneSlotV4
	}
	if w.Client.Ipv6Bits == uint8(cfg.IPv6PrefixBits) && w.Aggregate.Ipv6Bits == 0 { //nolint:gosec // validated
		w.Flags |= oneSlotV6
	}
	if w.coarse() {
		w.Flags |= coarseClass
	}
	w.Lease = maxLease
	for _, b := range []struct{ interval, limit uint64 }{
		{w.UnprovedPackets.Interval, w.UnprovedPackets.Limit},
		{w.UnprovedSyns.Interval, w.UnprovedSyns.Limit},
		{w.UnprovedBytes.Mult, w.UnprovedBytes.Limit},
	} {
		if b.interval > 0 {
			w.Lease = min(w.Lease, b.limit/(4*cpus))
		}
	}
	for _, b := range []struct{ limit, least *uint64 }{
		{&w.UnprovedPackets.Limit, &w.UnprovedPackets.Interval}, {&w.UnprovedSyns.Limit, &w.UnprovedSyns.Interval},
	} {
		if *b.limit >= *b.least+cpus*w.Lease && w.Lease > *b.least {
			*b.limit -= cpus * w.Lease
		}
	}
	if held := cpus * w.Lease; w.UnprovedBytes.Limit > 2*held {
		w.UnprovedBytes.Limit -= held
	}
	return w
}

// coarseEnough is ten ticks of the slowest kernel, 100 ms, in ticks of the quotas.
const coarseEnough = uint64(100e6) << 4

// coarse reports whether the coarse clock will do for those without proof: what a tick of the kernel
// adds to each of their quotas is little beside its burst.
func (w *weirClass) coarse() bool {
	for _, limit := range []uint64{
		w.UnprovedPackets.Limit, w.UnprovedSyns.Limit, w.UnprovedBytes.Limit, w.Client.Packets.Limit, w.Client.Connections.Limit,
	} {
		if limit > 0 && limit < coarseEnough {
			return false
		}
	}
	return true
}

// maxLease is 1 ms of a budget, ticks.
const maxLease = uint64(1e6) << 4

func (l Level) encode() weirLevel {
	return weirLevel{
		Packets: l.Packets.encode(), Connections: l.Connections.encode(), Bytes: l.Bytes.encode(), Concurrent: l.Concurrent,
		Ipv4Bits: uint8(l.IPv4Bits), Ipv6Bits: uint8(l.IPv6Bits), //nolint:gosec // validated
	}
}

func (q Quota) encode() weirQuota { return weirQuota{Interval: q.Interval, Limit: q.Limit} }

func (q ByteQuota) encode() weirByteQuota {
	return weirByteQuota{Mult: q.Mult, Limit: q.Limit, Shift: q.Shift}
}

// possibleCPUs is how many CPUs may ever run the program.
func possibleCPUs() int {
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return runtime.NumCPU()
	}
	return n
}
