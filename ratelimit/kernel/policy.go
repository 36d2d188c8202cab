package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"weir/bpf/xdp"
	"weir/ratelimit"
)

// Default is the name of the class of who is in no other: a policy has it.
const Default = "default"

// Quotas are the four of one width of prefix. A zero rate is no quota.
type Quotas struct {
	Packets     ratelimit.Rate
	PacketBurst uint64 // default: a second's
	Bytes       ratelimit.ByteRate
	ByteBurst   uint64 // default: a second's, 64 KiB at least
	// Connections are new ones.
	Connections     ratelimit.Rate
	ConnectionBurst uint64 // default: a second's
	// Concurrent connections, 0 for no limit.
	Concurrent uint32
	// IPv4Bits and IPv6Bits are the prefix that is one client: xdp.Level has what 0 means.
	IPv4Bits, IPv6Bits int
}

// Budget is what sources without a slot may send together. A zero rate is no limit.
type Budget struct {
	Packets     ratelimit.Rate
	PacketBurst uint64
	Bytes       ratelimit.ByteRate
	ByteBurst   uint64
	// SYNs pass up to this; above it they are answered with cookies.
	SYNs     ratelimit.Rate
	SYNBurst uint64
}

// Class is a class of clients.
type Class struct {
	Name      string
	Client    Quotas
	Aggregate Quotas
	Unproved  Budget
	// NoProof gives its sources exact slots without proof of their return path: for networks
	// where nobody spoofs.
	NoProof bool
}

// Entry says what holds for a prefix: a class, or Allow, or Deny.
type Entry struct {
	Prefix      netip.Prefix
	Class       string
	Allow, Deny bool
}

// Policy is what is to hold for packets.
type Policy struct {
	// Classes have the default one among them.
	Classes []Class
	Entries []Entry
	// Pass are the parser's reasons that do not drop: xdp.Policy has what becomes of them.
	Pass []xdp.Reason
}

// Compile is the policy in the program's terms. The error is all that is wrong, joined; a quota out
// of range wraps ratelimit.ErrOutOfRange.
func Compile(p Policy) (xdp.Policy, error) {
	out := xdp.Policy{Pass: slices.Clone(p.Pass)}
	var errs []error
	index := map[string]int{}
	for _, c := range p.sorted() {
		if _, twice := index[c.Name]; twice {
			errs = append(errs, fmt.Errorf("class %s is there twice: keep one", c.Name))
		}
		index[c.Name] = len(out.Classes)
		compiled, wrong := c.compile()
		for _, err := range wrong {
			errs = append(errs, fmt.Errorf("class %s: %w", c.Name, err))
		}
		out.Classes = append(out.Classes, compiled)
	}
	if _, ok := index[Default]; !ok {
		errs = append(errs, fmt.Errorf("there is no class %s: it is that of who is in no other", Default))
	}
	for _, e := range p.Entries {
		id, ok := index[e.Class]
		if !ok && !e.Allow && !e.Deny {
			errs = append(errs, fmt.Errorf("prefix %v: there is no class %q: name one of the policy's", e.Prefix, e.Class))
		}
		out.Entries = append(out.Entries, xdp.Entry{Prefix: e.Prefix, Class: id, Allow: e.Allow, Deny: e.Deny})
	}
	return out, errors.Join(errs...)
}

// sorted has the default class first, which the program wants so, then the others by name.
func (p Policy) sorted() []Class {
	all := slices.Clone(p.Classes)
	slices.SortStableFunc(all, func(a, b Class) int {
		if (a.Name == Default) != (b.Name == Default) {
			if a.Name == Default {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return all
}

// Name is the class with an index of the compiled policy.
func (p Policy) Name(index int) string {
	if all := p.sorted(); index < len(all) {
		return all[index].Name
	}
	return Default
}

// compiler collects what is wrong.
type compiler struct{ errs []error }

func (c *compiler) quota(name string, r ratelimit.Rate, burst uint64) xdp.Quota {
	if r == (ratelimit.Rate{}) {
		return xdp.Quota{}
	}
	if burst == 0 {
		burst = ratelimit.PerSecond(r)
	}
	p, err := ratelimit.Compile(r, burst)
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s: %w", name, err))
	}
	return xdp.Quota{Interval: p.Interval, Limit: p.Limit}
}

// leastByteBurst holds a few of the largest packets that a driver may hand over.
const leastByteBurst = 64 << 10

func (c *compiler) bytes(name string, r ratelimit.ByteRate, burst uint64) xdp.ByteQuota {
	if r == (ratelimit.ByteRate{}) {
		return xdp.ByteQuota{}
	}
	if burst == 0 {
		burst = max(ratelimit.PerSecond(ratelimit.Rate{Count: r.Bytes, Per: r.Per}), leastByteBurst)
	}
	p, err := ratelimit.CompileBytes(r, burst)
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s: %w", name, err))
	}
	return xdp.ByteQuota{Mult: p.Mult, Limit: p.Limit, Shift: p.Shift}
}

func (c *compiler) level(name string, q Quotas) xdp.Level {
	return xdp.Level{
		Packets:     c.quota(name+"packets", q.Packets, q.PacketBurst),
		Connections: c.quota(name+"connections", q.Connections, q.ConnectionBurst),
		Bytes:       c.bytes(name+"bytes", q.Bytes, q.ByteBurst),
		Concurrent:  q.Concurrent, IPv4Bits: q.IPv4Bits, IPv6Bits: q.IPv6Bits,
	}
}

// compile is a class in the program's terms, and all that is wrong with it.
func (c Class) compile() (xdp.Class, []error) {
	var k compiler
	if c.Name == "" {
		k.errs = append(k.errs, errors.New("it has no name"))
	}
	out := xdp.Class{
		Name:            c.Name,
		Client:          k.level("", c.Client),
		Aggregate:       k.level("aggregate.", c.Aggregate),
		UnprovedPackets: k.quota("unproved.packets", c.Unproved.Packets, c.Unproved.PacketBurst),
		UnprovedBytes:   k.bytes("unproved.bytes", c.Unproved.Bytes, c.Unproved.ByteBurst),
		UnprovedSYNs:    k.quota("unproved.syns", c.Unproved.SYNs, c.Unproved.SYNBurst),
		SlotsForAll:     c.NoProof,
	}
	a := c.Aggregate
	if has := a.IPv4Bits != 0 || a.IPv6Bits != 0; !has && a != (Quotas{}) {
		k.errs = append(k.errs, errors.New("aggregate: it has quotas and no prefix: set ipv6_prefix, such as 48, or ipv4_prefix"))
	}
	return out, k.errs
}
